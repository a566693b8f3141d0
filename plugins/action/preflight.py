"""Check settings or hosts, list all findings at once, and fail if one of them is an error.

The findings are returned unless one is an error: Ansible would print them once more then, as one long line below the
list.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from ansible import constants, context
from ansible.errors import AnsibleError
from ansible.inventory import manager as managing
from ansible.release import __version__
from ansible.template import Templar

from kubeproof import preflight
from kubeproof.backup.keys import IDENTITY
from kubeproof.components import pins
from kubeproof.core import active_run, paths
from kubeproof.core.errors import KubeproofError
from kubeproof.install import at_rest, look
from kubeproof.install.action import Action, plain
from kubeproof.install.reach import Reach
from kubeproof.preflight import model, speaker
from kubeproof.settings import addresses, host_settings, resolve, specs, state
from kubeproof.settings.host_report import HostReport, reported

try:
    from ansible._internal._datatag._tags import Origin
except ImportError:  # It is private: without it findings do not name file and line, and all else works.
    Origin = None

# What hosts have found out with port_probe, and control-plane hosts outside the run with uri.
_CONNECTED = "__preflight_connected"
_LISTENING = "__preflight_listening"
_OUTSIDE = "__preflight_outside"
_STATE_SETTING = "cluster_state_directory"
# What a setting's template names if it can only be rendered once hosts were asked.
_FACTS = ("ansible_facts", "hostvars", "__cluster_host")

# What tasks are made of, in the project's directory.
_CODE = ("ansible.cfg", "components", "playbooks", "plugins", "roles", "src")
# What tasks read in the state directory.
_KEPT = ("pki", "components.lock.json", IDENTITY)
# What the first task of a playbook has registered.
_BEGUN = "__preflight_begun"
Judged = tuple[Sequence[preflight.Variables], Iterable[preflight.Finding]]


class ActionModule(Action):
    """Gathers what the pure checks of ``kubeproof.preflight`` work on, and shows what they find."""

    _requires_connection = False
    OF_HOSTS = False
    _VALID_ARGS = frozenset(("stage", "purpose", "tags"))

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError if ``stage`` is none, or before ``host_report`` has run."""
        stages: dict[str, Callable[[], Judged]] = {
            "settings": self._settings,
            "hosts": self._hosts,
            "ports": self._ports,
        }
        stage = str(self._arguments.get("stage"))
        if stage == "inventory":
            self._refuse_keys()
            self._refuse_tags()
            return {"changed": False, "code": _code()}
        if stage not in stages:
            raise KubeproofError(f"preflight: stage is {stage!r}; it must be one of inventory, {', '.join(stages)}")
        hosts, found = stages[stage]()
        findings = preflight.relevant(found, _ignored(hosts))
        _write_report(stage, findings, hosts)
        outcome = self._outcome(findings)
        if stage == "settings" and not outcome["failed"]:
            outcome["outside"] = self._outside(hosts)
        if stage == "hosts":
            self._tell_adaptations(hosts)
        if stage == "hosts" and not outcome["failed"]:
            # In check mode nothing listens.
            probes = {} if self._task.check_mode else preflight.probes(hosts)
            outcome["probes"] = {name: probe.data() for name, probe in probes.items()}
            outcome["left_behind"] = self._left_behind
            outcome["at_rest"] = self._at_rest(hosts)
            outcome["speaker"] = self._speaker
            # Once for all: see the function.
            members, hostvars = _members(self._variables), self._variables["hostvars"]
            outcome["addresses"] = addresses.of_hosts(members, hostvars, {})
            # Of all, those without one too, so that no host has to be asked again.
            outcome["addresses_ipv6"] = dict.fromkeys(members, "") | addresses.ipv6_of_hosts(members, hostvars, {})
        return outcome

    def _refuse_keys(self) -> None:
        """Raises KubeproofError if the state of the cluster is among what was read as inventories."""
        sources = [Path(str(source)).absolute() for source in self._variables["ansible_inventory_sources"]]
        for place in self._state_directories(_members(self._variables)):
            state.refuse_within(place, sources, managing.IGNORED)
            state.refuse_elsewhere(place, sources)

    def _refuse_tags(self) -> None:
        """Raises KubeproofError if nothing of the playbook has a tag that is given."""
        given = (self._variables.get(name) for name in ("ansible_run_tags", "ansible_skip_tags"))
        chosen, skipped = (plain(tags or []) for tags in given)
        preflight.refuse_unknown(chosen, skipped, plain(self._arguments.get("tags") or []))

    def _state_directories(self, names: Iterable[str]) -> set[Path]:
        """Where hosts have the state of their cluster; that it is one place is for the settings' stage."""
        manager, places = self._task.get_variable_manager(), {}
        for name in names:
            own = manager.get_vars(host=manager._inventory.get_host(name), include_hostvars=False)  # noqa: SLF001
            key = str(own.get(_STATE_SETTING)), str(own.get("inventory_dir"))
            if key not in places:
                variables = {**resolve.defaults(), **own, "hostvars": self._variables["hostvars"]}
                try:
                    found = Templar(loader=self._loader, variables=variables).template(variables[_STATE_SETTING])
                except AnsibleError as error:
                    raise KubeproofError(f"{_STATE_SETTING} cannot be rendered: {error}") from error
                places[key] = Path(str(found)).absolute()
        return set(places.values())

    def _settings(self) -> Judged:
        # Also of hosts that --limit leaves out: they are of the same cluster.
        hosts = [self._variables_of(name, facts=False) for name in _members(self._variables)]
        groups = plain(self._variables["groups"])
        installed = self._installed(hosts)
        return hosts, preflight.check_settings(hosts, groups, self._specs, self._purpose(), installed=installed)

    def _hosts(self) -> Judged:
        task_vars, reported = self._variables, self._reported()
        asked = set(task_vars["ansible_play_hosts_all"])
        kept = _kept(reported, task_vars)
        others = [preflight.Host(str(name), frozenset(), "") for name in sorted(asked - {*_members(task_vars)})]
        run = preflight.Run(
            groups=plain(task_vars["groups"]),
            purpose=self._purpose(),
            kept=kept,
            active=self._active(kept.state),
            ungrouped=[_reported(host, task_vars) for host in others],
            outside=self._asked_outside(),
            forks=int(task_vars.get("ansible_forks") or 0),
        )
        self._left_behind = preflight.left_behind([entry.host for entry in reported], run)
        self._speaker = speaker.speaker([entry.host for entry in reported], self._left_behind, run)
        even = preflight.check_even(run.groups, run.purpose) if self._installed(reported) else ()
        return reported, [*even, *preflight.check_hosts(reported, _wanted(reported), run)]

    def _installed(self, hosts: Sequence[preflight.Variables]) -> bool:
        """Whether the controller has CAs or keys of the cluster. A state directory that cannot be rendered has none."""
        place = hosts[0].values.get(_STATE_SETTING) if hosts else None
        return bool(place) and bool(preflight.Kept.of(Path(str(place))).digests)

    def _outside(self, hosts: Sequence[preflight.Variables]) -> list[str]:
        """Control-plane hosts that the run does not have, and that have to be asked whether they answer."""
        task_vars = self._variables
        asked = set(task_vars["ansible_play_hosts_all"])
        of_run = [(entry.host, entry.values) for entry in hosts if entry.host.name in asked]
        chosen, skipped = (plain(task_vars.get(name) or []) for name in ("ansible_run_tags", "ansible_skip_tags"))
        run = preflight.Run(plain(task_vars["groups"]), self._purpose(), preflight.Kept(Path(), "", {}))
        return speaker.outside(of_run, run, chosen, skipped)

    def _asked_outside(self) -> dict[str, str]:
        """Those hosts, each with the reason why it cannot be used, or none."""
        answers = plain(self._variables.get(_OUTSIDE) or {}).get("results") or []
        return speaker.problems(answers)

    def _reported(self) -> list[preflight.Variables]:
        """The cluster's hosts of the play, each with its report."""
        asked = set(self._variables["ansible_play_hosts_all"])
        hosts = [self._variables_of(name, facts=True) for name in _members(self._variables) if name in asked]
        return [replace(entry, host=_reported(entry.host, self._variables)) for entry in hosts]

    def _at_rest(self, hosts: Sequence[preflight.Variables]) -> list[str]:
        """The plays in which nothing is to be done on hosts, since nothing was when all they depend on was as now."""
        if differences := self._in_the_way_of_rest(hosts):
            return self._tell_rest([], differences)
        try:
            found = self._found(hosts)
        except OSError as error:
            return self._tell_rest([], [str(error)])
        differences = self._rest.differences(found)
        changed = at_rest.only_settings(differences)
        plays = [] if changed is None else Reach(paths.PROJECT).not_of(changed)
        if differences and not self._task.check_mode:
            self._rest.begin(found, whole=not plays)
        return self._tell_rest(plays, differences)

    def _tell_rest(self, plays: Sequence[str], differences: Sequence[str]) -> list[str]:
        """Say which hosts are asked, and why. Returns the plays."""
        if not differences:
            self._display.display(
                "Neither settings nor hosts have changed since a run that found nothing to do: only the API is asked."
            )
        elif plays:
            settings = ", ".join(at_rest.only_settings(differences) or ())
            self._display.display(
                f"Since a run that found nothing to do only settings have changed, {settings}: hosts are asked about "
                "what these reach."
            )
        else:
            self._display.v(f"hosts are asked about each component: {', '.join(differences)}")
        return list(plays)

    def _in_the_way_of_rest(self, hosts: Sequence[preflight.Variables]) -> list[str]:
        """Why it cannot be known that nothing is to be done on hosts, or not be recorded."""
        if self._left_behind or len(hosts) < len(_members(self._variables)):
            return ["not all hosts are in the run"]
        if context.CLIARGS.get("step"):
            return ["--step may leave out tasks"]
        begun = self._variables.get(_BEGUN, {}).get("code")
        if not begun or begun != _code():
            # Tasks are of the files that Ansible read at its start.
            return ["code has changed since this run began"]
        reports = [(entry, cast(Mapping[str, Any], entry.host.report or {})) for entry in hosts]
        lacking = [entry.host.name for entry, report in reports if not at_rest.reportable(report, node=entry.host.node)]
        asking = {name: None for entry in hosts for name in at_rest.asks_each_time(entry.values)}
        return [*asking, *(f"the report of {name}" for name in lacking)]

    def _found(self, hosts: Sequence[preflight.Variables]) -> dict[str, str]:
        """Digests of all that tasks depend on, by what."""
        state = Path(str(hosts[0].values[_STATE_SETTING]))
        return {
            "code": str(self._variables[_BEGUN]["code"]),
            "Ansible": look.digest([__version__, sys.version]),
            "state directory": at_rest.of_files([state / name for name in _KEPT]),
            "groups": look.digest(plain(self._variables["groups"])),
            **at_rest.of_settings({each.host.name: each.values for each in hosts}),
            **{f"report of {each.host.name}": at_rest.of_report(cast(Any, each.host.report)) for each in hosts},
        }

    def _ports(self) -> Judged:
        hosts, hostvars = self._reported(), self._variables["hostvars"]
        probes = preflight.probes(hosts)
        answers = {name: plain(hostvars[name].get(_CONNECTED) or {}) for name in probes}
        failed = {name: answer.get("failed_targets") or [] for name, answer in answers.items()}
        listening = {name: plain(hostvars[name].get(_LISTENING) or {}).get("udp") or [] for name in probes}
        return hosts, preflight.check_connections(probes, failed, listening)

    def _active(self, state: Path) -> str | None:
        if self._task.check_mode:
            return None
        own = active_run.own(state, os.getppid())
        return own.id if own else ""

    def _purpose(self) -> preflight.Purpose:
        given = self._arguments.get("purpose", "converge")
        for purpose in preflight.PURPOSES:
            if given == purpose:
                return purpose
        raise KubeproofError(f"preflight: purpose is {given!r}; it must be one of {', '.join(preflight.PURPOSES)}")

    def _outcome(self, findings: Sequence[preflight.Finding]) -> dict[str, Any]:
        failed = bool(preflight.errors(findings))
        if findings:
            colour = constants.COLOR_ERROR if failed else constants.COLOR_WARN
            self._display.display(f"\n{preflight.render(findings)}\n", color=colour)
        outcome = {"changed": False, "failed": failed, "msg": f"preflight: {preflight.count(findings)}"}
        return outcome if failed else outcome | {"findings": preflight.as_data(findings)}

    def _tell_adaptations(self, hosts: Sequence[preflight.Variables]) -> None:
        """Say which settings follow from what hosts can't do, and from what: what is the same on several, once."""
        for reason, names in _adaptations(hosts).items():
            self._display.display(f"{', '.join(names)}: {reason}")

    def _variables_of(self, name: str, *, facts: bool) -> preflight.Variables:
        """A host's variables from the inventory and the roles' defaults. ``facts``: whether facts are known by now."""
        manager = self._task.get_variable_manager()
        own = manager.get_vars(host=manager._inventory.get_host(name), include_hostvars=False)  # noqa: SLF001
        given = {str(key): _place(key) for key in own}
        variables = {**resolve.defaults(), **own, "hostvars": self._variables["hostvars"]}
        values, broken = self._rendered(variables, given, facts=facts)
        late = frozenset(name for name in given if name in self._specs.options and _needs_facts(variables[name]))
        groups = frozenset(str(group) for group in own["group_names"])
        address = str(values.get("cluster_host_address", ""))
        host = preflight.Host(name, groups, address, address_ipv6=str(values.get("cluster_host_address_ipv6") or ""))
        return preflight.Variables(host, given, values, broken, late)

    def _rendered(
        self, variables: Mapping[str, Any], given: Mapping[str, str], *, facts: bool
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Values of the settings that matter, and why some have none. A default breaks only by another setting."""
        templar = Templar(loader=self._loader, variables=variables)
        values: dict[str, Any] = {}
        broken: dict[str, str] = {}
        for name in self._specs.options.keys() & variables.keys():
            if not (name in given or model.reads(name)):
                continue
            try:
                values[name] = _converted(self._specs.options[name], plain(templar.template(variables[name])))
            except AnsibleError as error:
                later = name not in given or _needs_facts(variables[name])
                if facts or not later:
                    broken[name] = str(error)
        return values, broken

    @cached_property
    def _specs(self) -> specs.Specs:
        """All settings that there are."""
        return specs.load()


def _code() -> str:
    """A digest of what tasks are made of; empty if it cannot be read."""
    try:
        return at_rest.of_files(paths.PROJECT / name for name in _CODE)
    except OSError:
        return ""


def _needs_facts(value: Any) -> bool:
    return any(fact in str(value) for fact in _FACTS)


def _converted(option: specs.Option, value: Any) -> Any:
    """A value of the type that is wanted, if it can be had; what is wrong with it is the checks' to say."""
    try:
        return specs.converted(option, value)
    except (TypeError, ValueError):
        return value


def _members(task_vars: Mapping[str, Any]) -> list[str]:
    """The cluster's hosts: those in a group of ours, each once, in the inventory's order."""
    return list(dict.fromkeys(str(host) for group in preflight.GROUPS for host in task_vars["groups"].get(group, ())))


def _kept(hosts: Sequence[preflight.Variables], task_vars: Mapping[str, Any]) -> preflight.Kept:
    """What the controller keeps, of the cluster of the inventory that was given."""
    state = Path(str(hosts[0].values["cluster_state_directory"])) if hosts else Path()
    return preflight.Kept.of(state, " -i ".join(str(source) for source in task_vars["ansible_inventory_sources"]))


def _ignored(hosts: Iterable[preflight.Variables]) -> set[str]:
    return {str(entry) for variables in hosts for entry in variables.values.get("preflight_ignore") or ()}


def _wanted(hosts: Sequence[preflight.Variables]) -> preflight.Wanted:
    """Pinned versions, by the inventory's choice of versions if it makes one. Images of components have theirs."""
    values = hosts[0].values if hosts else {}
    chosen = values.get("component_versions", {})
    pinned = pins.load().with_versions(chosen)
    components = pinned.components.values()
    # A component whose programs are in images only has the version of its image.
    on_hosts = {each.name for each in components if any(binary.groups for binary in each.binaries.values())}
    versions = {each.name: each.version for each in components}
    versions |= {
        name: image.version for name, image in pinned.images.items() if name not in on_hosts and not image.component
    }
    runtime = str(values.get("container_runtime") or pins.CONTAINERD)
    # Docker brings a containerd and a runc of its own, whose versions are not the component's.
    unused = {*pins.RUNTIMES} - {runtime} | ({"runc"} if runtime == "docker" else {"cri-dockerd"})
    programs = {
        program: each.name
        for each in components
        if each.name not in unused
        for program, binary in each.binaries.items()
        if binary.version_arguments is None or "{version}" in binary.version_output
    }
    allowed = bool(values.get("preflight_allow_version_change"))
    return preflight.Wanted(versions, programs, chosen, allowed, pinned.sets)


def _adaptations(hosts: Sequence[preflight.Variables]) -> dict[str, list[str]]:
    """Reasons of settings that follow from facts, each with its hosts. Empty before hosts were asked."""
    found: dict[str, list[str]] = {}
    for entry in hosts:
        if entry.host.report is not None:
            for reason in host_settings.derive(entry.host.report)["reasons"]:
                found.setdefault(reason, []).append(entry.host.name)
    return found


def _write_report(stage: str, findings: Sequence[preflight.Finding], hosts: Sequence[preflight.Variables]) -> None:
    """Leave the findings where other programs find them, if it is known where."""
    directory = hosts[0].values.get("cluster_state_directory") if hosts else None
    if directory:
        path = state.prepare(Path(str(directory))) / "reports" / f"preflight-{stage}.json"
        path.parent.mkdir(exist_ok=True)
        document = {"stage": stage, "findings": preflight.as_data(findings), "adaptations": _adaptations(hosts)}
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _reported(host: preflight.Host, task_vars: Mapping[str, Any]) -> preflight.Host:
    """The host with what ``host_report`` found."""
    fact = plain(reported(task_vars["hostvars"], host.name))
    if not fact:
        raise KubeproofError(f"preflight: {host.name} has no report; run host_report on all hosts first")
    if "problem" in fact:
        remediation = str(fact.get("remediation", ""))
        return replace(host, problem=fact["problem"], unreachable=fact["unreachable"], remediation=remediation)
    return replace(host, report=cast(HostReport, fact))


def _place(name: str) -> str:
    """File and line where a variable is set, as short as it can be; empty if that is not known."""
    origin = Origin.get_tag(name) if Origin else None
    if origin is None:
        return ""
    if not origin.path:
        return str(origin.description)
    path = min(os.path.relpath(origin.path), str(origin.path), key=len)
    return f"{path}:{origin.line_num}" if origin.line_num else path
