"""A plan from all that was asked: reports of hosts, what etcd and API servers say, objects of the API, settings."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509

from kubeproof.core.versions import Minor, Version
from kubeproof.preflight.findings import Finding, relevant
from kubeproof.preflight.model import Host as Seen
from kubeproof.upgrade import look, questions
from kubeproof.upgrade.evidence import backing_up
from kubeproof.upgrade.goal import Goal, Kind
from kubeproof.upgrade.passes import Needs
from kubeproof.upgrade.plan import Plan, plan
from kubeproof.upgrade.world import (
    APISERVER,
    COMPONENTS,
    CONTROLLER_MANAGER,
    KUBE_PROXY,
    KUBELET,
    SCHEDULER,
    Backup,
    Host,
    World,
)

Object = Mapping[str, Any]

# Settings that give flags to programs, and those that give a configuration with feature gates.
_ARGUMENTS = {
    APISERVER: "apiserver_extra_args",
    CONTROLLER_MANAGER: "controller_manager_extra_args",
    SCHEDULER: "scheduler_extra_args",
}
_CONFIGURATIONS = {KUBELET: "kubelet_extra_config", KUBE_PROXY: "kube_proxy_extra_config"}
SETTINGS = (*_ARGUMENTS.values(), *_CONFIGURATIONS.values())
"""Settings of roles that are looked at."""


@dataclass(frozen=True)
class Survey:
    """What was asked. ``looks``: by host, what ``upgrade_look`` has returned. ``settings``: by host, those of roles.

    ``local_data``, ``bare_pods``: whether a drain may take away what is in emptyDir volumes, and pods that nothing
    makes again. ``without_backups``: hosts that have nothing that makes one. ``ignored``: findings about the
    surroundings that do not count, by id or ``id:subject``. ``sizes``: bytes by component and binary, of what the
    cluster has. ``unfinished``, ``began``, ``backup``, ``rehearsed``: see ``World``. ``now``: seconds since 1970, to
    say which certificates end soon.
    """

    name: str
    hosts: Sequence[Seen]
    looks: Mapping[str, Object]
    settings: Mapping[str, Object] = field(default_factory=dict)
    local_data: bool = False
    bare_pods: bool = False
    without_backups: Collection[str] = ()
    ignored: Collection[str] = ()
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unfinished: Mapping[str, Version] = field(default_factory=dict)
    began: float = 0.0
    backup: Backup | None = None
    rehearsed: Mapping[str, frozenset[Version]] = field(default_factory=dict)
    now: float = 0.0

    @property
    def objects(self) -> Mapping[str, Sequence[Object]]:
        """Objects of the API, by resource."""
        return next((found["objects"] for found in self.looks.values() if found.get("objects")), {})


def world(survey: Survey) -> World:
    """What runs now."""
    etcd = {name: found["etcd"] for name, found in survey.looks.items() if found.get("etcd")}
    answers = look.Answers(
        status={name: each["status"] for name, each in etcd.items() if each.get("status")},
        version={name: each["version"] for name, each in etcd.items() if each.get("version")},
        nodes=survey.objects.get("nodes", ()),
        dns=next(iter(survey.objects.get("dns", ())), None),
        turns={name: found["turn"] for name, found in survey.looks.items() if found.get("turn")},
        keeping=frozenset(name for name, found in survey.looks.items() if found.get("staged")),
        failing=frozenset(_failing(survey)),
    )
    found = look.world(survey.name, survey.hosts, answers)
    kept = {name: getattr(survey, name) for name in ("unfinished", "began", "backup", "rehearsed")}
    return dataclasses.replace(found, **kept)


def planned(survey: Survey, goal: Goal) -> Plan:
    """The plan, with everything in the way."""
    now = world(survey)
    first = plan(now, goal)
    drained = {name for step in first.steps for name in step.drained}
    in_the_way = relevant(_in_the_way(survey, goal, first, drained), survey.ignored)
    return plan(now, goal, [*_asked(survey, now, goal), *_backups(survey, first), *in_the_way])


def _asked(survey: Survey, now: World, goal: Goal) -> Iterator[Finding]:
    """What could not be asked: an upgrade does not begin blindly."""
    problems = [found["problem"] for found in survey.looks.values() if found.get("problem")]
    if not survey.objects:
        why = problems[0] if problems else "no host has an API server"
        remediation = " ".join(["Repair the API servers first.", *_open_turns(now)])
        yield Finding("api", f"the API could not be asked: {why}", remediation)
    wanted = goal.wants(APISERVER)
    if wanted is not None and not list(now.running(APISERVER)):
        yield Finding("api", "no API server runs", "Install the cluster first: playbooks/cluster.yml.")


def _open_turns(now: World) -> Iterator[str]:
    """What to do about turns that may be what API servers suffer from: no run can, as long as none of them answers."""
    hosts = [host.name for host in now.hosts if host.control_plane and host.unconfirmed and host.reachable]
    if hosts:
        yield (
            f"A turn is open on {', '.join(hosts)}: it is put back when its time is over, or at once with "
            "kubeproof-turn put-back there."
        )


def _backups(survey: Survey, first: Plan) -> Iterator[Finding]:
    """Whether the backup with which the run begins can be made."""
    makers = [host.name for host in backing_up(first.world)[:1] if host.name in survey.without_backups]
    if makers and any(turn.kind is Kind.BACKUP for turn in first.turns):
        problem = "backup_enabled is false, and an upgrade of etcd or Kubernetes begins with a backup"
        remediation = "Set it to true, and install what makes backups: playbooks/cluster.yml."
        yield Finding("no-backups", problem, remediation, "backup_enabled", makers[0])


def _in_the_way(survey: Survey, goal: Goal, first: Plan, drained: set[str]) -> Iterator[Finding]:
    objects, touched = survey.objects, {name for step in first.steps for name in step.hosts}
    if not first.turns or not objects:
        return
    yield from _of_versions(survey, goal, first)
    yield from _space(survey, goal, first.world)
    yield from questions.api_services(objects["services"])
    yield from questions.webhooks([*objects["mutating"], *objects["validating"]], objects["slices"])
    # Where a turn is open, what is wrong is confirmed or put back before anything else.
    open_turns = {host.name for host in first.world.hosts if host.unconfirmed and host.reachable}
    yield from questions.readiness(
        {name: each["api"]["ready"] for name, each in _servers(survey) if name not in open_turns}
    )
    yield from questions.unanswered({name: why for name, why in _silent(survey) if name not in open_turns})
    yield from questions.certificates(
        _certificates(survey, goal, first.world), survey.now, unfinished=bool(survey.unfinished)
    )
    nodes = objects["nodes"]
    yield from questions.nodes(nodes, touched - open_turns)
    yield from questions.stranded(sorted({name for turn in first.turns for name in turn.stranded}))
    yield from questions.unmovable(objects["pods"], questions.Leaving(drained, survey.local_data, survey.bare_pods))
    if drained:
        yield from questions.budgets(objects["budgets"])
        yield from _unasked(survey)
        yield from _evictions(survey, drained)


def _space(survey: Survey, goal: Goal, now: World) -> Iterator[Finding]:
    """Whether what is staged fits, and what it replaces, which is kept: about twice what there is of it.

    Where an earlier run has staged something, that is a part of it already, and nothing is said.
    """
    needs, looks = Needs(now, goal), survey.looks
    fresh = [host for host in now.hosts if goal.may_touch(host) and not looks.get(host.name, {}).get("staged")]
    needed = {
        host.name: 2 * sum(_bytes(survey.sizes.get(component, {}), host) for component, _ in needs.of(host))
        for host in fresh
    }
    yield from questions.space({name: found["free"] for name, found in looks.items() if found.get("free")}, needed)


def _bytes(binaries: Mapping[str, int], host: Host) -> int:
    """Of a component's binaries those that a host has: a worker has no API server."""
    return sum(size for name, size in binaries.items() if name not in COMPONENTS or name in host.runs)


