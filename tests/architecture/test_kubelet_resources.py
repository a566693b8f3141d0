"""The kubelet, what it gives containers: no more than their limits, and what they asked for when it is scarce."""

from __future__ import annotations

import pytest

from kubeproof.verify.act.pods import Manifests, Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import prepared
from kubeproof.verify.observe import cgroups, runtime
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object

_OOM_SECONDS = 30.0
_MEMORY = 48 << 20
_CORES = 0.05
_SHARES = {"busy": 20, "idle": 200}
_MEASURED_SECONDS = 2.0
# The kernel hands out quota in slices, to each core: what a core has left of one is used in the next period.
_CORES_USED_AT_MOST = 2 * _CORES
_MEASURABLE_CORES = 0.2 * _CORES


def _has_started(item: Object) -> bool:
    """Whether each of a pod's containers runs, or has run."""
    statuses = item["status"].get("containerStatuses", [])
    return bool(statuses) and all("waiting" not in status["state"] for status in statuses)


@prepared(until=_has_started)
def greedy(manifests: Manifests) -> Object:
    """A pod that takes three times the memory that it may have."""
    container = manifests.container(
        "eater",
        ["stress", "--mem-total=144Mi", "--mem-alloc-size=4Mi", "--mem-alloc-sleep=10ms"],
        resources={"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": str(_MEMORY)}},
    )
    return manifests.pod("greedy", [container], restartPolicy="Never", **manifests.on_node(manifests.nodes[-1]))


@prepared()
def limited(manifests: Manifests) -> Object:
    """A pod with two containers: one would use all of a core and may have a twentieth; the other one asks for more."""
    busy = manifests.container(
        "busy",
        ["stress", "--cpus=1"],
        resources={
            "requests": {"cpu": f"{_SHARES['busy']}m", "memory": "16Mi"},
            "limits": {"cpu": f"{_CORES * 1000:.0f}m", "memory": str(_MEMORY)},
        },
    )
    idle = manifests.container(
        "idle", ["pause"], resources={"requests": {"cpu": f"{_SHARES['idle']}m", "memory": "16Mi"}}
    )
    return manifests.pod("limited", [busy, idle], **manifests.on_node(manifests.nodes[-1]))


@pytest.mark.claim("kubelet-resources")
def test_cpu_is_limited_and_shared_as_asked_for(cluster: Cluster, limited: Pod, evidence: Evidence) -> None:
    host = cluster.node(limited.node).host
    pids = {name: runtime.process(host, limited.uid, name) for name in _SHARES}
    found = {name: cgroups.limits(host, pid) for name, pid in pids.items()}
    used = cgroups.cpu_used(host, pids["busy"], _MEASURED_SECONDS)
    busy, idle = found["busy"], found["idle"]
    evidence["cgroups"] = {
        name: {"version": each.version, "path": each.path, "cores": str(each.cores), "shares": each.shares}
        for name, each in found.items()
    }
    evidence["a process that never rests"] = {"may use, cores": _CORES, "uses, cores": round(used, 4)}
    assert busy.cores == pytest.approx(_CORES), (
        f"a container of {host} with a limit of {_CORES} cores may use {busy.cores}, says {busy.path}"
    )
    assert used <= _CORES_USED_AT_MOST, f"a container of {host} with a limit of {_CORES} cores uses {used:.3f}"
    assert used >= _MEASURABLE_CORES, f"a container of {host} that never rests uses {used:.4f} cores of {_CORES}"
    assert idle.cores == float("inf"), f"a container of {host} without a limit may use {idle.cores} cores"
    assert idle.shares > busy.shares, (
        f"when cores of {host} are scarce, who asked for {_SHARES['idle']}m gets {idle.shares} parts, "
        f"who asked for {_SHARES['busy']}m gets {busy.shares}"
    )
    if busy.version == 1:
        expected = {name: asked * 1024 // 1000 for name, asked in _SHARES.items()}
        shares = {name: each.shares for name, each in found.items()}
        assert shares == expected, f"cpu.shares on {host} are {shares}, requests make them {expected}"
    evidence.headline = (
        f"of {_CORES} cores allowed {used:.3f} used; {_SHARES['idle']}m : {_SHARES['busy']}m asked for, "
        f"{idle.shares} : {busy.shares} given (cgroup v{busy.version})"
    )


@pytest.mark.claim("kubelet-resources")
def test_a_container_that_takes_more_memory_than_it_may_is_killed(
    cluster: Cluster, api: Api, greedy: Pod, limited: Pod, evidence: Evidence
) -> None:
    host = cluster.node(limited.node).host
    given = cgroups.limits(host, runtime.process(host, limited.uid, "busy"))
    evidence["cgroup"] = {"of a neighbour with the same limit": given.path, "memory": str(given.memory)}
    assert given.memory == _MEMORY, f"a container of {host} with a limit of {_MEMORY} bytes may have {given.memory}"
    ended = api.observe_one(
        greedy.manifest,
        lambda item: "terminated" in Pod(api, item).container("eater")["state"],
        what=f"on {greedy.node} a container that takes three times its limit of memory is killed",
        timeout=_OOM_SECONDS,
    )
    state = Pod(api, ended).container("eater")["state"]["terminated"]
    evidence["ended"] = state
    # With systemd as cgroup driver a scope is gone with its last process, and containerd may find nothing to ask why
    # (https://github.com/containerd/containerd/pull/12714). The kernel knows.
    kernel = "" if state["reason"] == "OOMKilled" else cgroups.killed_for_memory(host, greedy.uid)
    evidence["the kernel says"] = kernel or "not asked"
    assert state["exitCode"] == 137, (
        f"on {greedy.node} a container over its memory limit ended with {state['exitCode']}, {state['reason']}"
    )
    assert state["reason"] == "OOMKilled" or kernel, (
        f"on {greedy.node} a container over its memory limit ended with 137, {state['reason']}, and its kernel does "
        "not say that it was for memory"
    )
    neighbour = limited.now()
    restarts = {name: neighbour.container(name)["restartCount"] for name in _SHARES}
    assert not any(restarts.values()), f"containers on {host} were ended that kept to their limits: {restarts}"
    said = "OOMKilled" if not kernel else f"killed by the kernel, though the runtime says {state['reason']}"
    evidence.headline = f"over {_MEMORY >> 20} MiB: {said}; its neighbours keep running"
