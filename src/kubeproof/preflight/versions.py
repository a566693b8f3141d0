"""Checks of versions: what is installed against what is wanted.

Sources: https://kubernetes.io/releases/version-skew-policy/ and https://etcd.io/docs/v3.6/upgrades/.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeproof.components import pins
from kubeproof.core.errors import KubeproofError
from kubeproof.core.versions import Version, parse
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import Host
from kubeproof.settings.host_report import HostReport, RunningProgram

APISERVER = "kube-apiserver"
# How many minor versions a component may be older than the API server. None may be newer.
OLDER = {"kube-controller-manager": 1, "kube-scheduler": 1, "kubelet": 3, "kube-proxy": 3}
PAGE = "docs/operations/versions.md"
# What keeps its data in a form that moves on one minor version at a time.
STORES = (APISERVER, "etcd")


@dataclass(frozen=True)
class Wanted:
    """Versions that a run would install, by component and image, and the component of each program.

    ``chosen``: those that the setting ``component_versions`` has; others follow by ``sets``. ``allowed``: whether
    installed versions may change.
    """

    components: Mapping[str, str]
    programs: Mapping[str, str]
    chosen: Mapping[str, str] = field(default_factory=dict)
    allowed: bool = False
    sets: pins.Sets = field(default_factory=dict)

    @property
    def of_programs(self) -> dict[str, str]:
        """Versions by program."""
        return {program: self.components[component] for program, component in self.programs.items()}


@dataclass(frozen=True)
class Present:
    """A component on a host, what it is called there, and its version."""

    host: str
    component: str
    name: str
    version: str


def check_checksums(given: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the setting ``component_sha256`` has checksums of what is downloaded."""
    try:
        pins.load().with_sha256(given)
    except KubeproofError as error:
        remediation = error.hint or "Name a component, as components/components.yml has it."
        yield Finding("component-sha256", str(error.args[0]), remediation, "component_sha256")


