"""What the container runtime of a node and its kernel know of a pod, past the kubelet."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeproof.verify.observe.hosts import Host

SOCKET = "/run/containerd/containerd.sock"
_CTR = f"ctr --address {SOCKET} --namespace k8s.io"
# Other runtimes than containerd are asked as the kubelet asks them: by crictl, whose configuration names their socket.
_LIST = f"""
if [ ! -e /etc/crictl.yaml ] || grep -q {SOCKET} /etc/crictl.yaml; then
  for id in $({_CTR} containers ls --quiet 'labels."io.kubernetes.pod.uid"=='%s); do
    {_CTR} containers info "$id"
  done
  {_CTR} tasks ls
else
  for id in $(crictl pods --quiet --label io.kubernetes.pod.uid=%s); do crictl inspectp "$id" || true; done
  for id in $(crictl ps --all --quiet --label io.kubernetes.pod.uid=%s); do crictl inspect "$id" || true; done
fi
"""
_RUNS = ("CONTAINER_RUNNING", "SANDBOX_READY")


_REQUESTS = ("RunPodSandbox", "CreateContainer", "StartContainer")
_RECENT = "--since=-15min"
# What containerd logs of a request over its socket: the sandbox, or the container, that it is about, or that it led to.
_LOGGED = re.compile(rf'^time="([^"]+)" level=info msg="({"|".join(_REQUESTS)}) (.*)"$')
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Request:
    """A request to the runtime for a pod: what was asked, and when, by the node's clock."""

    asked: str
    at: str
    source: str


@dataclass(frozen=True)
class Container:
    """A container, or a pod's sandbox, in the runtime. ``pid`` is 0 for one that does not run.

    ``created`` is when it was, by the clock of its node.
    """

    id: str
    name: str
    sandbox: bool
    sandbox_id: str
    pod_uid: str
    pod_name: str
    namespace: str
    pid: int
    created: datetime.datetime


def containers(host: Host, pod_uid: str) -> list[Container]:
    """A pod's sandbox and containers as the runtime has them."""
    infos, tasks = _documents(host.run(_LIST, pod_uid, pod_uid, pod_uid))
    pids = {row[0]: int(row[1]) for line in tasks.splitlines()[1:] if (row := line.split())[2:] == ["RUNNING"]}
    return [_of_cri(info) if "status" in info else _of_containerd(info, pids) for info in infos]


def _of_containerd(info: Mapping[str, Any], pids: Mapping[str, int]) -> Container:
    labels = info["Labels"]
    return Container(
        id=info["ID"],
        name=labels.get("io.kubernetes.container.name", ""),
        sandbox=labels["io.cri-containerd.kind"] == "sandbox",
        sandbox_id=info.get("SandboxID", ""),
        pod_uid=labels["io.kubernetes.pod.uid"],
        pod_name=labels["io.kubernetes.pod.name"],
        namespace=labels["io.kubernetes.pod.namespace"],
        pid=pids.get(info["ID"], 0),
        created=datetime.datetime.fromisoformat(info["CreatedAt"]),
    )


def _of_cri(answer: Mapping[str, Any]) -> Container:
    """What ``crictl inspect`` or ``crictl inspectp`` prints. A sandbox may have no process of its own."""
    status, info = answer["status"], answer.get("info") or {}
    labels, sandbox = status["labels"], str(status["state"]).startswith("SANDBOX_")
    return Container(
        id=status["id"],
        name=labels.get("io.kubernetes.container.name", ""),
        sandbox=sandbox,
        sandbox_id="" if sandbox else info.get("sandboxID", ""),
        pod_uid=labels["io.kubernetes.pod.uid"],
        pod_name=labels["io.kubernetes.pod.name"],
        namespace=labels["io.kubernetes.pod.namespace"],
        pid=int(info.get("pid") or 0) if status["state"] in _RUNS else 0,
        created=datetime.datetime.fromisoformat(status["createdAt"]),
    )


def requests(host: Host, pod_uid: str) -> list[Request]:
    """What the runtime was asked to do for a pod, first things first."""
    patterns = " ".join(f"-e {request}" for request in _REQUESTS)
    log = host.run(f"journalctl --quiet --output=cat --unit=containerd {_RECENT} | grep -F {patterns} || true")
    # A runtime that logs less still tells when it made what it was asked for.
    return logged(log, pod_uid) or _created(host, pod_uid)


def logged(log: str, pod_uid: str) -> list[Request]:
    """The requests for a pod in containerd's log."""
    ids: set[str] = {pod_uid}
    found = []
    for line in log.splitlines():
        match = _LOGGED.match(line)
        if not match or not any(each in match[3] for each in ids):
            continue
        # The answer names what was made: later requests are about that.
        asked, returned, answer = match[3].partition(" returns ")
        ids |= set(_ID.findall(answer))
        if not returned and asked:
            found.append(Request(match[2], match[1], "containerd's log"))
    return sorted(found, key=lambda request: request.at)


def _created(host: Host, pod_uid: str) -> list[Request]:
    infos, _ = _documents(host.run(_LIST, pod_uid, pod_uid, pod_uid))
    return sorted(map(_made, infos), key=lambda request: request.at)


def _made(info: Mapping[str, Any]) -> Request:
    """When the runtime made what it was asked for."""
    if "status" in info:
        asked = "RunPodSandbox" if str(info["status"]["state"]).startswith("SANDBOX_") else "CreateContainer"
        return Request(asked, info["status"]["createdAt"], "the runtime's containers")
    made = {"sandbox": "RunPodSandbox", "container": "CreateContainer"}
    return Request(made[info["Labels"]["io.cri-containerd.kind"]], info["CreatedAt"], "containerd's containers")


def _documents(output: str) -> tuple[list[dict[str, Any]], str]:
    """The JSON objects at the beginning of a text, and what comes after them."""
    decoder, found, text = json.JSONDecoder(), [], output.lstrip()
    while text.startswith("{"):
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].lstrip()
    return found, text


def process(host: Host, pod_uid: str, container: str) -> int:
    """The PID, on the node, of a pod's container."""
    for each in containers(host, pod_uid):
        if each.name == container and each.pid:
            return each.pid
    raise LookupError(f"the runtime of {host} has no running container {container} of pod {pod_uid}")
