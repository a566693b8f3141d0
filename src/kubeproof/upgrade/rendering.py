"""A plan for people and for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kubeproof.core.versions import Version
from kubeproof.preflight import findings
from kubeproof.upgrade import policy
from kubeproof.upgrade.goal import Goal
from kubeproof.upgrade.plan import NOTHING, Plan, Step
from kubeproof.upgrade.world import (
    APISERVER,
    CNI,
    COMPONENTS,
    CONTAINERD,
    CONTROLLERS,
    CRI_DOCKERD,
    CRIO,
    DNS,
    DOCKER,
    ETCD,
    KUBE_PROXY,
    KUBELET,
    RUNC,
    UPGRADE,
    Host,
    World,
)

SCHEMA = 1
# What a column shows, and of which programs.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "etcd": (ETCD,),
    "API server": (APISERVER,),
    "controllers": CONTROLLERS,
    "kubelet": (KUBELET,),
    "kube-proxy": (KUBE_PROXY,),
    "containerd": (CONTAINERD,),
    "CRI-O": (CRIO,),
    "Docker": (DOCKER,),
    "cri-dockerd": (CRI_DOCKERD,),
    "runc": (RUNC,),
    "CNI plugins": (CNI,),
}
NAMES = {
    "kubernetes": "Kubernetes",
    "cni-plugins": "CNI plugins",
    "coredns": "CoreDNS",
    CRIO: "CRI-O",
    DOCKER: "Docker",
}
_WIDTH = 110
_HOSTS_SHOWN = 8


def render(plan: Plan) -> str:
    """The plan as text: versions now and then, hosts, steps, and everything that is in the way."""
    parts = [_heading(plan), _table(_hosts(plan)), "\n".join(_turned(plan.world))]
    if plan.steps:
        parts.append(_table([_step(number, step) for number, step in enumerate(plan.steps, 1)]))
    parts += ["\n".join(f"Not all of it: {note}." for note in plan.notes)] if plan.notes else []
    if plan.findings:
        parts.append(f"In the way ({findings.count(plan.findings)}):\n\n{findings.render(plan.findings)}")
    if plan.exit_code == NOTHING:
        parts.append("Nothing to do.")
    return "\n\n".join(part for part in parts if part) + "\n"


def document(plan: Plan) -> dict[str, Any]:
    """The plan as data."""
    return {
        "schema": SCHEMA,
        "cluster": plan.world.name,
        "direction": plan.goal.direction,
        "exit_code": plan.exit_code,
        "versions": {
            name: {"now": [str(each) for each in now], "then": str(then)}
            for name, (now, then) in _moves(plan.world, plan.goal).items()
        },
        "hosts": {host.name: _host(host) for host in plan.world.hosts},
        "steps": [
            {
                "step": step.kind.value,
                "title": step.title,
                "batches": [list(batch) for batch in step.batches],
                "restarts": list(step.restarts),
                "to": list(step.moves),
                "drained": list(step.drained),
                "reason": step.reason,
                "back": step.back,
            }
            for step in plan.steps
        ],
        "notes": list(plan.notes),
        "findings": findings.as_data(plan.findings),
    }


def _turned(world: World) -> Iterator[str]:
    """What hosts did about turns that were not confirmed, and where files of other versions are kept."""
    for host in world.hosts:
        if host.turned:
            yield f"{host.name}: {host.turned}."
    cordoned = [host.name for host in world.hosts if host.cordoned == UPGRADE]
    if cordoned:
        yield (
            f"No pods are scheduled to {_listed(cordoned)}: an upgrade has cordoned what it did not finish. The next "
            f"run lifts that; to lift it without one: kubectl uncordon {' '.join(cordoned)}."
        )
    keeping = [host.name for host in world.hosts if host.keeps]
    if keeping:
        yield f"Files of other versions are kept on {_listed(keeping)}."


def _host(host: Host) -> dict[str, Any]:
    return {
        "runs": {program: str(running) for program, running in sorted(host.runs.items())},
        "leader": host.member is not None and host.member.leader,
        "reachable": host.reachable,
        "well": host.well,
        "cordoned": host.cordoned,
        "unconfirmed": sorted(host.unconfirmed),
        "turned": host.turned,
        "keeps": host.keeps,
    }


def _moves(world: World, goal: Goal) -> dict[str, tuple[list[Version], Version]]:
    """Versions of components that differ from what is wanted, oldest first, and what is wanted."""
    now: dict[str, set[Version]] = {DNS: {world.dns}} if world.dns is not None else {}
    for _, program, running in world.running(*COMPONENTS):
        now.setdefault(COMPONENTS[program], set()).add(running.version)
    return {
        name: (sorted(now[name]), wanted)
        for name, wanted in goal.versions.items()
        if name in now and now[name] != {wanted}
    }


def _heading(plan: Plan) -> str:
    moves = [
        f"{NAMES.get(name, name)} {', '.join(str(each) for each in now)} -> {then}"
        for name, (now, then) in _moves(plan.world, plan.goal).items()
    ]
    what = ", ".join(moves) or ", ".join(f"{NAMES.get(name, name)} {each}" for name, each in plan.goal.versions.items())
    back = "back: " if plan.goal.direction == "back" else ""
    return "\n".join(textwrap.wrap(f"{plan.world.name or 'cluster'}: {back}{what}", _WIDTH, subsequent_indent="  "))


def _hosts(plan: Plan) -> list[list[str]]:
    """A row for each host with what it runs. Columns of which nothing runs are left out."""
    world = plan.world
    columns = {name: programs for name, programs in COLUMNS.items() if any(world.running(*programs))}
    rows = [["host", *columns]]
    outside = {each.host for each in policy.violations(world)}
    rows += [
        [host.name, *(_cell(host, programs) for programs in columns.values()), _remarks(plan, host, outside)]
        for host in world.hosts
    ]
    return rows


def _cell(host: Host, programs: Sequence[str]) -> str:
    found = dict.fromkeys(str(host.runs[program]) for program in programs if program in host.runs)
    leads = " (leader)" if programs == (ETCD,) and host.member is not None and host.member.leader else ""
    return (" and ".join(found) or "-") + leads


def _remarks(plan: Plan, host: Host, outside: Iterable[str]) -> str:
    newest = max((running.version for _, _, running in plan.world.running(KUBELET)), default=None)
    behind = newest is not None and KUBELET in host.runs and host.runs[KUBELET].version.series < newest.series
    remarks = {
        "unreachable": not host.reachable,
        "not ready": host.reachable and not host.well,
        "a turn not confirmed": bool(host.unconfirmed),
        "cordoned": bool(host.cordoned) and host.cordoned != UPGRADE,
        "cordoned by an upgrade": host.cordoned == UPGRADE,
        "outside the policy": host.name in outside,
        "behind, allowed": behind and host.name not in outside,
    }
    found = ", ".join(remark for remark, holds in remarks.items() if holds)
    return f"({found})" if found else ""


def _step(number: int, step: Step) -> list[str]:
    """A row for a step: hosts at the same time are joined by ``+``."""
    batches = list(dict.fromkeys("+".join(batch) for batch in step.batches))
    if len(batches) > _HOSTS_SHOWN:
        batches = [*batches[: _HOSTS_SHOWN - 1], f"{len(batches) - _HOSTS_SHOWN + 1} more"]
    hosts = "all hosts" if step.kind == "stage" and len(step.hosts) > 1 else ", ".join(batches)
    hosts += ", drained" if step.drained else ""
    return [f"{number:>2}", step.title, hosts, f"back: {step.back}" if step.back else ""]


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Cells in columns, each as wide as its widest."""
    widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(max(map(len, rows), default=0))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