def _certificates(survey: Survey, goal: Goal, now: World) -> Iterator[questions.Certificate]:
    """Those on hosts that the upgrade may touch."""
    for host in now.hosts:
        look_at = survey.looks.get(host.name, {}) if goal.may_touch(host) else {}
        for path, text in look_at.get("certificates", {}).items():
            # What is no certificate that Python can read is none that its owner can use.
            with contextlib.suppress(ValueError):
                certificate = x509.load_der_x509_certificate(base64.b64decode(text))
                ends = certificate.not_valid_after_utc.timestamp()
                foreign = path in look_at.get("foreign", ())
                yield questions.Certificate(host.name, path, ends, certificate.issuer == certificate.subject, foreign)


def _of_versions(survey: Survey, goal: Goal, first: Plan) -> Iterator[Finding]:
    """What Kubernetes of another minor version lacks."""
    now, wanted = _series(first.world), goal.wants(APISERVER)
    yield from questions.stored_versions(survey.objects["definitions"])
    if wanted is None or now is None or now == wanted.series:
        return
    metrics = "\n".join(itertools.chain(*(each["api"]["deprecated"] for _, each in _servers(survey))))
    audit = itertools.chain(*(each["api"]["audit"] for _, each in _servers(survey)))
    yield from questions.removed_apis(metrics, audit, wanted.series)
    for settings in survey.settings.values():
        for program, name in _ARGUMENTS.items():
            given = [f"--{flag}={_text(value)}" for flag, value in (settings.get(name) or {}).items()]
            yield from questions.arguments(program, given, now, wanted.series)
        for program, name in _CONFIGURATIONS.items():
            gates = (settings.get(name) or {}).get("featureGates") or {}
            yield from questions.gates(program, gates, now, wanted.series)


