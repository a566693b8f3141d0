"""Judge settings (``stage: settings``) or hosts (``stage: hosts``), list all findings at once, and fail if one is an error.

``settings`` needs no host and touches none. ``hosts`` needs ``host_report`` to have run on all hosts of the play, those
that cannot be reached included. Run either with ``run_once``; both run on the controller alone.

The list goes to the terminal, and as JSON to ``reports/preflight-STAGE.json`` in ``cluster_state_directory``: ``findings``,
each with ``id``, ``subject``, ``host``, ``wrong``, ``mend`` and ``severity``. Returns ``msg``, a summary, and, unless it
fails, the ``findings`` too: after a failure Ansible would print them once more, as one long line below the list.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar

from kubeproof import preflight
from kubeproof.components import pins
from kubeproof.preflight import model, specs

try:
    from ansible._internal._datatag._tags import Origin
except ImportError:  # private to ansible-core: without it findings do not name file and line, and all else works
    Origin = None

# What variables hold that can only be known once hosts were asked.
_FACTS = ("ansible_facts", "hostvars", "__cluster_host")
_COLOURS = {True: constants.COLOR_ERROR, False: constants.COLOR_WARN}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Gathers what the pure checks of ``kubeproof.preflight`` work on, and shows what they find."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset(("stage",))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Raises AnsibleActionFail if ``stage`` is none, or before ``host_report`` has run."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        stages = {"settings": self._settings, "hosts": self._hosts}
        stage = self._task.args.get("stage")
        if stage not in stages:
            raise AnsibleActionFail(f"preflight: stage is {stage!r}; it must be one of {', '.join(stages)}")
        hosts = [self._variables(name) for name in _members(variables)]
        findings = preflight.relevant(stages[stage](hosts, variables), _ignored(hosts))
        _report(stage, findings, hosts)
        return result | self._outcome(findings)

    def _settings(self, hosts: Sequence[preflight.Variables], task_vars: Mapping[str, Any]) -> Iterable[preflight.Finding]:
        groups = {str(name): [str(host) for host in members] for name, members in task_vars["groups"].items()}
        return preflight.check_settings(hosts, groups, self._specs)

    def _hosts(self, hosts: Sequence[preflight.Variables], task_vars: Mapping[str, Any]) -> Iterable[preflight.Finding]:
        cluster = preflight.of("cluster_", hosts[0].values) if hosts else {}
        asked = [(_reported(entry.host, task_vars), preflight.Rules.parse(entry.values)) for entry in hosts]
        return preflight.check_hosts(asked, cluster, _wanted(hosts))

    def _outcome(self, findings: Sequence[preflight.Finding]) -> dict[str, Any]:
        summary = f"preflight: {preflight.count(findings)}"
        failed = bool(preflight.errors(findings))
        if findings:
            self._display.display(f"\n{preflight.render(findings)}\n", color=_COLOURS[failed])
        outcome = {"changed": False, "failed": failed, "msg": summary}
        return outcome if failed else outcome | {"findings": preflight.as_data(findings)}

    def _variables(self, name: str) -> preflight.Variables:
        """A host's variables, rendered where the checks read them, from the inventory and the roles' defaults."""
        manager = self._task.get_variable_manager()
        own = manager.get_vars(host=manager._inventory.get_host(name), include_hostvars=False)  # noqa: SLF001
        given = {str(key): _place(key) for key in own}
        templar = Templar(loader=self._loader, variables=self._defaults | own)
        values, broken = self._rendered(templar, given)
        groups = frozenset(str(group) for group in own["group_names"])
        address = str(values.get("cluster_host_address", ""))
        return preflight.Variables(preflight.Host(name, groups, address), given, values, broken)

    def _rendered(self, templar: Templar, given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        """Values of the settings that matter, and why some have none."""
        values: dict[str, Any] = {}
        broken: dict[str, str] = {}
        variables = templar.available_variables
        for name in self._specs.names:
            if name not in variables or not (name in given or model.reads(name)):
                continue
            try:
                values[name] = _plain(templar.template(variables[name]))
            except AnsibleError as error:
                if not any(fact in str(variables[name]) for fact in _FACTS):
                    broken[name] = str(error)
        return values, broken

    @cached_property
    def _specs(self) -> specs.Specs:
        """All settings that there are."""
        return specs.load()

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """Defaults and internals of all roles, their templates yet to be rendered."""
        found: dict[str, Any] = {}
        for directory in ("vars", "defaults"):
            for path in sorted(specs.ROLES.glob(f"*/{directory}/main.yml")):
                found |= self._loader.load_from_file(str(path), trusted_as_template=True) or {}
        return found


def _members(task_vars: Mapping[str, Any]) -> list[str]:
    """Hosts of the play that are in a group of ours, the unreachable too."""
    ours = {str(host) for group in preflight.GROUPS for host in task_vars["groups"].get(group, ())}
    return [str(host) for host in task_vars["ansible_play_hosts_all"] if host in ours]


def _ignored(hosts: Sequence[preflight.Variables]) -> list[str]:
    return [str(entry) for variables in hosts for entry in variables.values.get("preflight_ignore") or ()]


def _wanted(hosts: Sequence[preflight.Variables]) -> dict[str, str]:
    """Pinned version of each binary, with the inventory's own choices."""
    chosen = hosts[0].values.get("component_versions", {}) if hosts else {}
    pinned = pins.load().with_versions(chosen)
    return {binary: component.version for component in pinned.components.values() for binary in component.binaries}


def _report(stage: str, findings: Sequence[preflight.Finding], hosts: Sequence[preflight.Variables]) -> None:
    """Leave the findings where other programs find them, if it is known where."""
    directory = hosts[0].values.get("cluster_state_directory") if hosts else None
    if directory:
        path = Path(directory) / "reports" / f"preflight-{stage}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"stage": stage, "findings": preflight.as_data(findings)}, indent=2) + "\n", "utf-8")


def _reported(host: preflight.Host, task_vars: Mapping[str, Any]) -> preflight.Host:
    """The host with what ``host_report`` found."""
    fact = _plain(task_vars["hostvars"][host.name]["ansible_facts"].get("kubeproof_host"))
    if not isinstance(fact, dict):
        raise AnsibleActionFail(f"preflight: there is no report of {host.name}; run host_report on all hosts first")
    if "problem" in fact:
        return preflight.Host(host.name, host.groups, host.address, None, fact["problem"], fact["unreachable"])
    return preflight.Host(host.name, host.groups, host.address, fact)  # type: ignore[arg-type]


def _place(name: str) -> str:
    """File and line where a variable is set, as short as it can be; empty if that is not known."""
    origin = Origin.get_tag(name) if Origin else None
    if origin is None:
        return ""
    if not origin.path:
        return str(origin.description)
    relative = os.path.relpath(origin.path)
    path = relative if not relative.startswith("..") else str(Path(origin.path))
    return f"{path}:{origin.line_num}" if origin.line_num else path


def _plain(value: Any) -> Any:
    """A copy free of Ansible's tags and lazy containers, so that the checks deal with Python's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
