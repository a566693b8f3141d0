"""What an inventory asks for when its hosts are containers or virtual machines on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import addresses, families, state
from kubeproof.settings.inventory import Host, Inventory, rendered
from kubeproof.settings.resolve import Settings

_PREFIX = "local_host_"
# What the settings were called when containers were the only local hosts.
_FORMER_PREFIX = "container_host_"

_NETWORK_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SIZE = re.compile(r"[1-9][0-9]*[kmg]?")
_NETWORK_SETTINGS = {"name", "subnet", "subnet_ipv6", "further_subnets", "isolated"}
_HOST_SETTINGS = {f"{_PREFIX}{name}" for name in ("network", "ports", "memory", "kind", "system")}
_VM_SETTINGS = {f"{_PREFIX}{name}" for name in ("cpus", "disk", "preinstalled", "image")}
_KEY_SETTING = "ansible_ssh_private_key_file"
_PORT_SETTINGS = {"port", "published", "address", "protocol"}


IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
# Of the IPv6 subnet, the numbers of this machine's address and of the gateway's.
_MACHINE, _GATEWAY = 1, 254


@dataclass(frozen=True)
class Network:
    """The segment that the hosts of an inventory share. ``subnet_ipv6``: if they have IPv6 addresses too.

    ``subnet`` is of IPv6 where hosts have nothing else, and ``subnet_ipv6`` is None then.

    ``further_subnets``: those of further segments, which the hosts' gateway routes to.
    """

    name: str
    subnet: families.Network
    isolated: bool = True
    subnet_ipv6: ipaddress.IPv6Network | None = None
    further_subnets: tuple[ipaddress.IPv4Network, ...] = ()

    @property
    def subnets(self) -> tuple[families.Network, ...]:
        """Those of all segments; this machine has an address in the first."""
        return (self.subnet, *self.further_subnets)

    def subnet_of(self, address: IPAddress) -> families.Network:
        """The one that an address is in; the first, if it is in none."""
        return next((subnet for subnet in self.subnets if address in subnet), self.subnet)

    @property
    def ipv6(self) -> bool:
        """Whether hosts have IPv6 addresses, besides others or alone."""
        return self.subnet.version == 6 or self.subnet_ipv6 is not None

    @property
    def machine_address(self) -> IPAddress:
        """This machine's address on the segment: the first one."""
        return self.subnet[1]

    @property
    def gateway(self) -> IPAddress:
        """The hosts' default gateway: the last address, of an IPv6 subnet the 254th."""
        return self.subnet[_GATEWAY if self.subnet.version == 6 else -2]

    @property
    def machine_addresses(self) -> list[IPInterface]:
        """This machine's addresses on the segment, with their prefix: one of each IP family."""
        return self._interfaces(self.machine_address, _MACHINE)

    @property
    def gateways(self) -> list[IPInterface]:
        """The default gateway of hosts on the first segment, in each IP family."""
        return self._interfaces(self.gateway, _GATEWAY)

    def gateways_in(self, subnet: families.Network) -> list[IPInterface]:
        """The default gateway of hosts on a segment, in each IP family."""
        if subnet == self.subnet:
            return self.gateways
        return [ipaddress.ip_interface(f"{subnet[-2]}/{subnet.prefixlen}")]

    def _interfaces(self, address: IPAddress, number: int) -> list[IPInterface]:
        found: list[IPInterface] = [ipaddress.ip_interface(f"{address}/{self.subnet.prefixlen}")]
        if self.subnet_ipv6:
            found.append(ipaddress.IPv6Interface((self.subnet_ipv6[number], self.subnet_ipv6.prefixlen)))
        return found

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


class HostKind(StrEnum):
    """What a local host is made of."""

    CONTAINER = "container"
    VM = "vm"


class System(StrEnum):
    """Systems that local hosts can be made with."""

    DEBIAN_12 = "debian-12"
    DEBIAN_13 = "debian-13"
    # As systems are that are made to run containers alone: no Python, no package manager, and a /usr that is read-only.
    CONTAINER_OS = "container-os"

    @property
    def suite(self) -> str:
        """The release's name in Debian's archive."""
        return "trixie" if self is System.DEBIAN_13 else "bookworm"


