"""Where components listen, and under which names they are reached. No Ansible."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubeproof.settings import families
from kubeproof.settings.dns import is_name

# On these a component listens on the host's own 127.0.0.1, too, where it is asked whether it is healthy.
_ALL, _LOOPBACK = ("0.0.0.0", "::"), "127.0.0.1"  # noqa: S104 - names to compare with
# By setting, what it may be. Others have to reach the API server.
_ADDRESSES: Mapping[str, Sequence[str]] = {
    "apiserver_bind_address": _ALL,
    "controller_manager_bind_address": (_LOOPBACK, *_ALL),
    "scheduler_bind_address": (_LOOPBACK, *_ALL),
}
_NAMES, _NODE_PORTS, _PRIMARY = "cluster_api_names", "kube_proxy_node_port_networks", "primary"


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with addresses to listen on and with names, by setting."""
    for setting, allowed in _ADDRESSES.items():
        given = str(values.get(setting, allowed[0]))
        if given not in allowed:
            wrong = "is not an IP address" if not is_address(given) else _not_listened(setting)
            yield setting, f"{given!r} {wrong}; use {', '.join(allowed[:-1])} or {allowed[-1]}"
    for number, each in enumerate(values.get(_NAMES) or ()):
        problem = _name_problem(str(each), first=number == 0)
        if problem:
            yield _NAMES, f"{each!r} {problem}"
    networks = values.get(_NODE_PORTS) or ()
    if list(networks) != [_PRIMARY]:
        found = ((each, _network_problem(str(each))) for each in networks)
        yield from ((_NODE_PORTS, f"{each!r} {problem}") for each, problem in found if problem)


def is_address(value: str) -> bool:
    """Whether it is an IP address, and not of one interface alone."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return not (isinstance(address, ipaddress.IPv6Address) and address.scope_id)


def _not_listened(setting: str) -> str:
    if setting == "apiserver_bind_address":
        return "is not all of the host's addresses, of which others ask one, and the host itself 127.0.0.1"
    return "leaves out 127.0.0.1, where the host asks whether it is healthy"


def _name_problem(name: str, *, first: bool) -> str:
    plain = name.removeprefix("*.")
    # What ends in a number is meant as an address, and is none.
    if not is_address(name) and (not is_name(plain.lower()) or plain.rpartition(".")[2].isdigit()):
        return "is neither an IP address nor a DNS name; write it without https://, port and brackets"
    if first and plain != name:
        return "is no server: the first one is where the administrator's kubeconfig leads; put another one before it"
    return ""


def _network_problem(given: str) -> str:
    try:
        ipaddress.ip_interface(given)
    except ValueError:
        return "is not a network like 192.0.2.0/24"
    if "/" not in given:
        return "is an address, not a network; write it with a prefix"
    right = families.with_prefix(given)
    return f"has a netmask; write {right}" if right else ""
