"""flannel's routes through its device, which only flannel can write, and which it does not see going.

It writes those to all nodes when it starts, and afterwards that to a node that has changed
(pkg/backend/vxlan/vxlan_network.go). Those to a deleted node it removes itself: it is then restarted once for nothing,
which disturbs no packets.
"""

from __future__ import annotations

import socket
from typing import Set

from kubeproof.install.pod_network.commands import run, succeeds
from kubeproof.install.pod_network.routes import through

UNIT = "kube-flannel.service"


class Tunnel:
    """The device of this node's flannel for packets of one IP family; none if its name is empty."""

    def __init__(self, device: str, family: int = socket.AF_INET) -> None:
        self._device = device
        self._family = family
        self._seen: Set[str] = set()

    def lost(self) -> bool:
        """Whether routes that were there since flannel was last restarted from here are gone."""
        if not self._device:
            return False
        present = through(self._device, self._family)
        self._seen |= present
        return bool(self._seen - present)

    def restart(self) -> bool:
        """Restart flannel, unless it is stopped or only just starting; whether that was done."""
        if not succeeds("systemctl", "is-active", "--quiet", UNIT):
            return False
        run("systemctl", "--no-block", "try-restart", UNIT)
        self.forget()
        return True

    def forget(self) -> None:
        """Take what will be there next for what was always there."""
        self._seen.clear()