@dataclass(frozen=True)
class VmSettings:
    """What only a virtual machine has.

    ``preinstalled``: whether the programs that components call (haproxy, nftables, …) are in its image; otherwise it
    is a bare Debian, to which the installation brings them from a repository on the segment. ``image``: a disk image of
    the user's own, which has cloud-init and boots by itself; it takes the place of the host's system.
    """

    cpus: int = 2
    disk: str = "10g"
    preinstalled: bool = True
    image: Path | None = None


@dataclass(frozen=True)
class LocalHost:
    """One host: a container or a virtual machine with systemd, sshd and an address on the segment.

    ``unique_name`` is its name among all that run on this machine. ``user`` is whom Ansible logs in as; anybody but
    root is made with sudo, which asks for ``sudo_password`` unless that is empty.
    """

    name: str
    unique_name: str
    address: IPAddress
    ports: tuple[PublishedPort, ...] = ()
    memory: str = ""
    system: System = System.DEBIAN_12
    vm: VmSettings | None = None
    user: str = "root"
    sudo_password: str = field(default="", repr=False)
    address_ipv6: ipaddress.IPv6Address | None = None

    def addresses(self, network: Network) -> list[IPInterface]:
        """Its addresses on the segment, with their prefix: one of each IP family that it has."""
        prefix = network.subnet_of(self.address).prefixlen
        found: list[IPInterface] = [ipaddress.ip_interface(f"{self.address}/{prefix}")]
        if self.address_ipv6 and network.subnet_ipv6:
            found.append(ipaddress.IPv6Interface((self.address_ipv6, network.subnet_ipv6.prefixlen)))
        return found

    def gateways(self, network: Network) -> list[IPInterface]:
        """Its default gateways, one of each IP family."""
        return network.gateways_in(network.subnet_of(self.address))

    @property
    def kind(self) -> HostKind:
        """What it is made of."""
        return HostKind.VM if self.vm else HostKind.CONTAINER


@dataclass(frozen=True)
class Plan:
    """All hosts of an inventory, and the network between them."""

    inventory: Path
    state: Path
    network: Network
    hosts: tuple[LocalHost, ...]
    virtual_networks: tuple[families.Network, ...] = ()
    keys: Path | None = None
    """Where the inventory has Ansible look for the SSH key, if that is not below ``state``."""


def has_local_hosts(inventory: Inventory) -> bool:
    """Whether the inventory's hosts are made on this machine rather than hosts of the user's own."""
    _refuse_former_names(inventory)
    return any("local_host_network" in host.variables for host in inventory.hosts.values())


def _refuse_former_names(inventory: Inventory) -> None:
    for host in inventory.hosts.values():
        for name in host.variables:
            if name.startswith(_FORMER_PREFIX):
                raise KubeproofError(
                    f"host {host.name}: {name} is now called {name.replace(_FORMER_PREFIX, _PREFIX, 1)}",
                    hint=f"rename it in {inventory.path} and in the variable files next to it",
                )


def plan(inventory: Inventory) -> Plan:
    """Read and check the ``local_host_`` settings of an inventory."""
    network = _network(inventory)
    hosts = tuple(_host(host, network) for host in inventory.hosts.values())
    _refuse_doubles("address", [(host.name, str(host.address)) for host in hosts])
    _refuse_doubles("address", [(host.name, str(host.address_ipv6)) for host in hosts if host.address_ipv6])
    _refuse_doubles(
        "published port",
        [(host.name, f"{port.address}:{port.published}/{port.protocol}") for host in hosts for port in host.ports],
    )
    return Plan(
        inventory=inventory.path.resolve(),
        state=inventory.state,
        network=network,
        hosts=hosts,
        virtual_networks=_virtual_networks(inventory),
        keys=_keys(inventory),
    )


def _keys(inventory: Inventory) -> Path | None:
    """Where the inventory names the SSH key, as far as that is a directory that kubeproof may make and remove.

    Inventories name a place that their state directory may not have: they are copied, and it was called otherwise.
    """
    host = next(iter(inventory.hosts.values()))
    named = rendered(host, [_KEY_SETTING]).get(_KEY_SETTING)
    if not named:
        return None
    found = Path(str(named)).absolute().parent
    base = Path(str(host.variables.get("inventory_dir") or inventory.path.parent))
    return found if found in {base / name / "ssh" for name in (state.NAME, state.FORMER)} else None


