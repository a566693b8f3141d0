"""The settings that there are: every role's ``meta/argument_specs.yml``."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.core import fast_yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"

# Types of argument specs that have several spellings. A path is the host's: it stays what it is.
# https://docs.ansible.com/ansible/latest/dev_guide/developing_program_flow_modules.html
_SPELT = ("bool", "int", "float")
_COLLECTIONS = {"list": list, "dict": Mapping}

Option = Mapping[str, Any]


@dataclass(frozen=True)
class Specs:
    """Options by variable name, each as in an argument spec, and what the names of each role's variables begin with."""

    options: Mapping[str, Option]
    prefixes: tuple[str, ...]

    def ours(self, name: str) -> bool:
        """Whether a name can only be meant for one of the roles: it begins as theirs do."""
        return name.startswith(self.prefixes)


@functools.cache
def load(roles: Path = ROLES) -> Specs:
    """Read the specs of all roles in a directory."""
    options: dict[str, Option] = {}
    prefixes: set[str] = set()
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        entry_points = read(path)["argument_specs"].values()
        found = {name: option for entry in entry_points for name, option in (entry.get("options") or {}).items()}
        options |= found
        prefixes |= {path.parents[1].name.replace("-", "_") + "_", _common_prefix(list(found))}
    return Specs(options, tuple(sorted(prefixes - {""})))


def read(path: Path) -> dict[str, Any]:
    """A YAML file of a role; empty if it has nothing."""
    return fast_yaml.load(path.read_text(encoding="utf-8")) or {}


def converted(option: Option, value: Any) -> Any:
    """A value as its spec wants it: texts for numbers and booleans are what they say, as ``-e name=value`` gives them.

    Raises TypeError or ValueError if it is none. A text is no list: templates would take it for its letters.
    """
    from ansible.module_utils.common.parameters import DEFAULT_TYPE_VALIDATORS

    wanted = option.get("type", "str")
    if wanted in _COLLECTIONS and value is not None and not isinstance(value, _COLLECTIONS[wanted]):
        raise TypeError(f"{type(value).__name__} where a {wanted} is wanted")
    return DEFAULT_TYPE_VALIDATORS[wanted](value) if wanted in _SPELT else value


def _common_prefix(names: list[str]) -> str:
    """The words that all names begin with, never all of a name's: ``component_`` of ``component_source`` and others."""
    columns = zip(*(name.split("_")[:-1] for name in names), strict=False)
    shared = itertools.takewhile(lambda words: len(set(words)) == 1, columns)
    return "".join(f"{words[0]}_" for words in shared)
