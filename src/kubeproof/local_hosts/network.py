"""The segment that local hosts share, or several, made of network namespaces.

::

    this machine             namespace NETWORK ("the switch")          namespace NETWORK.HOST, one per host
    kp0123456789  --veth--   uplink ── br0 ── portN           --veth--  eth0
    .1                                 .254, the hosts' gateway         ansible_host

A virtual machine needs no namespace: its portN is a tap device.

Further segments (``further_subnets``) are further bridges in the switch, br1 and so on, each with the gateway of its
hosts. So the switch is the router between them, and this machine reaches their hosts through it.

The switch lives in a namespace of its own so that the machine's firewall, its bridge settings and other container
tools neither see nor disturb what the hosts say to each other, and so that removing it is removing two kinds of
namespaces. All that shows on the machine is one interface, with its address and routes.

An isolated switch answers whatever is not for the segment with "unreachable": nothing leaves the machine, and what
tries to fails at once instead of waiting. With IPv6 addresses (``subnet_ipv6``, unique local ones) the same holds of
IPv6, whose packets never leave the machine: the machine itself forwards none. Hosts may have these addresses alone
(``subnet_ipv6`` without ``subnet``).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import attempt, run
from kubeproof.local_hosts.plan import HostKind, IPInterface, LocalHost, Network, Plan
from kubeproof.settings import families

NAMESPACES = Path("/run/netns")

_UPLINK = "uplink"
# Of hosts' numbers in an IPv6 subnet, the last one that is part of an interface's name.
_PLAIN = 0xFFFF
# The longest prefix of routes to all the rest: VPNs have two halves in the place of the default route, or 2000::/3.
_TO_EVERYTHING = 3
_FORWARDING_IPV6 = "net.ipv6.conf.all.forwarding"


def host_namespace(network: Network, host: str) -> str:
    """The name of a host's network namespace."""
    return f"{network.name}.{host}"


def ensure(plan: Plan) -> set[str]:
    """Create what is missing of the network; returns the names of the hosts that were connected."""
    network = plan.network
    if not _has_addresses(["ip"], network.interface, network.machine_addresses):
        # Without this, its last touch, a switch is what a killed run left half made.
        _remove_switch(network)
        _make_switch(network)
    for number, subnet in enumerate(network.further_subnets, 1):
        _ensure_further_bridge(network, f"br{number}", subnet)
    _route(plan)
    return {host.name for host in plan.hosts if _connect(network, host)}


def remove(network: Network) -> None:
    """Remove the switch and every host's connection to it."""
    _remove_namespaces(_namespaces_of(network))
    _remove_switch(network)


def forget(network: Network, host: str) -> None:
    """Remove a host's end, with the interfaces and rules that it created there: a recreated host has none."""
    _remove_namespaces([host_namespace(network, host)])


def port(network: Network, host: LocalHost) -> str:
    """The switch's end of a host's cable: 15 characters at most, and a host's name may be longer."""
    number = network.subnets.index(network.subnet_of(host.address))
    own = int(host.address) - int(network.subnets[number][0])
    if host.address.version == 6:
        # As the address ends: the numbers of a long network are too long.
        return f"port{own:x}" if own <= _PLAIN else "port" + hashlib.sha256(host.address.packed).hexdigest()[:11]
    return f"port{own}" if number == 0 else f"port{own}-{number}"


def refuse_taken(network: Network) -> None:
    """Raise an error if the machine uses the network's addresses for something else."""
    further = [("further_subnets", subnet) for subnet in network.further_subnets]
    first = "subnet" if network.subnet.version == 4 else "subnet_ipv6"
    for setting, subnet in ((first, network.subnet), ("subnet_ipv6", network.subnet_ipv6), *further):
        taken = _overlaps_route(subnet, except_interface=network.interface) if subnet else ""
        if taken:
            raise KubeproofError(
                f"the network {subnet} is in use on this machine: {taken}",
                hint=f"give the inventory another local_host_network.{setting}, and its hosts addresses in it",
            )


def exists(network: Network) -> bool:
    """Whether anything of the network is there."""
    return Path("/sys/class/net", network.interface).exists() or bool(_namespaces_of(network))


