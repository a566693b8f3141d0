"""Which plays a setting reaches, found in what their roles are made of. No Ansible.

A setting reaches a play if a role of it names the setting: in tasks, templates, defaults and variables, in those of
the roles that it depends on, or by way of an internal variable that is defined anywhere. What a plugin, a playbook or
the code behind them names is of all plays. So a name in a comment costs a play that finds nothing to do, and one that
is put together of parts would be missed: tests/unit/install/test_reach.py refuses those.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from kubeproof.core import fast_yaml

_PARTS = ("components.yml", "cluster.yml")
_WORD = re.compile(r"\b[a-z_][a-z0-9_]*\b")
# The first task of a play that may be left out asks for this.
_ASKED = "at_rest"
_ROLES = ("ansible.builtin.import_role", "ansible.builtin.include_role")
_OF_ROLES = ("defaults", "files", "handlers", "tasks", "templates", "vars")
# Of the code: what judges settings, in each run and before any task of these plays, and what other playbooks do.
_JUDGES = (
    "cli", "local_hosts", "preflight", "restore", "settings/flags.py", "settings/quantities.py", "upgrade", "verify",
)  # fmt: skip


class Reach:
    """Reads the project's files, each once."""

    def __init__(self, project: Path) -> None:
        self._project = project

    def not_of(self, changed: Collection[str]) -> list[str]:
        """The names of plays that none of these settings reaches, of those that may be left out; none if in doubt."""
        if not changed:
            return list(self.plays)
        if not {*changed} <= self._of_roles or not self._everywhere.isdisjoint(changed):
            return []
        return [play for play, roles in self.plays.items() if self._read_by(roles).isdisjoint(changed)]

    @cached_property
    def plays(self) -> Mapping[str, frozenset[str]]:
        """The plays that may be left out, with the roles of each."""
        found = {}
        for part in _PARTS:
            for play in _documents(self._project / "playbooks" / "parts" / part):
                if _ASKED in str(play["tasks"][0].get("when")):
                    found[str(play["name"])] = frozenset(_called(play["tasks"]))
        return found

    def _read_by(self, roles: Collection[str]) -> set[str]:
        """All that roles name, those that they depend on, and the internal variables that they name."""
        seen: set[str] = set()
        todo: set[str] = set()
        for role in self._with_others(roles):
            todo |= self._words[role]
        while todo:
            seen |= todo
            todo = {word for name in todo & self._definitions.keys() for word in self._definitions[name]} - seen
        return seen

    def _with_others(self, roles: Collection[str]) -> set[str]:
        found: set[str] = set()
        todo = set(roles)
        while todo:
            role = todo.pop()
            found.add(role)
            directory = self._project / "roles" / role
            called = {each for path in (directory / "tasks").rglob("*.yml") for each in _called(_documents(path))}
            depends = fast_yaml.load((directory / "meta" / "main.yml").read_text(encoding="utf-8"))["dependencies"]
            todo |= (called | {str(each["role"]) for each in depends}) - found
        return found

    @cached_property
    def _words(self) -> Mapping[str, set[str]]:
        """What each role names."""
        return {
            role.name: {word for kind in _OF_ROLES for path in _files(role / kind) for word in _words_of(path)}
            for role in (self._project / "roles").iterdir()
            if role.is_dir()
        }

    @cached_property
    def _of_roles(self) -> set[str]:
        return set().union(*self._words.values())

    @cached_property
    def _definitions(self) -> Mapping[str, set[str]]:
        """What each variable that a role defines is made of."""
        found: dict[str, set[str]] = {}
        for kind in ("defaults", "vars"):
            for path in (self._project / "roles").glob(f"*/{kind}/*.yml"):
                for name, value in (fast_yaml.load(path.read_text(encoding="utf-8")) or {}).items():
                    found.setdefault(name, set()).update(_WORD.findall(str(value)))
        return found

    @cached_property
    def _everywhere(self) -> set[str]:
        """What is named outside roles, and so is of all plays."""
        code = self._project / "src" / "kubeproof"
        judges = tuple(str(code / name) for name in _JUDGES)
        found: set[str] = set()
        for directory in (self._project / "playbooks", self._project / "plugins", code):
            for path in _files(directory):
                if not str(path).startswith(judges):
                    found |= _words_of(path)
        return found


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _words_of(path: Path) -> set[str]:
    return set(_WORD.findall(path.read_text(encoding="utf-8", errors="replace")))


def _documents(path: Path) -> list[dict[str, Any]]:
    return fast_yaml.load(path.read_text(encoding="utf-8")) or []


def _called(tasks: Collection[Mapping[str, Any]]) -> Iterator[str]:
    """The roles that tasks import or include."""
    for task in tasks:
        for kind in ("block", "rescue", "always"):
            yield from _called(task.get(kind, ()))
        for call in _ROLES:
            if call in task:
                yield str(task[call]["name"])
