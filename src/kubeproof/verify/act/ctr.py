"""Containers and images made with ``ctr`` in a node's containerd, bypassing the kubelet. All of it is reverted."""

from __future__ import annotations

import base64
import dataclasses
import io
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kubeproof.components import oci
from kubeproof.verify.act.disruption import undone
from kubeproof.verify.act.pods import Blocked
from kubeproof.verify.observe.hosts import Host
from kubeproof.verify.observe.runtime import SOCKET

KUBERNETES = "k8s.io"
"""containerd's namespace for what Kubernetes does."""
_PINNED = "io.cri-containerd.pinned"
_CTR = f"ctr --address {SOCKET}"
_REMOVE_CONTAINER = """
{ctr} tasks kill --signal KILL {id}
for i in 1 2 3 4 5 6 7 8 9 10; do
  {ctr} tasks rm {id} && break
  sleep 0.2
done
{ctr} containers rm {id}
"""


@dataclass(frozen=True)
class Started:
    """A container that was started manually."""

    host: Host
    namespace: str
    id: str
    pid: int

    def pid_now(self) -> int:
        """The PID of its process; 0 if it has none."""
        rows = [line.split() for line in self.host.run(f"{_CTR} --namespace {self.namespace} tasks ls").splitlines()]
        return next((int(row[1]) for row in rows if row[0] == self.id and row[2] == "RUNNING"), 0)


@contextmanager
def container(host: Host, namespace: str, image: str, name: str, command: Sequence[str]) -> Iterator[Started]:
    """A container of an image of the node, in a namespace of containerd, as ``ctr run`` starts it."""
    ctr = f"{_CTR} --namespace {namespace}"
    remove = _REMOVE_CONTAINER.format(ctr=ctr, id=name)
    if namespace != KUBERNETES:
        # A namespace can be removed only when it is empty, which what images leave behind becomes a moment later.
        remove += f"{ctr} images rm --sync {shlex.quote(image)}\n{_CTR} namespaces rm {namespace}\n"
    with undone(host, f"({remove}) >/dev/null 2>&1; true"):
        if namespace != KUBERNETES:
            # By ctr itself: what it has from containerd's transfer service it may not have written when it ends.
            exported = f"{_CTR} --namespace {KUBERNETES} images export --local - %s"
            host.run(f"{exported} | {ctr} images import --local - >/dev/null", image)
        host.run(f"{ctr} run --detach %s %s {shlex.join(command)}", image, name)
        started = Started(host, namespace, name, 0)
        pid = started.pid_now()
        if not pid:
            raise Blocked("runtime", f"container {name} in namespace {namespace} of containerd on {host} did not start")
        yield dataclasses.replace(started, pid=pid)


@contextmanager
def unused_image(host: Host, reference: str, machine: str) -> Iterator[tuple[str, str]]:
    """An image of the node that nothing has ever used: a file of some bytes, for ``machine``.

    The value is its names: the reference, and its id, which the runtime adds by itself.
    """
    ctr = f"{_CTR} --namespace {KUBERNETES}"
    layer, archive = io.BytesIO(), io.BytesIO()
    # Its one file names it, so that no two are the same.
    oci.write_tar(layer, {"name": reference.encode()})
    identity = oci.pack(archive, reference, machine, {"config": {}}, layer.getvalue()).configuration
    with undone(host, f"{ctr} images rm {shlex.quote(reference)} {identity} >/dev/null 2>&1; true"):
        content = base64.b64encode(archive.getvalue()).decode()
        host.run(f"printf %%s %s | base64 -d | {ctr} images import --local - >/dev/null", content)
        yield reference, identity


@contextmanager
def tagged(host: Host, image: str, reference: str) -> Iterator[str]:
    """Another name for an image of the node."""
    ctr = f"{_CTR} --namespace {KUBERNETES}"
    with undone(host, f"{ctr} images rm {shlex.quote(reference)} >/dev/null 2>&1; true"):
        host.run(f"{ctr} images tag --force %s %s", image, reference)
        yield reference


@contextmanager
def pinned(host: Host, *but: str) -> Iterator[tuple[str, ...]]:
    """All images of the node kept from being collected, except for those that are named. The value is what is kept."""
    ctr = f"{_CTR} --namespace {KUBERNETES}"
    free = [image for image in images(host, unpinned=True) if image not in but]
    label = "".join(f"{ctr} images label {shlex.quote(image)} {_PINNED}=%s >/dev/null; " for image in free)
    with undone(host, label.replace("%s", "") + "true"):
        host.run(label.replace("%s", "pinned") + "true")
        yield tuple(image for image in images(host) if image not in but)


@contextmanager
def unpinned(host: Host, image: str) -> Iterator[None]:
    """An image of the node that may be collected."""
    label = f"{_CTR} --namespace {KUBERNETES} images label {shlex.quote(image)} {_PINNED}=%s >/dev/null"
    with undone(host, label.replace("%s", "pinned")):
        host.run(label.replace("%s", ""))
        yield


def images(host: Host, *, unpinned: bool = False) -> list[str]:
    """The names that the node's images have; ``unpinned``: of those that may be collected."""
    lines = host.run(f"{_CTR} --namespace {KUBERNETES} images ls").splitlines()[1:]
    return [line.split()[0] for line in lines if not (unpinned and f"{_PINNED}=pinned" in line)]