def check_chosen(chosen: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the versions in the setting ``component_versions`` can be installed, and go together."""
    try:
        pinned = pins.load().with_versions(chosen)
    except KubeproofError as error:
        yield Finding("component-versions", str(error.args[0]), error.hint or f"See {PAGE}.", "component_versions")
        return
    for misfit in pinned.misfits():
        problem = (
            f"component_versions has {misfit.member} {misfit.version}; "
            f"{misfit.leader} {misfit.leader_version} goes with {misfit.fitting}"
        )
        remediation = f"Leave out {misfit.member}, unless you mean it."
        yield Finding("version-set", problem, remediation, misfit.member, severity="warning")


def check_versions(hosts: Sequence[Host], wanted: Wanted) -> Iterator[Finding]:
    """Compare hosts with what a run would install. What either side does not know is not compared."""
    pinned = _parsed(wanted.of_programs)
    yield from _among_pins(pinned)
    reported = {host.name: host.report for host in hosts if host.report is not None}
    if not wanted.allowed:
        yield from _changes(
            [each for host, report in reported.items() for each in _present(host, report, wanted)], wanted
        )
    for host, report in reported.items():
        programs = _parsed(_programs(report))
        yield from _steps(host, programs, pinned)
        yield from _between(host, programs, pinned)


def _programs(report: HostReport) -> dict[str, str]:
    """Versions by program: of what runs, where it runs. After a run that was killed, files may be ahead of it."""
    running = report["installed"]["running"]
    oldest = {each["program"]: each["version"] for each in sorted(running, key=_newest_first)}
    return {**report["installed"]["versions"], **oldest}


def _newest_first(process: RunningProgram) -> list[int]:
    return [-number for number in parse(process["version"]) or ()]


def _present(host: str, report: HostReport, wanted: Wanted) -> Iterator[Present]:
    """What is installed, as recorded; of a host that has no record, what programs say of themselves."""
    recorded = report["installed"]["components"]
    for component in sorted(recorded.keys() & wanted.components.keys()):
        yield Present(host, component, component, recorded[component])
    for program, said in sorted(report["installed"]["versions"].items() if not recorded else ()):
        version = parse(said)
        if version and program in wanted.programs:
            yield Present(host, wanted.programs[program], program, str(version))


def _changes(present: Sequence[Present], wanted: Wanted) -> Iterator[Finding]:
    """A finding for each host on which versions would change: an upgrade has an order and checks of its own."""
    changed = [each for each in present if each.version != wanted.components[each.component]]
    remediation = _remediation(present, {each.component for each in changed}, wanted)
    for host in dict.fromkeys(each.host for each in changed):
        changes = [
            f"{each.name} from {each.version} to {wanted.components[each.component]}"
            for each in changed
            if each.host == host
        ]
        problem = f"this run would change versions of what is installed: {', '.join(changes)}"
        yield Finding("version-change", problem, remediation, host=host)


def _remediation(present: Sequence[Present], changed: Collection[str], wanted: Wanted) -> str:
    installed: dict[str, set[str]] = {}
    for each in present:
        if each.component in changed:
            installed.setdefault(each.component, set()).add(each.version)
    mixed = sorted(component for component, versions in installed.items() if len(versions) > 1)
    if mixed:
        return (
            f"Hosts have different versions of {', '.join(mixed)}: a change was not completed. To complete it: "
            "-e preflight_allow_version_change=true."
        )
    kept = {component: version for component, (version,) in sorted(installed.items())}
    following: dict[str, str] = {}
    for leader in wanted.sets.keys() & kept.keys():
        following |= wanted.sets[leader].get(pins.minor_of(kept[leader]), {})
    # What was left in the inventory would be in the way of the next upgrade.
    kept = {component: version for component, version in kept.items() if following.get(component) != version}
    setting = json.dumps({"component_versions": {**wanted.chosen, **kept}})
    return (
        f"To keep what is installed: -e '{setting}', or the same in the inventory. "
        "To change versions: ./kubeproof upgrade plan (docs/operations/upgrade.md). To change them in this run, "
        "without the steps and checks of an upgrade: -e preflight_allow_version_change=true."
    )


def _parsed(versions: Mapping[str, str]) -> dict[str, Version]:
    return {name: version for name, text in versions.items() if (version := parse(text))}


def _among_pins(pinned: Mapping[str, Version]) -> Iterator[Finding]:
    for name in OLDER:
        if APISERVER in pinned and name in pinned:
            problem = _skew(name, pinned[name], pinned[APISERVER])
            if problem:
                yield Finding("version-skew", problem, "Choose versions within the version skew policy.", name)


def _steps(host: str, present: Mapping[str, Version], pinned: Mapping[str, Version]) -> Iterator[Finding]:
    """From what is there to what is wanted, by each program."""
    for name in sorted(present.keys() & pinned.keys()):
        before, after = present[name], pinned[name]
        move = f"{name} would go from {_text(before)} to {_text(after)}"
        if after[:2] < before[:2]:
            remediation = f"Choose {_text(before)} or newer. To go back, restore a backup."
            yield Finding("version-step", f"{move}, a downgrade", remediation, name, host)
        elif name in STORES and after[:2] > (before[0], before[1] + 1):
            remediation = f"Choose {before[0]}.{before[1] + 1} first, then the next."
            yield Finding("version-step", f"{move}, skipping a minor version", remediation, name, host)


def _between(host: str, present: Mapping[str, Version], pinned: Mapping[str, Version]) -> Iterator[Finding]:
    """The control plane goes first: for a while the new API server is there for the programs that are."""
    for name in OLDER:
        if APISERVER in pinned and name in present and present[name] != pinned.get(name):
            problem = _skew(name, present[name], pinned[APISERVER])
            if problem:
                remediation = f"Upgrade {APISERVER} in steps, and {name} after each."
                yield Finding("version-skew", f"installed: {problem}", remediation, name, host)


def _skew(name: str, version: Version, apiserver: Version) -> str:
    """What is wrong with a program beside an API server; empty if nothing is."""
    pair = f"{name} {_text(version)} beside {APISERVER} {_text(apiserver)}"
    if version[:2] > apiserver[:2]:
        return f"{pair}: it must not be newer"
    if version[:2] < (apiserver[0], apiserver[1] - OLDER[name]):
        return f"{pair}: it may be at most {OLDER[name]} minor version{'s' * (OLDER[name] > 1)} older"
    return ""


def _text(version: Version) -> str:
    return f"v{version}"
