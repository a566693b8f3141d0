"""The world from what hosts report, what members of etcd answer, and nodes as the API has them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeproof.api import field_managers
from kubeproof.core.versions import Minor, Version, parse
from kubeproof.preflight.model import Host as Seen
from kubeproof.settings.host_report import HostReport
from kubeproof.upgrade.world import (
    CNI,
    COMPONENTS,
    CONTAINERD,
    CRIO,
    DOCKER,
    KUBE_PROXY,
    KUBELET,
    KUBERNETES,
    RUNC,
    UPGRADE,
    EtcdCluster,
    Host,
    Member,
    Running,
    World,
)

Object = Mapping[str, Any]

CORDONED_BY = "kubeproof.dev/cordoned-by"
"""The annotation of a node by which an upgrade says that it has cordoned it."""
MANAGER = "kubeproof-upgrade"
"""Who the API server says has done it."""


@dataclass(frozen=True)
class Answers:
    """What was asked besides host reports.

    ``status``: by host, the element of ``etcdctl endpoint status --write-out=json``; ``version``: its ``/version``.
    Hosts that did not answer are missing. ``nodes``: objects of the API, whose names are those of hosts. ``dns``: the
    Deployment of the cluster's DNS, if kubeproof installs it. ``turns``: by host, the record of its last turn, if that
    was not confirmed. ``keeping``: hosts on which files of other versions are kept. ``failing``: hosts whose API server
    does not answer, or says that it is not ready.
    """

    status: Mapping[str, Object]
    version: Mapping[str, Object]
    nodes: Sequence[Object] = ()
    dns: Object | None = None
    turns: Mapping[str, Object] = field(default_factory=dict)
    keeping: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()


def world(name: str, hosts: Sequence[Seen], answers: Answers) -> World:
    """What runs now."""
    nodes = {node["metadata"]["name"]: node for node in answers.nodes}
    found = tuple(_host(host, answers, nodes.get(host.name)) for host in hosts)
    pods = any(_is_pod(host.report) for host in hosts if host.report is not None)
    return World(found, _cluster(answers), _image(answers.dns), pods, name=name)


def _is_pod(report: HostReport) -> bool:
    """Whether a host's kube-proxy is a pod of the DaemonSet."""
    return any(each["program"] == KUBE_PROXY and each["form"] == "pod" for each in report["installed"]["running"])


def _image(deployment: Object | None) -> Version | None:
    """The version of the image that a Deployment wants."""
    for container in deployment["spec"]["template"]["spec"]["containers"] if deployment is not None else ():
        version = parse(container["image"].partition("@")[0].rpartition(":")[2])
        if version is not None:
            return version
    return None


def _host(seen: Seen, answers: Answers, node: Object | None) -> Host:
    runs = _runs(seen.report) if seen.report is not None else _of_node(node)
    ready = node is None or is_ready(node)
    member = _member(answers.status.get(seen.name), answers.version.get(seen.name)) if "etcd" in seen.groups else None
    turn = answers.turns.get(seen.name, {})
    before = _before(turn)
    # A turn is not over well with a process that runs and does not work.
    well = before.keys() <= runs.keys() and not (before and seen.name in answers.failing)
    return Host(
        seen.name,
        seen.groups,
        # What does not run is put back, or started again: a plan has to know of it.
        {**before, **runs},
        member,
        ready=ready and well,
        reachable=seen.report is not None,
        cordoned=_cordoned(node),
        taints=_taints(node),
        unconfirmed=frozenset(before),
        before=before,
        arrived=not before or _arrived(turn, runs),
        turned=_turned(turn),
        keeps=seen.name in answers.keeping,
    )


def _before(turn: Object) -> dict[str, Running]:
    """What a host ran before a turn that is not over: that may be put back at any moment."""
    if turn.get("state") not in ("unconfirmed", "putting back"):
        return {}
    former = turn.get("former") or {}
    emulates = former.get("emulates") or ""
    found = {name: version for name, text in former.items() if name in COMPONENTS and (version := parse(text))}
    return {
        name: Running(version, Minor.of(emulates) if emulates and COMPONENTS[name] == KUBERNETES else None)
        for name, version in found.items()
    }


def _arrived(turn: Object, runs: Mapping[str, Running]) -> bool:
    """Whether all that a turn was to switch runs as that; a turn that an older kubeproof has begun does not say.

    What a host has begun to put back is to be put back, whatever still runs: it can't be confirmed any more.
    """
    if turn.get("state") != "unconfirmed":
        return False
    to = (turn.get("former") or {}).get("to") or {}
    return all(name in runs and str(runs[name]) == text for name, text in to.items())