def _make_switch(network: Network) -> None:
    """The namespace with the bridge, and this machine's link to it; its address comes last and so marks the end."""
    switch = network.name
    run(["ip", "netns", "add", switch])
    forwarding = {"net.ipv4.ip_forward": "1"} | ({_FORWARDING_IPV6: "1"} if network.ipv6 else {})
    _sysctl(switch, {**forwarding, **_bridge_past_the_firewall(switch)})
    _batch(switch, "link set lo up", *_bridge("br0", network.gateways))
    run(["ip", "link", "add", network.interface, "type", "veth", "peer", "name", _UPLINK, "netns", switch])
    _batch(switch, f"link set {_UPLINK} master br0 up")
    run(["ip", "link", "set", network.interface, "alias", f"kubeproof {network.name}", "up"])
    if network.ipv6:
        # No host is to tell this machine where to send what.
        run(["sysctl", "--quiet", f"net.ipv6.conf.{network.interface}.accept_ra=0"])
    for address in reversed(network.machine_addresses):
        run(["ip", *_address_add(address, network.interface).split()])


def _ensure_further_bridge(network: Network, name: str, subnet: ipaddress.IPv4Network) -> None:
    """Make the bridge of a further segment, unless it is there with its address."""
    gateways = network.gateways_in(subnet)
    if not _has_addresses(["ip", "-netns", network.name], name, gateways):
        attempt(["ip", "-netns", network.name, "link", "delete", name])
        _batch(network.name, *_bridge(name, gateways))


def _bridge(name: str, gateways: Iterable[IPInterface]) -> list[str]:
    """Commands for a bridge with the gateway of its hosts."""
    added = [_address_add(gateway, name) for gateway in gateways]
    return [f"link add {name} type bridge", *added, f"link set {name} up"]


def _bridge_of(network: Network, host: LocalHost) -> str:
    return f"br{network.subnets.index(network.subnet_of(host.address))}"


def _remove_switch(network: Network) -> None:
    _remove_namespaces([network.name])
    # With its peer in the switch the interface goes away by itself, but some milliseconds later.
    attempt(["ip", "link", "delete", network.interface])


def _route(plan: Plan) -> None:
    """Where the switch sends what is not for the segment, and where this machine sends what is for the cluster.

    Pods and services are not reachable from the machine. Without its routes to the switch, which refuses them, a test
    that tries would send its packets to whoever the machine's own gateway is.
    """
    network = plan.network
    way_out = "unreachable default" if network.isolated else f"default via {network.machine_address}"
    ways_out = [way_out, *(["unreachable ::/0"] if network.ipv6 else [])]
    gateways = {gateway.version: gateway.ip for gateway in network.gateways}
    for subnet in network.further_subnets:
        run(["ip", "route", "replace", str(subnet), "via", str(network.gateway), "dev", network.interface])
    # Without addresses of an IP family there is nobody who would send to a network of it.
    virtual_networks = [virtual for virtual in plan.virtual_networks if virtual.version in gateways]
    _batch(network.name, *(f"route replace {route}" for route in (*ways_out, *_refused(virtual_networks))))
    for virtual in virtual_networks:
        if not _overlaps_route(virtual, except_interface=network.interface):
            via = str(gateways[virtual.version])
            run(["ip", "route", "replace", str(virtual), "via", via, "dev", network.interface])


def _refused(networks: Iterable[families.Network]) -> list[str]:
    return [f"unreachable {network}" for network in networks]


def _bridge_past_the_firewall(switch: str) -> dict[str, str]:
    """Settings that keep bridged frames out of iptables; there are none where br_netfilter is not loaded."""
    names = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
    return {name: "0" for name in names if attempt(["ip", "netns", "exec", switch, "sysctl", "--values", name]).ok}


def _connect(network: Network, host: LocalHost) -> bool:
    """Make a host's cable to the switch; returns whether there was none."""
    return _connect_container(network, host) if host.kind is HostKind.CONTAINER else _connect_vm(network, host)