def _virtual_networks(inventory: Inventory) -> tuple[families.Network, ...]:
    """The cluster's own networks, as far as they are known before anything is checked."""
    found: set[families.Network] = set()
    for host in inventory.hosts.values():
        settings = Settings(host)
        for name in ("cluster_pod_network", "cluster_service_network"):
            # What is not a network, or can't be rendered yet, is for the preflight to name.
            with contextlib.suppress(ValueError, KubeproofError):
                found.update(families.parsed(settings[name]))
    return tuple(sorted(found, key=lambda network: (network.version, int(network[0]), network.prefixlen)))


def _network(inventory: Inventory) -> Network:
    """The one network that every host of the inventory names."""
    settings = [host.variables.get("local_host_network") for host in inventory.hosts.values()]
    if any(each != settings[0] for each in settings) or not isinstance(settings[0], Mapping):
        raise KubeproofError(
            f"{inventory.path}: local_host_network must be the same for all hosts",
            hint="set it once, under all.vars, as inventory/local/hosts.yml does",
        )
    given = settings[0]
    _refuse_unknown("local_host_network", given, _NETWORK_SETTINGS)
    name, isolated = given.get("name"), given.get("isolated", True)
    if not isinstance(name, str) or not _NETWORK_NAME.fullmatch(name):
        raise KubeproofError(f"local_host_network.name: {name!r} is not up to 40 lower-case letters, digits and -")
    if not isinstance(isolated, bool):
        raise KubeproofError(f"local_host_network.isolated: {isolated!r} is neither true nor false")
    if given.get("subnet_ipv6") and "subnet" not in given:
        return _ipv6_network(inventory, str(name), given)
    subnet = _subnet(given.get("subnet"))
    return Network(
        name=str(name),
        subnet=subnet,
        isolated=isolated,
        subnet_ipv6=_subnet_ipv6(given["subnet_ipv6"]) if given.get("subnet_ipv6") else None,
        further_subnets=_further_subnets(given, subnet),
    )


def _ipv6_network(inventory: Inventory, name: str, given: Mapping[str, Any]) -> Network:
    """A segment whose hosts have IPv6 addresses alone. Nothing leads out of it, and no port of this machine into it."""
    if given.get("further_subnets"):
        raise KubeproofError(
            "local_host_network: further_subnets need subnet", hint="hosts on several segments have IPv4 addresses only"
        )
    if not given.get("isolated", True):
        raise KubeproofError(
            "local_host_network: isolated is false, and there is no subnet",
            hint="only IPv4 packets leave this machine: set subnet too, or leave isolated out",
        )
    for host in inventory.hosts.values():
        if host.variables.get("local_host_ports"):
            raise KubeproofError(
                f"host {host.name}: local_host_ports is set, and local_host_network has no subnet",
                hint="ports of this machine lead to IPv4 addresses only: set subnet too, or leave local_host_ports out",
            )
    return Network(name=name, subnet=_subnet_ipv6(given["subnet_ipv6"]))


def _further_subnets(given: Mapping[str, Any], first: ipaddress.IPv4Network) -> tuple[ipaddress.IPv4Network, ...]:
    """Those of further segments, none of which overlaps another."""
    name = "further_subnets"
    values = given.get(name) or []
    if not isinstance(values, list):
        raise KubeproofError(f"local_host_network.{name}: {values!r} is not a list of networks")
    if values and given.get("subnet_ipv6"):
        raise KubeproofError(
            f"local_host_network: subnet_ipv6 and {name} cannot be set together",
            hint="hosts on several segments have IPv4 addresses only",
        )
    found = [first]
    for value in values:
        subnet = _subnet(value, name)
        other = next((each for each in found if each.overlaps(subnet)), None)
        if other:
            raise KubeproofError(f"local_host_network.{name}: {subnet} overlaps {other}")
        found.append(subnet)
    return tuple(found[1:])


