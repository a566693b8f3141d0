"""Routes to other nodes' pod networks."""

from __future__ import annotations

import socket
import struct
from typing import Dict, List, Mapping, Set

from kubeproof.install.pod_network.netlink import CREATE, REPLACE, ROUTE, Netlink, attribute, attributes

# Groups of events (RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE). When a link goes down the kernel drops routes
# without a word about each: what it says of the link has to do.
GROUPS = 0x1 | 0x10 | 0x40
_NEW, _DELETE, _GET = 24, 25, 26
# family, prefix lengths of destination and source, tos, table, protocol, scope, type, flags
_HEADER = struct.Struct("=BBBBBBBBI")
_MAIN, _UNIVERSE, _NOWHERE, _UNICAST = 254, 0, 255, 1
_DESTINATION, _DEVICE, _GATEWAY, _TABLE = 1, 4, 5, 15


class Routes:
    """The routes in the main table that carry one protocol number: ours."""

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._netlink = Netlink(ROUTE)

    def present(self) -> Dict[str, str]:
        """Gateway by network. One without a gateway leads nowhere that we would send anything."""
        request = _HEADER.pack(socket.AF_INET, 0, 0, 0, _MAIN, self._protocol, 0, 0, 0)
        found = {}
        for message in self._netlink.dump(_GET, request):
            _, length, _, _, table, protocol, _, kind, _ = _HEADER.unpack_from(message.body)
            # A kernel before 4.20 leaves choosing to who has asked.
            if message.kind != _NEW or (protocol, kind) != (self._protocol, _UNICAST):
                continue
            given = attributes(message.body[_HEADER.size :])
            if struct.unpack("=I", given.get(_TABLE, struct.pack("=I", table)))[0] == _MAIN:
                network = socket.inet_ntoa(given.get(_DESTINATION, bytes(4)))
                found["%s/%d" % (network, length)] = socket.inet_ntoa(given.get(_GATEWAY, bytes(4)))
        return found

    def replace(self, network: str, gateway: str) -> None:
        """Make a route, in the place of any other one to the same network. Raises NetlinkError."""
        self._netlink.ask(_NEW, self._route(network, _UNIVERSE, _UNICAST, gateway), CREATE | REPLACE)

    def delete(self, network: str) -> None:
        """Remove a route. Raises NetlinkError."""
        self._netlink.ask(_DELETE, self._route(network, _NOWHERE, _UNICAST))

    def _route(self, network: str, scope: int, kind: int, gateway: str = "") -> bytes:
        address, length = network.split("/")
        header = _HEADER.pack(socket.AF_INET, int(length), 0, 0, _MAIN, self._protocol, scope, kind, 0)
        body = header + attribute(_DESTINATION, socket.inet_aton(address))
        return body + attribute(_GATEWAY, socket.inet_aton(gateway)) if gateway else body


def through(device: str) -> Set[str]:
    """Networks to which routes of the main table lead through a device; none if there is no such device."""
    try:
        number = socket.if_nametoindex(device)
    except OSError:
        return set()
    found = set()
    for message in Netlink(ROUTE).dump(_GET, _HEADER.pack(socket.AF_INET, 0, 0, 0, _MAIN, 0, 0, 0, 0)):
        _, length, _, _, table, _, _, kind, _ = _HEADER.unpack_from(message.body)
        given = attributes(message.body[_HEADER.size :])
        in_main = struct.unpack("=I", given.get(_TABLE, struct.pack("=I", table)))[0] == _MAIN
        if (message.kind, kind, in_main) == (_NEW, _UNICAST, True) and given.get(_DEVICE) == struct.pack("=I", number):
            found.add("%s/%d" % (socket.inet_ntoa(given.get(_DESTINATION, bytes(4))), length))
    return found


def missing(wanted: Mapping[str, str], present: Mapping[str, str]) -> Dict[str, str]:
    """Routes that are not there, or lead elsewhere."""
    return {network: gateway for network, gateway in wanted.items() if present.get(network) != gateway}


def surplus(wanted: Mapping[str, str], present: Mapping[str, str]) -> List[str]:
    """Networks of ours that nobody has any more."""
    return [network for network in present if network not in wanted]