def _connect_container(network: Network, host: LocalHost) -> bool:
    """Make a host's namespace and its cable."""
    namespace = host_namespace(network, host.name)
    if _has_addresses(["ip", "-netns", namespace], "eth0", host.addresses(network)):
        return False
    own = port(network, host)
    _remove_namespaces([namespace])
    # As long as a host runs, the namespace that it runs in lives on without a name, and the old cable with it.
    attempt(["ip", "-netns", network.name, "link", "delete", own])
    run(["ip", "netns", "add", namespace])
    _batch(namespace, "link set lo up", f"link add eth0 type veth peer name {own} netns {network.name}")
    _batch(network.name, f"link set {own} master {_bridge_of(network, host)} alias {host.name} up")
    address, gateway = host.addresses(network)[0], host.gateways(network)[0]
    # An address comes last, and so marks the end.
    first = [] if address.version == 6 else [f"route add default via {gateway.ip} dev eth0 onlink"]
    last = [] if address.version == 6 else [_address_add(address, "eth0")]
    _batch(namespace, "link set eth0 up", *first, *_ipv6(network, host), *last)
    return True


def _ipv6(network: Network, host: LocalHost) -> list[str]:
    """Commands for a host's IPv6 address and gateway, if it has them."""
    return [
        command
        for address, gateway in zip(host.addresses(network), host.gateways(network), strict=False)
        if address.version == 6
        for command in (_address_add(address, "eth0"), f"route add ::/0 via {gateway.ip} dev eth0")
    ]


def _connect_vm(network: Network, host: LocalHost) -> bool:
    """Make the device that QEMU plugs a virtual machine into."""
    own = port(network, host)
    shown = attempt(["ip", "-netns", network.name, "-json", "link", "show", "dev", own, "type", "tun"])
    if shown.ok and any(link for link in json.loads(shown.stdout or "[]") if link):
        return False
    attempt(["ip", "-netns", network.name, "link", "delete", own])
    _batch(
        network.name,
        f"tuntap add dev {own} mode tap",
        f"link set {own} master {_bridge_of(network, host)} alias {host.name} up",
    )
    return True


def _address_add(address: IPInterface, interface: str) -> str:
    """The command for an address. An IPv6 address is there at once: nobody else on the segment may have it."""
    return f"address add {address} dev {interface}{' nodad' if address.version == 6 else ''}"


def _has_addresses(ip: Sequence[str], interface: str, addresses: Iterable[IPInterface]) -> bool:
    """Whether an interface is up and has addresses. ``ip`` is the command that looks where the interface is."""
    shown = attempt([*ip, "-json", "address", "show", "dev", interface, "up"])
    links = [link for link in json.loads(shown.stdout or "[]") if link] if shown.ok else []
    found = {entry["local"] for link in links for entry in link["addr_info"] if "local" in entry}
    return {str(address.ip) for address in addresses} <= found


def _overlaps_route(wanted: families.Network, *, except_interface: str) -> str:
    """The route of this machine, if there is one, that a network collides with, routes to everything aside."""
    for route in _routes(wanted.version):
        if route["dst"] == "default" or route.get("dev") == except_interface:
            continue
        there = ipaddress.ip_network(route["dst"])
        if there.prefixlen > _TO_EVERYTHING and wanted.overlaps(there):
            return f"{route['dst']} on {route.get('dev', route.get('type', '?'))}"
    return ""


def _routes(version: int) -> list[dict[str, Any]]:
    routes: list[dict[str, Any]] = json.loads(run(["ip", "-json", f"-{version}", "route", "show"]) or "[]")
    return routes


def _namespaces_of(network: Network) -> list[str]:
    """The switch's and the hosts' namespaces that exist, hosts that are no longer in the inventory included."""
    if not NAMESPACES.is_dir():
        return []
    switch = network.name
    return sorted(
        path.name for path in NAMESPACES.iterdir() if path.name == switch or path.name.startswith(f"{switch}.")
    )


def _remove_namespaces(names: Iterable[str]) -> None:
    for name in names:
        attempt(["ip", "netns", "delete", name])


def _sysctl(namespace: str, settings: dict[str, str]) -> None:
    run(["ip", "netns", "exec", namespace, "sysctl", "--quiet", *(f"{key}={value}" for key, value in settings.items())])


def _batch(namespace: str, *commands: str) -> None:
    """Run several ``ip`` commands in a namespace."""
    run(["ip", "-netns", namespace, "-batch", "-"], stdin="".join(f"{command}\n" for command in commands))
