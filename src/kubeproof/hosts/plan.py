"""What an inventory asks for when its hosts are containers on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kubeproof import paths
from kubeproof.errors import KubeproofError
from kubeproof.inventory import Host, Inventory

_NETWORK_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_MEMORY = re.compile(r"[1-9][0-9]*[kmg]?")
_NETWORK_SETTINGS = {"name", "subnet", "isolated"}
_HOST_SETTINGS = {"container_host_network", "container_host_ports", "container_host_memory"}
_PORT_SETTINGS = {"port", "published", "address", "protocol"}


@dataclass(frozen=True)
class Network:
    """The segment that the hosts of an inventory share."""

    name: str
    subnet: ipaddress.IPv4Network
    isolated: bool = True

    @property
    def machine_address(self) -> ipaddress.IPv4Address:
        """This machine's address on the segment: the first one."""
        return self.subnet[1]

    @property
    def gateway(self) -> ipaddress.IPv4Address:
        """The hosts' default gateway: the last address."""
        return self.subnet[-2]

    @property
    def interface(self) -> str:
        """The machine's interface on the segment. Linux allows 15 characters, so the name is a digest."""
        return "kp" + hashlib.sha256(self.name.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class PublishedPort:
    """A port of a host that is reached at an address of this machine."""

    port: int
    published: int
    address: str = "127.0.0.1"
    protocol: str = "tcp"

    @property
    def loopback(self) -> bool:
        """Whether only this machine itself reaches it."""
        return ipaddress.IPv4Address(self.address).is_loopback


@dataclass(frozen=True)
class ContainerHost:
    """One host: a container with systemd, sshd and an address on the segment."""

    name: str
    container: str
    address: ipaddress.IPv4Address
    ports: tuple[PublishedPort, ...] = ()
    memory: str = ""


@dataclass(frozen=True)
class Plan:
    """All hosts of an inventory, and the network between them."""

    inventory: Path
    state: Path
    network: Network
    hosts: tuple[ContainerHost, ...]
    virtual_networks: tuple[ipaddress.IPv4Network, ...] = ()


def uses_containers(inventory: Inventory) -> bool:
    """Whether the inventory's hosts are containers of this machine rather than hosts of the user's own."""
    return any("container_host_network" in host.variables for host in inventory.hosts.values())


def plan(inventory: Inventory) -> Plan:
    """Read and check the ``container_host_`` settings of an inventory."""
    network = _network(inventory)
    hosts = tuple(_host(host, network) for host in inventory.hosts.values())
    _refuse_doubles("address", [(host.name, str(host.address)) for host in hosts])
    _refuse_doubles(
        "published port",
        [(host.name, f"{port.address}:{port.published}/{port.protocol}") for host in hosts for port in host.ports],
    )
    return Plan(
        inventory=inventory.path,
        state=inventory.state,
        network=network,
        hosts=hosts,
        virtual_networks=_virtual_networks(inventory),
    )


def _virtual_networks(inventory: Inventory) -> tuple[ipaddress.IPv4Network, ...]:
    """The cluster's own networks, as far as they can be told before anything is checked or rendered."""
    defaults = yaml.safe_load((paths.PROJECT / "roles" / "cluster" / "defaults" / "main.yml").read_text())
    found = set()
    for host in inventory.hosts.values():
        for name in ("cluster_pod_network", "cluster_service_network"):
            # What is not a network is for the preflight to name.
            with contextlib.suppress(ValueError):
                found.add(ipaddress.IPv4Network(host.variables.get(name, defaults[name])))
    return tuple(sorted(found))


def _network(inventory: Inventory) -> Network:
    """The one network that every host of the inventory names."""
    settings = [host.variables.get("container_host_network") for host in inventory.hosts.values()]
    if any(each != settings[0] for each in settings) or not isinstance(settings[0], Mapping):
        raise KubeproofError(
            f"{inventory.path}: container_host_network must be the same for all hosts",
            hint="set it once, under all.vars, as inventory/local/hosts.yml does",
        )
    given = settings[0]
    _refuse_unknown("container_host_network", given, _NETWORK_SETTINGS)
    name, isolated = given.get("name"), given.get("isolated", True)
    if not isinstance(name, str) or not _NETWORK_NAME.fullmatch(name):
        raise KubeproofError(f"container_host_network.name: {name!r} is not up to 40 lower-case letters, digits and -")
    if not isinstance(isolated, bool):
        raise KubeproofError(f"container_host_network.isolated: {isolated!r} is neither true nor false")
    return Network(name=str(name), subnet=_subnet(given.get("subnet")), isolated=isolated)


def _subnet(value: Any) -> ipaddress.IPv4Network:
    try:
        subnet = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise KubeproofError(f"container_host_network.subnet: {value!r} is not an IPv4 network: {error}") from error
    if not subnet.is_private or not 16 <= subnet.prefixlen <= 28:
        raise KubeproofError(
            f"container_host_network.subnet: {subnet} is not a private network between /16 and /28",
            hint="for example 10.213.7.0/24; it must not be in use around this machine",
        )
    return subnet


def _host(host: Host, network: Network) -> ContainerHost:
    settings = {key: value for key, value in host.variables.items() if key.startswith("container_host_")}
    _refuse_unknown(f"host {host.name}", settings, _HOST_SETTINGS)
    memory = str(settings.get("container_host_memory", ""))
    if memory and not _MEMORY.fullmatch(memory):
        raise KubeproofError(f"host {host.name}: container_host_memory {memory!r} is not a size such as 2g or 512m")
    return ContainerHost(
        name=host.name,
        container=f"{network.name}-{host.name}",
        address=_address(host, network),
        ports=tuple(_port(host.name, each) for each in settings.get("container_host_ports", [])),
        memory=memory,
    )


def _address(host: Host, network: Network) -> ipaddress.IPv4Address:
    value = host.variables.get("ansible_host")
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError as error:
        raise KubeproofError(f"host {host.name}: ansible_host {value!r} is not an IPv4 address") from error
    taken = {network.machine_address, network.gateway, network.subnet[0], network.subnet[-1]}
    if address not in network.subnet or address in taken:
        raise KubeproofError(
            f"host {host.name}: ansible_host {address} is not an address for a host in {network.subnet}",
            hint=f"use {network.subnet[2]} to {network.subnet[-3]}",
        )
    return address


def _port(host: str, value: Any) -> PublishedPort:
    if not isinstance(value, Mapping) or "port" not in value:
        raise KubeproofError(f"host {host}: container_host_ports: {value!r} is not like {{port: 80, published: 8080}}")
    _refuse_unknown(f"host {host}: container_host_ports", value, _PORT_SETTINGS)
    numbers = {key: value.get(key, value["port"]) for key in ("port", "published")}
    for key, number in numbers.items():
        if not isinstance(number, int) or not 0 < number < 65536:
            raise KubeproofError(f"host {host}: container_host_ports: {key} {number!r} is not a port number")
    protocol = value.get("protocol", "tcp")
    if protocol not in ("tcp", "udp"):
        raise KubeproofError(f"host {host}: container_host_ports: protocol {protocol!r} is neither tcp nor udp")
    address = str(value.get("address", "127.0.0.1"))
    try:
        ipaddress.IPv4Address(address)
    except ValueError as error:
        raise KubeproofError(f"host {host}: container_host_ports: {address!r} is not an IPv4 address") from error
    return PublishedPort(address=address, protocol=protocol, **numbers)


def _refuse_unknown(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise KubeproofError(f"{where}: unknown setting {unknown[0]}", hint=f"known are {', '.join(sorted(known))}")


def _refuse_doubles(what: str, pairs: Sequence[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for host, value in pairs:
        if value in seen:
            raise KubeproofError(f"hosts {seen[value]} and {host} have the same {what}, {value}")
        seen[value] = host
