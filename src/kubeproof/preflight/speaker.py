"""Through which control-plane host a run uses the API: also one that has no node of the run on it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import CONTROL_PLANE, NODES, Host, Run

# Tags of tasks for nodes that are carried out on a control-plane host, in playbooks/parts/cluster.yml, by the part.
_PARTS: Mapping[str, frozenset[str]] = {
    "pod_network": frozenset({"node", "pod_network"}),
    "flannel": frozenset({"node", "pod_network", "flannel"}),
    "daemonset": frozenset({"node", "kube-proxy"}),
}
_ALL = frozenset({"all", "tagged"})
# What Ansible says before what ssh itself said.
_SSH_SAYS = re.compile(r"^.*(can be reached over ssh: |to the host via ssh: )", re.DOTALL)


def outside(
    hosts: Sequence[tuple[Host, Mapping[str, Any]]], run: Run, chosen: Collection[str], skipped: Collection[str]
) -> list[str]:
    """Control-plane hosts that have to be asked whether they answer, though they are not in the run; mostly none.

    Only a run that converges nodes without any control-plane host needs one of these, and only for some parts.
    ``hosts``: of the run, with their settings. ``chosen``, ``skipped``: its tags.
    """
    if run.purpose != "converge" or any(host.within((CONTROL_PLANE,)) for host, _ in hosts):
        return []
    parts = {part for host, values in hosts if host.within(NODES) for part in _delegated(values)}
    needed = any(
        not (_PARTS[part] | _ALL).isdisjoint(chosen) and (_PARTS[part] | _ALL).isdisjoint(skipped) for part in parts
    )
    return run.hosts(CONTROL_PLANE) if needed else []


def _delegated(values: Mapping[str, Any]) -> Iterator[str]:
    network = values.get("pod_network_plugin")
    if network in ("bridge", "flannel"):
        yield "pod_network"
    if network == "flannel":
        yield "flannel"
    if values.get("kube_proxy_form") == "daemonset":
        yield "daemonset"


def problems(answers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Why control-plane hosts outside the run cannot be used, by name; empty for one that can.

    ``answers``: of Ansible's ``uri``, each with the host as ``item``; those after the first good one were not asked.
    """
    return {str(answer.get("item")): _problem(answer) for answer in answers}


def _problem(answer: Mapping[str, Any]) -> str:
    if answer.get("unreachable"):
        return f"unreachable: {_SSH_SAYS.sub('', str(answer.get('msg', ''))).strip()}"
    if answer.get("status") == 200:
        return ""
    return f"its API server is not ready: {str(answer.get('msg') or 'it gave no answer').strip()}"


def speaker(hosts: Sequence[Host], absent: Collection[str], run: Run) -> str:
    """The first control-plane host that answers: of the run, else of those outside; empty if none was found.

    ``absent``: hosts of the run that are left behind.
    """
    there = {host.name for host in hosts if host.report is not None and host.name not in absent}
    answering = [name for name, problem in run.outside.items() if not problem]
    return next((name for name in run.hosts(CONTROL_PLANE) if name in there), next(iter(answering), ""))


def check_speaker(run: Run) -> Iterator[Finding]:
    """A finding if a run needs a control-plane host, and there is none that answers."""
    if run.outside and all(run.outside.values()):
        reasons = "; ".join(f"{name}: {problem}" for name, problem in run.outside.items())
        problem = f"nodes of this run need the API, and no control-plane host can be used for that ({reasons})"
        remediation = (
            "Start one of them. If the cluster was never installed on them, run without --limit. Parts of nodes that "
            "need no API are had by --tags, for example --tags containerd."
        )
        yield Finding("no-control-plane", problem, remediation)