def _subnet(value: Any, name: str = "subnet") -> ipaddress.IPv4Network:
    try:
        subnet = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise KubeproofError(f"local_host_network.{name}: {value!r} is not an IPv4 network: {error}") from error
    if not subnet.is_private or not 16 <= subnet.prefixlen <= 28:
        raise KubeproofError(
            f"local_host_network.{name}: {subnet} is not a private network between /16 and /28",
            hint="for example 10.213.7.0/24; it must not be in use around this machine",
        )
    return subnet


def _subnet_ipv6(value: Any) -> ipaddress.IPv6Network:
    try:
        subnet = ipaddress.IPv6Network(value)
    except ValueError as error:
        raise KubeproofError(f"local_host_network.subnet_ipv6: {value!r} is not an IPv6 network: {error}") from error
    # Addresses that nobody outside has (RFC 4193): what gets out by an accident comes to nobody.
    if not subnet.subnet_of(ipaddress.IPv6Network("fc00::/7")) or not 64 <= subnet.prefixlen <= 112:
        raise KubeproofError(
            f"local_host_network.subnet_ipv6: {subnet} is not a unique local network between /64 and /112",
            hint="for example fd00:10:213:7::/64; it must not be in use around this machine",
        )
    return subnet


def _host(host: Host, network: Network) -> LocalHost:
    settings = {key: value for key, value in host.variables.items() if key.startswith(_PREFIX)}
    _refuse_unknown(f"host {host.name}", settings, _HOST_SETTINGS | _VM_SETTINGS)
    kind = _choice(host, settings, "local_host_kind", HostKind, HostKind.CONTAINER)
    user, sudo_password = _login(host)
    if kind is HostKind.CONTAINER:
        given = sorted(settings.keys() & _VM_SETTINGS)
        if given:
            raise KubeproofError(
                f"host {host.name}: {given[0]} is a setting of virtual machines, and this host is a container",
                hint="set local_host_kind: vm for it, or remove the setting",
            )
        if user != "root":
            raise KubeproofError(
                f"host {host.name}: ansible_user is {user}, and a local host that is a container has no user but root",
                hint="set local_host_kind: vm for it, or ansible_user: root",
            )
    system = _choice(host, settings, "local_host_system", System, System.DEBIAN_12)
    if kind is HostKind.VM and system is System.CONTAINER_OS:
        raise KubeproofError(
            f"host {host.name}: local_host_system {system} is only there for containers, and this host is a virtual "
            "machine",
            hint="set local_host_kind: container for it, or local_host_image to a disk image of a container OS",
        )
    return LocalHost(
        name=host.name,
        unique_name=f"{network.name}-{host.name}",
        address=_address(host, network),
        ports=tuple(_port(host.name, each) for each in settings.get("local_host_ports", [])),
        memory=_size(host, settings, "local_host_memory", "" if kind is HostKind.CONTAINER else "2g"),
        system=system,
        vm=_vm(host, settings) if kind is HostKind.VM else None,
        user=user,
        sudo_password=sudo_password,
        address_ipv6=_address_ipv6(host, network) if network.subnet_ipv6 else None,
    )


def _vm(host: Host, settings: Mapping[str, Any]) -> VmSettings:
    usual = VmSettings()
    cpus = settings.get("local_host_cpus", usual.cpus)
    if isinstance(cpus, bool) or not isinstance(cpus, int) or not 1 <= cpus <= 64:
        raise KubeproofError(f"host {host.name}: local_host_cpus {cpus!r} is not a number of processors, 1 to 64")
    preinstalled = settings.get("local_host_preinstalled", usual.preinstalled)
    if not isinstance(preinstalled, bool):
        raise KubeproofError(f"host {host.name}: local_host_preinstalled {preinstalled!r} is neither true nor false")
    return VmSettings(
        cpus=cpus,
        disk=_size(host, settings, "local_host_disk", usual.disk),
        preinstalled=preinstalled,
        image=_image(host, settings.get("local_host_image")),
    )


def _image(host: Host, given: Any) -> Path | None:
    if not given:
        return None
    path = Path(str(given)).expanduser()
    if not path.is_absolute() or not path.is_file():
        raise KubeproofError(
            f"host {host.name}: local_host_image {path} is not the absolute path of a disk image",
            hint="for example a cloud image of Ubuntu or Rocky Linux (qcow2 or raw) that has cloud-init",
        )
    return path


