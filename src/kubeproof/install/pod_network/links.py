"""The size of packets (MTU) of the bridge to which pods are attached.

The CNI plugin gives it one when it creates the bridge, and never looks at it again. Unless it is set after that, the
kernel changes it with each pod that comes and goes, to the smallest one of all that are attached.
"""

from __future__ import annotations

import socket
import struct

from kubeproof.install.pod_network.netlink import ROUTE, Netlink, attribute, attributes

_NEW, _GET, _SET = 16, 18, 19
# family, padding, type, index, flags, change
_HEADER = struct.Struct("=BxHiII")
_MTU = 4


class Links:
    """Network interfaces of this node by name."""

    def __init__(self) -> None:
        self._netlink = Netlink(ROUTE)

    def mtu(self, name: str) -> int:
        """The MTU of an interface; 0 if there is none of that name."""
        try:
            messages = self._netlink.ask(_GET, _request(name))
        except OSError:
            return 0
        found = [attributes(message.body[_HEADER.size :]) for message in messages if message.kind == _NEW]
        return next((int(struct.unpack("=I", given[_MTU])[0]) for given in found if _MTU in given), 0)

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU of an interface. Raises OSError."""
        self._netlink.ask(_SET, _request(name) + attribute(_MTU, struct.pack("=I", mtu)))


def _request(name: str) -> bytes:
    return _HEADER.pack(socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0)
