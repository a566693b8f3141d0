"""A host's settings: the roles' defaults, and over them what the inventory says, rendered, and of the wanted types.

The one place where the controller's programs get settings from. Ansible itself renders: encrypted variables, lookups
and templates that name other settings are what they are in a run. Only what is given to one run with ``-e`` is unknown
here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import inventory, specs
from kubeproof.settings.inventory import Host


class Settings(Mapping[str, Any]):
    """One host's. A setting is rendered when it is asked for, and once."""

    def __init__(self, host: Host) -> None:
        """Nothing is rendered yet."""
        self._host = replace(host, variables={**defaults(), **host.variables})
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Raises KeyError for what is no setting, KubeproofError for what cannot be rendered or is of a wrong type."""
        if name not in self._known:
            option = specs.load().options[name]
            value = inventory.rendered(self._host, [name])[name]
            self._known[name] = _typed(self._host.name, name, option, value)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(specs.load().options)

    def __len__(self) -> int:
        return len(specs.load().options)


@functools.cache
def defaults(roles: Path = specs.ROLES) -> Mapping[str, Any]:
    """Defaults and internal variables of all roles, their templates yet to be rendered."""
    from ansible.template import trust_as_template

    found: dict[str, Any] = {}
    # Defaults are what a user may set: where a name were both, that one counts.
    for directory in ("vars", "defaults"):
        for path in sorted(roles.glob(f"*/{directory}/main.yml")):
            found |= specs.read(path)
    return {name: _trusted(value, trust_as_template) for name, value in found.items()}


def _trusted(value: Any, trust: Callable[[str], str]) -> Any:
    """The same, with strings that Ansible takes for templates: they are our own."""
    if isinstance(value, str):
        return trust(value)
    if isinstance(value, Mapping):
        return {key: _trusted(item, trust) for key, item in value.items()}
    if isinstance(value, list):
        return [_trusted(item, trust) for item in value]
    return value


def _typed(host: str, name: str, option: specs.Option, value: Any) -> Any:
    try:
        return specs.converted(option, value)
    except (TypeError, ValueError) as error:
        raise KubeproofError(f"host {host}: {name} is {value!r}, which is no {option['type']}: {error}") from error
