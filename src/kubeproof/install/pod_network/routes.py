"""Routes to other nodes' pod networks."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Dict, List, Mapping, Optional, Sequence, Set

from kubeproof.install.pod_network.netlink import CREATE, REPLACE, ROUTE, Netlink, attribute, attributes

# Groups of events (RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE). When a
# link goes down the kernel drops routes without a word about each: what it says of the link has to do.
GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_NEW, _DELETE, _GET = 24, 25, 26
# family, prefix lengths of destination and source, tos, table, protocol, scope, type, flags
_HEADER = struct.Struct("=BBBBBBBBI")
_MAIN, _UNIVERSE, _NOWHERE, _UNICAST = 254, 0, 255, 1
# Of addresses, in bytes.
_LENGTHS: Mapping[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
_DESTINATION, _DEVICE, _GATEWAY, _TABLE = 1, 4, 5, 15


class Routes:
    """The routes in the main table that carry one protocol number, ours, as far as they are of these IP families."""

    def __init__(self, protocol: int, families: Sequence[int] = (socket.AF_INET,)) -> None:
        self._protocol = protocol
        self._families = families
        self._netlink = Netlink(ROUTE)

    def present(self) -> Dict[str, str]:
        """Gateway by network. One without a gateway leads nowhere that we would send anything."""
        return {network: gateway for family in self._families for network, gateway in self._of(family).items()}

    def _of(self, family: int) -> Dict[str, str]:
        request = _HEADER.pack(family, 0, 0, 0, _MAIN, self._protocol, 0, 0, 0)
        found = {}
        for message in self._netlink.dump(_GET, request):
            _, length, _, _, table, protocol, _, kind, _ = _HEADER.unpack_from(message.body)
            # A kernel before 4.20 leaves choosing to who has asked.
            if message.kind != _NEW or (protocol, kind) != (self._protocol, _UNICAST):
                continue
            given = attributes(message.body[_HEADER.size :])
            if struct.unpack("=I", given.get(_TABLE, struct.pack("=I", table)))[0] == _MAIN:
                network = _text(family, given.get(_DESTINATION))
                found["%s/%d" % (network, length)] = _text(family, given.get(_GATEWAY))
        return found

    def replace(self, network: str, gateway: str) -> None:
        """Make a route, in the place of any other one to the same network. Raises NetlinkError."""
        self._netlink.ask(_NEW, self._route(network, _UNIVERSE, _UNICAST, gateway), CREATE | REPLACE)

    def delete(self, network: str) -> None:
        """Remove a route. Raises NetlinkError."""
        self._netlink.ask(_DELETE, self._route(network, _NOWHERE, _UNICAST))

    def _route(self, network: str, scope: int, kind: int, gateway: str = "") -> bytes:
        address, length = network.split("/")
        family = socket.AF_INET6 if ":" in network else socket.AF_INET
        header = _HEADER.pack(family, int(length), 0, 0, _MAIN, self._protocol, scope, kind, 0)
        body = header + attribute(_DESTINATION, socket.inet_pton(family, address))
        return body + attribute(_GATEWAY, socket.inet_pton(family, gateway)) if gateway else body


def _text(family: int, address: Optional[bytes]) -> str:
    """An address; what is left out is all zeros."""
    return socket.inet_ntop(family, address or bytes(_LENGTHS[family]))


def through(device: str, family: int = socket.AF_INET) -> Set[str]:
    """Networks to which routes of the main table lead through a device; none if there is no such device."""
    try:
        number = socket.if_nametoindex(device)
    except OSError:
        return set()
    found = set()
    for message in Netlink(ROUTE).dump(_GET, _HEADER.pack(family, 0, 0, 0, _MAIN, 0, 0, 0, 0)):
        _, length, _, _, table, _, _, kind, _ = _HEADER.unpack_from(message.body)
        given = attributes(message.body[_HEADER.size :])
        in_main = struct.unpack("=I", given.get(_TABLE, struct.pack("=I", table)))[0] == _MAIN
        if (message.kind, kind, in_main) == (_NEW, _UNICAST, True) and given.get(_DEVICE) == struct.pack("=I", number):
            found.add("%s/%d" % (_text(family, given.get(_DESTINATION)), length))
    return found


def missing(wanted: Mapping[str, str], present: Mapping[str, str]) -> Dict[str, str]:
    """Routes that are not there, or lead elsewhere."""
    return {network: gateway for network, gateway in _plain(wanted).items() if present.get(network) != gateway}


def surplus(wanted: Mapping[str, str], present: Mapping[str, str]) -> List[str]:
    """Networks of ours that nobody has any more."""
    known = _plain(wanted)
    return [network for network in present if network not in known]


def _plain(wanted: Mapping[str, str]) -> Dict[str, str]:
    """The same as the kernel has it: an IPv6 address may be written in several ways."""
    return {
        str(ipaddress.ip_network(network)): str(ipaddress.ip_address(gateway)) for network, gateway in wanted.items()
    }
