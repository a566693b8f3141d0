"""A host's TCP sockets and the processes that hold them, as its kernel tells."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from kubeproof.verify.observe.hosts import Host

_PROCESS = re.compile(r'\("([^"]+)",pid=(\d+)')
_PID = re.compile(r"pid=(\d+)")
_UID = re.compile(r"\buid:(\d+)")
_OPEN = "ESTAB"

Endpoint = tuple[str, int]


@dataclass(frozen=True)
class Socket:
    """A socket. A listening one has no peer. ``uid``, its owner's, and ``state`` are there if ss was asked for them."""

    local: Endpoint
    peer: Endpoint
    program: str
    pids: frozenset[int]
    uid: int = 0
    state: str = ""


@dataclass(frozen=True)
class Connection:
    """An open connection as its server's host has it; ``client`` is the socket at its other end, where one is seen."""

    host: str
    server: Socket
    origin: str = ""
    client: Socket | None = None

    @property
    def ends(self) -> tuple[str, Endpoint, Endpoint]:
        """What tells it from all others."""
        return _ends(self.host, self.server.local, self.server.peer)


def listening(host: Host) -> list[Socket]:
    """The sockets on which a host takes connections."""
    return parse(host.run("ss --no-header --tcp --numeric --processes --listening"), states=True)


def established(host: Host, port: int) -> list[Socket]:
    """Both sides' sockets of the connections to a port, as far as they are on this host."""
    condition = f"( sport = :{port} or dport = :{port} )"
    return parse(
        host.run("ss --no-header --tcp --numeric --processes --extended state established %s", condition), states=False
    )


def connected(host: Host, port: int) -> list[Socket]:
    """The same with those that are not open yet, or not any more, and each one's state."""
    condition = f"( sport = :{port} or dport = :{port} )"
    return parse(
        host.run("ss --no-header --tcp --numeric --processes --extended state connected %s", condition), states=True
    )


def served(found: Mapping[str, Sequence[Socket]], port: int) -> list[Connection]:
    """The open connections to a port, of the sockets that hosts have.

    Of one that its client closes the server may not know yet, so that a client's socket counts in any state.
    """
    clients = {
        _ends(host, socket.peer, socket.local): (host, socket)
        for host, there in found.items()
        for socket in there
        if socket.peer[1] == port
    }
    return [
        Connection(host, socket, *clients.get(_ends(host, socket.local, socket.peer), ()))
        for host, there in found.items()
        for socket in there
        if socket.local[1] == port and socket.state == _OPEN
    ]


def merged(looks: Sequence[Sequence[Connection]]) -> list[Connection]:
    """The connections of the first of several looks, each with its client if one of the looks has seen that."""
    seen = {each.ends: each for look in reversed(looks) for each in look if each.client}
    return [seen.get(each.ends, each) for each in looks[0]]


def hidden(looks: Sequence[Sequence[Connection]], addresses: Collection[str]) -> list[Connection]:
    """Those from one of the addresses that are still open in the last look, and whose client none has seen.

    It has its socket elsewhere, in another network namespace for example, and borrows the address.
    """
    still = {each.ends for each in looks[-1]}
    return [
        each for each in merged(looks) if not each.client and each.ends in still and each.server.peer[0] in addresses
    ]


def clients(host: Host, path: str) -> dict[int, str]:
    """The processes at the other ends of the connections to a local socket, by PID."""
    rows = [line.split() for line in host.run("ss --no-header --unix --processes state connected").splitlines()]
    # Columns: type, state, two queues, local path and inode, peer path and inode, processes.
    served = {row[7] for row in rows if row[4] == path}
    held = " ".join(column for row in rows if row[5] in served for column in row[8:])
    return {int(pid): program for program, pid in _PROCESS.findall(held)}


def parse(output: str, *, states: bool) -> list[Socket]:
    """Understand the output of ss; only with ``states`` it has a first column for them."""
    found = []
    for line in output.splitlines():
        state, *columns = line.split(maxsplit=5) if states else ("", *line.split(maxsplit=4))
        processes = columns[4] if len(columns) > 4 else ""
        name = re.search(r'\(\("([^"]+)"', processes)
        found.append(
            Socket(
                local=_endpoint(columns[2]),
                peer=_endpoint(columns[3]),
                program=name.group(1) if name else "",
                pids=frozenset(int(pid) for pid in _PID.findall(processes)),
                # Root's is not shown.
                uid=int(uid.group(1)) if (uid := _UID.search(processes)) else 0,
                state=state,
            )
        )
    return found


def _ends(host: str, server: Endpoint, client: Endpoint) -> tuple[str, Endpoint, Endpoint]:
    """Of a connection. Those at a loopback address are also identified by the host that they are on."""
    return host if ipaddress.ip_address(server[0]).is_loopback else "", server, client


def _endpoint(text: str) -> Endpoint:
    address, _, port = text.rpartition(":")
    address = address.strip("[]").partition("%")[0]
    if address not in {"*", ""}:
        parsed = ipaddress.ip_address(address)
        mapped = getattr(parsed, "ipv4_mapped", None)
        address = str(mapped or parsed)
    return address, 0 if port == "*" else int(port)
