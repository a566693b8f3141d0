"""A host's TCP sockets and the processes that hold them, as its kernel tells."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from kubeproof.verify.observe.hosts import Host

_PROCESS = re.compile(r'\("([^"]+)",pid=(\d+)')
_PID = re.compile(r"pid=(\d+)")
_UID = re.compile(r"\buid:(\d+)")

Endpoint = tuple[str, int]


@dataclass(frozen=True)
class Socket:
    """A socket. A listening one has no peer. ``uid`` is its owner's, where ss was asked for it."""

    local: Endpoint
    peer: Endpoint
    program: str
    pids: frozenset[int]
    uid: int = 0


def listening(host: Host) -> list[Socket]:
    """The sockets on which a host takes connections."""
    return parse(host.run("ss --no-header --tcp --numeric --processes --listening"), states=True)


def established(host: Host, port: int) -> list[Socket]:
    """Both sides' sockets of the connections to a port, as far as they are on this host."""
    condition = f"( sport = :{port} or dport = :{port} )"
    return parse(
        host.run("ss --no-header --tcp --numeric --processes --extended state established %s", condition), states=False
    )


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
        columns = line.split(maxsplit=5 if states else 4)[1 if states else 0 :]
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
            )
        )
    return found


def _endpoint(text: str) -> Endpoint:
    address, _, port = text.rpartition(":")
    address = address.strip("[]").partition("%")[0]
    if address not in {"*", ""}:
        parsed = ipaddress.ip_address(address)
        mapped = getattr(parsed, "ipv4_mapped", None)
        address = str(mapped or parsed)
    return address, 0 if port == "*" else int(port)
