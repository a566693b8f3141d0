"""Which versions run side by side, and whether they are what the cluster was given."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from kubeproof.components.lock import Lock
from kubeproof.core.versions import parse
from kubeproof.settings import runtimes, state
from kubeproof.upgrade import policy
from kubeproof.upgrade.record import Record
from kubeproof.upgrade.world import CONTAINERD, KUBELET
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import etcd, objects, programs, runtime
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, on_hosts
from kubeproof.verify.observe.objects import Object
from kubeproof.verify.observe.programs import ApiServer, Found

_SHOWN_DIGITS = 12


@pytest.mark.claim("versions-skew")
def test_what_runs_side_by_side_may(cluster: Cluster, api: Api, evidence: Evidence) -> None:
    own_pods = _own_pods(api)
    found = on_hosts(cluster.hosts.all, lambda host: programs.look(host, programs.SERVED))
    processes = {name: programs.of_the_cluster(each.processes, own_pods) for name, each in found.items()}
    for name, running in processes.items():
        evidence[name] = {f"{each.program} ({each.pid})": each.version for each in running}
        for each in running:
            assert parse(each.version), f"{each.program} on {name} (process {each.pid}) does not say its version"
    servers = _api_servers(cluster)
    evidence["API servers"] = {each.host: str(each.running) for each in servers}
    members = on_hosts(cluster.etcd_hosts, lambda host: _member(cluster, host))
    evidence["etcd's members"] = members
    _kubelets_report_what_they_are(api, processes)

    groups = {host.name: host.groups for host in cluster.hosts.all}
    versions = [answer.get("etcdcluster", "") for answer in members.values()]
    world = programs.world(groups, processes, servers, versions)
    outside = policy.violations(world)
    assert not outside, "; ".join(f"{each.host}: {each.problem}" for each in outside)
    counted = sum(len(each) for each in processes.values()) + len(servers)
    oldest = min((str(running.version) for _, _, running in world.running("kube-apiserver")), default="-")
    evidence.headline = (
        f"{counted} processes on {len(found)} hosts within the policy, API servers {oldest}, "
        f"etcd's cluster {world.etcd.version or '-'}"
    )


@pytest.mark.claim("versions-locked")
def test_what_runs_is_what_the_lock_has(cluster: Cluster, api: Api, evidence: Evidence) -> None:
    directory = cluster.inventory.state
    lock, record = Lock(directory), Record(directory)
    names, chosen = programs.programs_of(lock), programs.generations(lock, record)
    assert names, f"{lock.path} has no programs: it is not known what this cluster was given"
    evidence["lock"] = {generation: lock.versions(generation) for generation in chosen}
    if record.unfinished:
        evidence["unfinished upgrade"] = f"{directory / state.UPGRADE}: what it is on its way from and to is allowed"

    found = on_hosts(cluster.hosts.all, lambda host: programs.look(host, names, files=True))
    problems = []
    for host in cluster.hosts.all:
        told = found[host.name]
        evidence[host.name] = _shown(told)
        wanted = programs.locked(lock, told.arch, chosen)
        problems += programs.deviations(host.name, told, wanted)
        # Images that were made on the controller, which other runtimes are not given.
        if cluster.runtime == runtimes.CONTAINERD and {"control_plane", "workers"} & host.groups:
            listed = host.run(f"ctr --address {runtime.SOCKET} --namespace k8s.io images list")
            problems += programs.image_deviations(host.name, programs.images(listed), wanted)
            # The first generation is what runs: what was before that may go.
            problems += programs.unpinned_images(host.name, listed, programs.locked(lock, told.arch, chosen[:1]))
    arch = next(iter(found.values())).arch
    pods = _images(api.items("/api/v1/namespaces/kube-system/pods"))
    evidence["images of pods"] = pods
    problems += programs.pod_deviations(pods, programs.locked(lock, arch, chosen))
    assert not problems, "; ".join(problems)
    files, running = (
        sum(len(each.files) for each in found.values()),
        sum(len(each.processes) for each in found.values()),
    )
    evidence.headline = f"{files} files, {running} processes on {len(found)} hosts, {len(pods)} pods: as in the lock"


def _own_pods(api: Api) -> set[str]:
    """UIDs of the cluster's own pods; of a static one, that of its manifest."""
    pods = api.items("/api/v1/namespaces/kube-system/pods")
    hashed = "kubernetes.io/config.hash"
    return {str(pod["metadata"].get("annotations", {}).get(hashed) or pod["metadata"]["uid"]) for pod in pods}


def _api_servers(cluster: Cluster) -> list[ApiServer]:
    """Each API server by itself: behind a load balancer one may differ from the others."""
    names = {host.address: host.name for host in cluster.hosts.described("control_plane")}
    found = []
    for (address, _), access in zip(cluster.api_servers, cluster.each_access(), strict=True):
        with Api(access) as server:
            found.append(ApiServer(names.get(address, address), server.get("/version")))
    return found


def _member(cluster: Cluster, host: Host) -> Mapping[str, str]:
    """What the etcd member of a host says of its version and its cluster's; empty if it is not kubeproof's."""
    port, pki = int(cluster.settings["cluster_etcd_port"]), etcd.PKI
    if host.attempt("test -r %s", f"{pki}/operator.key")[0] != 0:
        return {}
    credentials = {"ca": f"{pki}/ca.crt", "cert": f"{pki}/operator.crt", "key": f"{pki}/operator.key"}
    answer = host.http(f"https://127.0.0.1:{port}/version", **credentials)
    assert answer.get("status") == 200, f"the etcd member of {host} does not say its version: {answer}"
    told: Mapping[str, str] = json.loads(answer["body"])
    return told


def _kubelets_report_what_they_are(api: Api, processes: Mapping[str, list[programs.Process]]) -> None:
    """The API has of a node what its kubelet says of itself."""
    for node in api.items("/api/v1/nodes"):
        name, info = objects.name(node), node["status"]["nodeInfo"]
        told = parse(info["kubeletVersion"])
        runs = {parse(each.version) for each in processes.get(name, []) if each.program == KUBELET}
        assert not runs or told in runs, (
            f"the API has the kubelet of {name} as {told}, and its process is {' and '.join(map(str, runs))}"
        )
        runtime_told = info["containerRuntimeVersion"]
        assert not runtime_told.startswith(CONTAINERD) or parse(runtime_told.partition("://")[2]), (
            f"the runtime of {name} does not say its version: {runtime_told}"
        )


def _shown(found: Found) -> dict[str, str]:
    return {f"{each.program} ({each.pid})": f"{each.path} {each.sha256[:_SHOWN_DIGITS]}" for each in found.processes}


def _images(pods: list[Object]) -> dict[str, str]:
    """References of images, by pod and container."""
    return {
        f"{objects.name(pod)}/{container['name']}": container["image"]
        for pod in pods
        for container in pod["spec"]["containers"]
    }
