"""The container runtime: what the kubelet has it do, seen in the runtime itself and in the kernel."""

from __future__ import annotations

import pytest

from kubeproof.verify.act.pods import Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import runtime, sockets
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import on_hosts


@pytest.mark.claim("runtime-cri")
def test_pods_are_sandboxes_and_containers_of_the_runtime(
    cluster: Cluster, agents: list[Pod], evidence: Evidence
) -> None:
    for pod in agents:
        host = cluster.node(pod.node).host
        found = runtime.containers(host, pod.uid)
        sandboxes = [container for container in found if container.sandbox]
        running = [container for container in found if not container.sandbox and container.pid]
        assert len(sandboxes) == 1, f"pod {pod.name} has {len(sandboxes)} sandboxes in the runtime of {host}"
        assert len(running) == 1, f"pod {pod.name} has {len(running)} running containers in the runtime of {host}"
        [sandbox], [container] = sandboxes, running
        assert container.id == pod.container_id("server"), (
            f"the API shows container {pod.container_id('server')} of {pod.name}, the runtime runs {container.id}"
        )
        assert container.sandbox_id == sandbox.id, f"the container of {pod.name} is in another pod's sandbox"
        assert (container.namespace, container.pod_name) == (pod.item["metadata"]["namespace"], pod.name), (
            f"the runtime knows the container of {pod.name} as {container.namespace}/{container.pod_name}"
        )
        status, group, _ = host.attempt("cat %s", f"/proc/{container.pid}/cgroup")
        assert status == 0, f"pod {pod.name} runs on {host} says the API, but its process {container.pid} is gone"
        assert pod.uid in group or pod.uid.replace("-", "_") in group, (
            f"the process of {pod.name} is not in its pod's control group: {group}"
        )
        evidence[pod.name] = {"uid": pod.uid, "sandbox": sandbox.id, "container": container.id, "pid": container.pid}
    evidence.headline = (
        f"{len(agents)} pods: one sandbox each, containers with the API's ids, processes in their cgroups"
    )


@pytest.mark.claim("runtime-cri")
def test_the_kubelet_holds_the_runtimes_socket(cluster: Cluster, api: Api, evidence: Evidence) -> None:
    listeners = on_hosts(cluster.hosts.all, sockets.listening)
    for node in cluster.nodes:
        config = api.get(f"/api/v1/nodes/{node.name}/proxy/configz")["kubeletconfig"]
        path = config["containerRuntimeEndpoint"].removeprefix("unix://")
        kubelet = frozenset().union(
            *(socket.pids for socket in listeners[node.host.name] if socket.local[1] == node.kubelet_port)
        )
        clients = sockets.clients(node.host, path).keys()
        evidence[node.name] = {"socket": path, "kubelet": sorted(kubelet), "clients": sorted(clients)}
        assert kubelet & clients, f"the kubelet of {node.name} is not connected to {path}; {sorted(clients)} are"
    evidence.headline = f"kubelets of {len(cluster.nodes)} nodes connected to {path}"
