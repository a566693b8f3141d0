"""RuntimeClasses: that a pod runs in the runtime that it asks for, seen in its kernel and in the runtime itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kubeproof.core import waiting
from kubeproof.settings import runtimes
from kubeproof.settings.runtimes import Handler
from kubeproof.verify.act.pods import HTTP_PORT, READY_SECONDS, Manifests, Pod, is_ready
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import runtime
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable
from kubeproof.verify.observe.objects import Object

_CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"
_KERNEL = "/proc/version"
# What gVisor says its kernel is; other kernels of that name there are none.
_GVISOR = "gvisor"
# The kubelet removes containers of pods that are gone once a minute (pkg/kubelet/kubelet.go, ContainerGCPeriod).
_COLLECTED_SECONDS = 90.0
_PAUSE_SECONDS = 2.0
# gVisor's own memory, about 50 MiB, is part of its pod's.
_MEMORY = {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}}


@pytest.mark.claim("runtime-handlers")
def test_pods_run_in_the_runtime_of_their_class(
    cluster: Cluster, api: Api, manifests: Manifests, evidence: Evidence
) -> None:
    cluster.require_containerd("runtime handlers are configured")
    handlers = runtimes.handlers(cluster.settings)
    if not handlers:
        raise NotObservable(f"{runtimes.SETTING} is empty: there is no runtime handler besides containerd's own")
    known = {each["metadata"]["name"] for each in api.items(_CLASSES)}
    missing = [each.name for each in handlers if each.name not in known]
    assert not missing, f"there is no RuntimeClass {', '.join(missing)}"
    kernels: dict[str, set[str]] = {}
    with _classed(api, manifests, handlers) as pods:
        for handler in handlers:
            for pod in pods[handler.name]:
                kernel = _examined(cluster, _ready(api, pod, handler), handler, evidence)
                kernels.setdefault(handler.name, set()).add(" ".join(kernel.split()[2:3]))
    headline = (f"{name}: kernel {', '.join(sorted(found))}" for name, found in kernels.items())
    evidence.headline = f"a pod of each class on {len(manifests.nodes)} nodes; {'; '.join(headline)}"


@pytest.mark.claim("runtime-choice")
def test_pods_live_in_other_runtimes(cluster: Cluster, api: Api, manifests: Manifests, evidence: Evidence) -> None:
    cluster.require_containerd("runtime handlers are configured")
    others = runtimes.others(cluster.settings)
    if not others:
        raise NotObservable(f"{runtimes.SETTING} names no other program than runc, as gVisor or crun")
    for handler in others:
        created = Pod(api, api.create(_pod(manifests, handler, len(manifests.nodes) - 1, prefix="chosen")))
        try:
            evidence[handler.name] = _life(cluster, api, created, handler)
        finally:
            api.delete(created.path)
    evidence.headline = f"pods start, answer, are started again and go: {', '.join(each.name for each in others)}"


def _life(cluster: Cluster, api: Api, created: Pod, handler: Handler) -> dict[str, Any]:
    """A pod from its first start to its end."""
    pod = _ready(api, created, handler)
    host, name = cluster.node(pod.node).host, handler.name
    seen = _sandbox(host, pod)
    assert seen["handler"] == name, (
        f"a pod of the RuntimeClass {name} runs on {host} with the handler {seen['handler']!r}"
    )
    assert pod.http("hostname") == pod.name, f"pod {pod.name} of the RuntimeClass {name} does not answer"
    # It ends instead of answering.
    api.request("GET", f"{pod.path}:{HTTP_PORT}/proxy/exit", params={"code": "1"})
    again = api.observe_one(
        pod.manifest,
        lambda item: Pod(api, item).container("server")["restartCount"] > 0 and is_ready(item),
        what=f"the container of pod {pod.name} of the RuntimeClass {name}, which has ended, is started again",
        timeout=READY_SECONDS,
    )
    assert Pod(api, again).http("hostname") == pod.name, f"pod {pod.name} does not answer after it was started again"
    api.delete(pod.path)
    api.observe_gone(pod.manifest, what=f"pod {pod.name} of the RuntimeClass {name} goes", timeout=READY_SECONDS)
    left = _left(api, host, pod)
    assert not left, f"the runtime of {host} still has containers of pod {pod.name}, which is gone: {', '.join(left)}"
    return {"node": pod.node, **seen}


@contextmanager
def _classed(api: Api, manifests: Manifests, handlers: list[Handler]) -> Iterator[dict[str, list[Pod]]]:
    """A pod of each class on each node, as soon as they are created, by class. They go afterwards: gVisor is large.

    Its first container writes which kernel it sees.
    """
    pods: dict[str, list[Pod]] = {each.name: [] for each in handlers}
    try:
        for handler in handlers:
            for number in range(len(manifests.nodes)):
                pods[handler.name].append(Pod(api, api.create(_pod(manifests, handler, number))))
        yield pods
    finally:
        for pod in (pod for those in pods.values() for pod in those):
            api.delete(pod.path)


def _left(api: Api, host: Host, pod: Pod) -> list[str]:
    """Containers that a pod which is gone still has in the runtime after the kubelet has had the time to remove them.

    None of them may run; but what has ended it removes at times only.
    """
    running = [each for each in runtime.containers(host, pod.uid) if each.pid]
    assert not running, f"{host} still runs containers of pod {pod.name}, which is gone"
    waiting.until(lambda: not runtime.containers(host, pod.uid), api.patient(_COLLECTED_SECONDS), pause=_PAUSE_SECONDS)
    return [each.name or "its sandbox" for each in runtime.containers(host, pod.uid)]


def _examined(cluster: Cluster, pod: Pod, handler: Handler, evidence: Evidence) -> str:
    """The kernel that a pod sees, once it is established that the pod answers, and in which runtime it is."""
    host, name = cluster.node(pod.node).host, handler.name
    answer = pod.http("hostname")
    assert answer == pod.name, f"pod {pod.name} of the RuntimeClass {name} answers {answer!r}"
    kernel, own = _kernel(pod), host.run("cat %s", _KERNEL).strip()
    seen = _sandbox(host, pod)
    evidence[pod.name] = {"node": pod.node, "kernel": kernel, "node's kernel": own, **seen}
    assert (_GVISOR in kernel.lower()) is (handler.type == runtimes.GVISOR), (
        f"a pod of the RuntimeClass {name} ({handler.type}) runs on {host} with the kernel {kernel!r}"
    )
    if handler.type == runtimes.RUNC:
        assert kernel == own, f"a pod of the RuntimeClass {name} runs on {host} with the kernel {kernel!r}, not its own"
    assert seen["handler"] == name, (
        f"a pod of the RuntimeClass {name} runs on {host} with the handler {seen['handler']!r}"
    )
    return kernel


def _pod(manifests: Manifests, handler: Handler, number: int, prefix: str = "classed") -> Object:
    probe = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "periodSeconds": 1}
    return manifests.pod(
        f"{prefix}-{handler.name}-{number}",
        [manifests.server("server", readinessProbe=probe, resources=_MEMORY)],
        initContainers=[manifests.container("kernel", ["mounttest", f"--file_content={_KERNEL}"], resources=_MEMORY)],
        runtimeClassName=handler.name,
        **manifests.on_node(manifests.nodes[number]),
    )


def _ready(api: Api, pod: Pod, handler: Handler) -> Pod:
    """The pod once it is ready. That it is not is what the claim is about: pods of no class are looked at by others."""
    try:
        item = api.observe_one(pod.manifest, is_ready, what=f"pod {pod.name} is ready", timeout=READY_SECONDS)
    except NotObserved as error:
        events = api.items(
            f"/api/v1/namespaces/{pod.item['metadata']['namespace']}/events",
            fieldSelector=f"involvedObject.uid={pod.uid}",
        )
        warnings = [each["message"] for each in events if each.get("type") == "Warning"]
        raise AssertionError(
            f"a pod of the RuntimeClass {handler.name} does not run on {pod.node}: {'; '.join(warnings[-2:]) or error}"
        ) from error
    return Pod(api, item)


def _kernel(pod: Pod) -> str:
    """What the first container of the pod has read of its kernel."""
    log = str(pod.api.get(f"{pod.path}/log", container="kernel"))
    _, found, content = log.partition(f'content of file "{_KERNEL}": ')
    assert found, f"pod {pod.name} could not read {_KERNEL}: {log!r}"
    return content.strip()


def _sandbox(host: Host, pod: Pod) -> dict[str, Any]:
    """What the runtime says of the pod's sandbox: its ``handler``, and the ``runtime``."""
    [sandbox] = [each for each in runtime.containers(host, pod.uid) if each.sandbox]
    told = json.loads(host.run("crictl inspectp --output json %s", sandbox.id))
    return {"handler": told["status"].get("runtimeHandler", ""), "runtime": told["info"].get("runtimeType", "")}
