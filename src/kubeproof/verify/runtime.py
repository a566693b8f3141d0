"""What the container runtime of a node and its kernel know of a pod, past the kubelet."""

from __future__ import annotations

import json
from dataclasses import dataclass

from kubeproof.verify.hosts import Host

SOCKET = "/run/containerd/containerd.sock"
_CTR = f"ctr --address {SOCKET} --namespace k8s.io"
# containerd tells of its deprecations with every command, on standard error.
_LIST = f"""
for id in $({_CTR} containers ls --quiet 'labels."io.kubernetes.pod.uid"=='%s 2>/dev/null); do
  {_CTR} containers info "$id" 2>/dev/null | python3 -c 'import json,sys
info = json.load(sys.stdin)
print(json.dumps([info["ID"], info["Labels"], info.get("SandboxID", "")]))'
done
echo ---
{_CTR} tasks ls 2>/dev/null
"""


@dataclass(frozen=True)
class Container:
    """A container, or a pod's sandbox, in the runtime. ``pid`` is 0 for one that does not run."""

    id: str
    name: str
    sandbox: bool
    sandbox_id: str
    pod_uid: str
    pod_name: str
    namespace: str
    pid: int


def containers(host: Host, pod_uid: str) -> list[Container]:
    """A pod's sandbox and containers as the runtime has them."""
    listed, _, tasks = host.run(_LIST, pod_uid).partition("---\n")
    pids = {row[0]: int(row[1]) for line in tasks.splitlines()[1:] if (row := line.split())[2:] == ["RUNNING"]}
    found = []
    for line in listed.splitlines():
        container_id, labels, sandbox_id = json.loads(line)
        found.append(
            Container(
                id=container_id,
                name=labels.get("io.kubernetes.container.name", ""),
                sandbox=labels["io.cri-containerd.kind"] == "sandbox",
                sandbox_id=sandbox_id,
                pod_uid=labels["io.kubernetes.pod.uid"],
                pod_name=labels["io.kubernetes.pod.name"],
                namespace=labels["io.kubernetes.pod.namespace"],
                pid=pids.get(container_id, 0),
            )
        )
    return found


def process(host: Host, pod_uid: str, container: str) -> int:
    """The PID, on the node, of a pod's container."""
    for each in containers(host, pod_uid):
        if each.name == container and each.pid:
            return each.pid
    raise LookupError(f"the runtime of {host} has no running container {container} of pod {pod_uid}")