def _unasked(survey: Survey) -> Iterator[Finding]:
    """Evictions that were cut short: what budgets say to those that are left is not known."""
    for host, found in survey.looks.items():
        if found.get("problem") and found.get("objects"):
            problem = f"not all evictions could be asked for: {found['problem']}"
            yield Finding("api", problem, "Repair what keeps the API from answering, and run this again.", host, host)


def _evictions(survey: Survey, drained: Iterable[str]) -> Iterator[Finding]:
    places = {
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod["spec"]["nodeName"]
        for pod in survey.objects["pods"]
        if not questions.stays(pod)
    }
    leaving = {name: node for name, node in places.items() if node in set(drained)}
    answers = {
        name: (each["code"], each["answer"])
        for found in survey.looks.values()
        for name, each in found.get("evictions", {}).items()
        if name in leaving
    }
    yield from questions.evictions(answers, leaving)


def _servers(survey: Survey) -> list[tuple[str, Object]]:
    return [(name, found) for name, found in survey.looks.items() if found.get("api")]


def _failing(survey: Survey) -> Iterator[str]:
    """Hosts whose API server does not answer, or has checks that fail."""
    yield from (name for name, _ in _silent(survey))
    yield from (name for name, found in _servers(survey) if questions.failing(found["api"]["ready"]))


def _silent(survey: Survey) -> Iterator[tuple[str, str]]:
    """Hosts that can be reached and whose API server does not answer, each with what is known of it."""
    for host in survey.hosts:
        found = survey.looks.get(host.name, {})
        if "control_plane" in host.groups and host.report is not None and not found.get("api"):
            yield host.name, str(found.get("problem", ""))


def _series(now: World) -> Minor | None:
    return min((running.effective for _, _, running in now.running(APISERVER)), default=None)


def _text(value: object) -> str:
    """The value of a flag as roles write it: lists and dictionaries joined with commas."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