_Choice = TypeVar("_Choice", bound=StrEnum)


def _choice(host: Host, settings: Mapping[str, Any], name: str, kinds: type[_Choice], usual: _Choice) -> _Choice:
    given = settings.get(name, usual)
    try:
        return kinds(given)
    except ValueError:
        known = ", ".join(kinds)
        raise KubeproofError(f"host {host.name}: {name} {given!r} is none of {known}") from None


def _size(host: Host, settings: Mapping[str, Any], name: str, usual: str) -> str:
    size = str(settings.get(name, usual))
    if size and not _SIZE.fullmatch(size):
        raise KubeproofError(f"host {host.name}: {name} {size!r} is not a size such as 2g or 512m")
    return size


def _login(host: Host) -> tuple[str, str]:
    """Whom Ansible logs in as, and the password that sudo asks that user for."""
    given = rendered(host, ("ansible_user", "ansible_become_password", "ansible_become_pass"))
    password = given.get("ansible_become_password", given.get("ansible_become_pass", ""))
    return str(given.get("ansible_user", "root")), str(password or "")


def _address(host: Host, network: Network) -> IPAddress:
    value = host.variables.get("ansible_host")
    if isinstance(network.subnet, ipaddress.IPv6Network):
        return _numbered(host, "ansible_host", value, network.subnet)
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError as error:
        raise KubeproofError(f"host {host.name}: ansible_host {value!r} is not an IPv4 address") from error
    subnet = network.subnet_of(address)
    # Of all segments alike, so that a host can move to another one: only in the first has this machine an address.
    taken = {subnet[0], subnet[1], subnet[-2], subnet[-1]}
    if address not in subnet or address in taken:
        others = "".join(f" or {each}" for each in network.further_subnets)
        raise KubeproofError(
            f"host {host.name}: ansible_host {address} is not an address for a host in {network.subnet}{others}",
            hint=f"use {subnet[2]} to {subnet[-3]}",
        )
    return address


def _address_ipv6(host: Host, network: Network) -> ipaddress.IPv6Address:
    """The one that the cluster is configured with, since it has to be on the segment."""
    value = rendered(host, [addresses.IPV6]).get(addresses.IPV6)
    return _numbered(host, addresses.IPV6, value, network.subnet_ipv6 or ipaddress.IPv6Network("::/128"))


def _numbered(host: Host, setting: str, value: Any, subnet: ipaddress.IPv6Network) -> ipaddress.IPv6Address:
    hint = f"with local_host_network.subnet_ipv6 each host has an address in it, as {subnet[0]}11"
    try:
        address = ipaddress.IPv6Address(str(value or ""))
    except ValueError as error:
        raise KubeproofError(f"host {host.name}: {setting} {value!r} is not an IPv6 address", hint=hint) from error
    taken = {subnet[0], subnet[_MACHINE], subnet[_GATEWAY]} if address in subnet else set()
    if address not in subnet or address in taken:
        raise KubeproofError(
            f"host {host.name}: {setting} {address} is not an address for a host in {subnet}", hint=hint
        )
    return address


def _port(host: str, value: Any) -> PublishedPort:
    if not isinstance(value, Mapping) or "port" not in value:
        raise KubeproofError(f"host {host}: local_host_ports: {value!r} is not like {{port: 80, published: 8080}}")
    _refuse_unknown(f"host {host}: local_host_ports", value, _PORT_SETTINGS)
    numbers = {key: value.get(key, value["port"]) for key in ("port", "published")}
    for key, number in numbers.items():
        if not isinstance(number, int) or not 0 < number < 65536:
            raise KubeproofError(f"host {host}: local_host_ports: {key} {number!r} is not a port number")
    protocol = value.get("protocol", "tcp")
    if protocol not in ("tcp", "udp"):
        raise KubeproofError(f"host {host}: local_host_ports: protocol {protocol!r} is neither tcp nor udp")
    address = str(value.get("address", "127.0.0.1"))
    try:
        ipaddress.IPv4Address(address)
    except ValueError as error:
        raise KubeproofError(f"host {host}: local_host_ports: {address!r} is not an IPv4 address") from error
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
