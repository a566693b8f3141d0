"""Pods that were started while their node had another pod network.

A Node that is deleted and comes back is given a network anew. Its pods stay, if that took less time than the
controllers that remove pods without a node (pkg/controller/podgc, 40 s): with addresses to which no other node has a
route any more. In a new sandbox a pod has an address of the node's network, and is the same pod otherwise.
"""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from typing import List, Optional, Sequence

from kubeproof.install.pod_network.attachments import Attachment, Attachments, addresses, named
from kubeproof.install.pod_network.errors import PodNetworkError

# The default grace period of pods, in seconds: a container that ends by itself until then is not killed.
_GRACE = 30
# All pods at once, since none of them is reached. The kubelet makes a new sandbox for each.
_SCRIPT = (
    """
crictl=$1 stopping= failed=0
shift
for sandbox; do
  (
    "$crictl" --timeout 60s ps --quiet --pod "$sandbox" | xargs -r "$crictl" --timeout 60s stop --timeout %d
    "$crictl" --timeout 60s stopp "$sandbox"
  ) >/dev/null &
  stopping="$stopping $!"
done
for each in $stopping; do
  wait "$each" || failed=1
done
exit "$failed"
"""
    % _GRACE
)


class FormerPods:
    """Those of one node, and their new sandboxes."""

    def __init__(self, attachments: Attachments, networks: Sequence[str], crictl: str) -> None:
        """``networks``: the node's own; with none every address is taken for one of them."""
        self._attachments = attachments
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._crictl = crictl
        self._replacing: Optional[subprocess.Popen[bytes]] = None

    def present(self) -> List[Attachment]:
        """Pods with an address of another network than the node's."""
        return [each for each in self._attachments.present() if self._networks and self._is_former(each)]

    def replace(self) -> List[str]:
        """Begin to stop their sandboxes, unless that is being done; it is not waited for. Raises PodNetworkError."""
        if self._replacing is not None and self._replacing.poll() is None:
            return []
        failed = self._replacing is not None and self._replacing.returncode != 0
        pods = self.present()
        self._replacing = self._begin(pods) if pods else None
        if pods and failed:
            raise PodNetworkError("%s stays: %s failed" % (" and ".join(map(told, pods)), self._crictl))
        return ["%s, by a new sandbox" % told(each) for each in pods]

    def _begin(self, pods: Sequence[Attachment]) -> subprocess.Popen[bytes]:
        if not shutil.which(self._crictl):
            raise PodNetworkError("pods keep addresses of a former network: there is no %s" % self._crictl)
        sandboxes = [str(each.get("containerId", "")) for each in pods]
        return subprocess.Popen(["sh", "-c", _SCRIPT, "sh", self._crictl, *sandboxes], stdin=subprocess.DEVNULL)

    def _is_former(self, attachment: Attachment) -> bool:
        return any(not any(address in network for network in self._networks) for address in addresses(attachment))


def told(attachment: Attachment) -> str:
    """A pod and the addresses that it has."""
    return "pod %s with %s of a former pod network" % (
        named(attachment),
        " and ".join(str(address) for address in addresses(attachment)),
    )