def _turned(turn: Object) -> str:
    """What became of a host's last turn, for people."""
    if not turn:
        return ""
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(float(turn.get("at") or turn.get("began") or 0)))
    act, who = turn.get("act", "a turn"), "by the host itself" if turn.get("by") == "host" else "by a run"
    return {
        "unconfirmed": f"{act}, begun at {when}: not confirmed",
        "putting back": f"{act}: not confirmed, and not put back: {'; '.join(turn.get('problems') or ['in progress'])}",
        "put back": f"{act}: put back {who} at {when}: {turn.get('reason', '')}",
        "kept": f"{act}: {turn.get('reason', '')}",
    }.get(str(turn.get("state")), "")


def _runs(report: HostReport) -> dict[str, Running]:
    """Of several processes of a program the oldest version, which is the one that is still to be replaced."""
    installed = report["installed"]
    runs: dict[str, Running] = {}
    for process in installed["running"]:
        version = parse(process["version"])
        if version is not None and (process["program"] not in runs or version < runs[process["program"]].version):
            emulates = Minor.of(process["emulates"]) if process["emulates"] else None
            runs[process["program"]] = Running(version, emulates, process["age"])
    # What was distributed as a whole is recorded. A turn switches parts, so that what files say themselves goes first.
    files = {name: installed["versions"].get(name) or installed["components"].get(name, "") for name in (RUNC, CNI)}
    return {**runs, **{name: Running(version) for name, text in files.items() if (version := parse(text))}}


def _of_node(node: Object | None) -> dict[str, Running]:
    """What the API knows of a host that can't be reached: as its kubelet has reported."""
    info = node["status"].get("nodeInfo", {}) if node is not None else {}
    kubelet = parse(info.get("kubeletVersion", ""))
    name, _, version = info.get("containerRuntimeVersion", "").partition("://")
    # CRI-O calls itself by another name to the kubelet.
    found = {KUBELET: kubelet, {"cri-o": CRIO, "docker": DOCKER}.get(name, CONTAINERD): parse(version)}
    return {name: Running(version) for name, version in found.items() if version is not None}


def is_ready(node: Object) -> bool:
    """Whether a node's kubelet says that it is ready."""
    conditions = node["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _cordoned(node: Object | None) -> str:
    if node is None or not node["spec"].get("unschedulable"):
        return ""
    # As plugins/modules/node_drain.py judges: the note alone outlives an operator's `kubectl uncordon`.
    noted = node["metadata"].get("annotations", {}).get(CORDONED_BY, "") == UPGRADE
    ours = (MANAGER, field_managers.UPDATE) in field_managers.of(node, ("spec", "unschedulable"))
    return UPGRADE if noted and ours else "operator"


def _taints(node: Object | None) -> frozenset[str]:
    """Taints that keep pods away, but for those that say what is known otherwise: not ready, cordoned."""
    return frozenset(
        f"{each['key']}={each.get('value', '')}:{each['effect']}"
        for each in (node["spec"].get("taints") or () if node is not None else ())
        if each["effect"] in ("NoSchedule", "NoExecute") and not each["key"].startswith("node.kubernetes.io/")
    )


def _member(status: Object | None, version: Object | None) -> Member:
    if status is None:
        return Member(healthy=False)
    found = status["Status"]
    storage = found.get("storageVersion") or (version or {}).get("storage", "")
    return Member(
        leader=found["leader"] == found["header"]["member_id"],
        learner=bool(found.get("isLearner")),
        healthy=bool(found["leader"]),
        storage=Minor.of(storage) if storage else None,
    )


def _cluster(answers: Answers) -> EtcdCluster:
    """What members agree on. While they do not, the newest counts: an older member may not join it."""
    versions = [parse(each.get("etcdcluster", "")) for each in answers.version.values()]
    known: list[Version] = [each for each in versions if each is not None]
    downgrades = [each["Status"].get("downgradeInfo") or {} for each in answers.status.values()]
    targets = [Minor.of(each["targetVersion"]) for each in downgrades if each.get("enabled")]
    errors = (str(error).strip() for each in answers.status.values() for error in each["Status"].get("errors") or ())
    alarms = {error for error in errors if "alarm:" in error}
    return EtcdCluster(max(known).series if known else None, min(targets, default=None), tuple(sorted(alarms)))
