"""Checks of hosts against each other, by their reports: clones, clocks, MTU, network segments."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kubeproof.preflight.findings import Finding, Severity
from kubeproof.preflight.model import Host, Network, Rules, interface_networks, main_interfaces
from kubeproof.settings.host_report import HostReport

# What needs one segment, and which settings do not.
_NAMED = {
    "bridge": "bridge",
    "flannel": "flannel with backend host-gw",
    "calico": "calico with encapsulation none",
    "cilium": "cilium with native routing",
}
_ACROSS = {
    "bridge": "Set pod_network_plugin: flannel, which reaches nodes on other segments, before the first installation.",
    "flannel": "Set pod_network_flannel_backend: vxlan, which reaches nodes on other segments.",
    "calico": "Set calico_encapsulation: vxlan, which reaches nodes on other segments, before the first installation.",
    "cilium": "Set cilium_routing: tunnel, which reaches nodes on other segments, before the first installation.",
}
# Where no hardware address is in use: tunnels, and interfaces that are not set up.
NO_MAC = ("", "00:00:00:00:00:00")


@dataclass(frozen=True)
class Examined:
    """A host that could be examined."""

    host: Host
    report: HostReport

    @property
    def name(self) -> str:
        """The host's name in the inventory."""
        return self.host.name

    @property
    def macs(self) -> list[str]:
        """Hardware addresses by which other hosts know it."""
        return [interface["mac"] for interface in main_interfaces(self.host).values()]

    @property
    def mtu(self) -> int:
        """The smallest MTU on the way to other hosts; 0 if it is not known."""
        return min((interface["mtu"] for interface in main_interfaces(self.host).values()), default=0)


def check_fleet(hosts: Sequence[Host], rules: Rules) -> Iterator[Finding]:
    """Findings from comparing hosts. Hosts without a report are skipped."""
    known = [Examined(host, host.report) for host in hosts if host.report is not None]
    same = list(_same_machine(known))
    yield from same
    # A machine that is in the inventory twice is not a clone of itself.
    twice = {finding.host for finding in same}
    distinct = [host for host in known if host.name not in twice]
    yield from _clones(distinct)
    yield from _clocks(distinct, rules)
    yield from _mtus(distinct)
    if rules.shared_segment:
        nodes = [host for host in distinct if host.host.node]
        yield from _segments(nodes, rules.pod_network, second=rules.ipv4 and rules.ipv6)


def _same_machine(hosts: Sequence[Examined]) -> Iterator[Finding]:
    """Hosts that are another host under another name: same identity, interfaces and addresses."""
    first: dict[tuple[object, ...], str] = {}
    for host in hosts:
        report = host.report
        interfaces = frozenset(
            (name, interface["mac"], tuple(interface["addresses"])) for name, interface in report["interfaces"].items()
        )
        other = first.setdefault((report["machine_id"], report["hostname"], interfaces), host.name)
        if interfaces and other != host.name:
            remediation = "Give each host of the inventory its own machine, or put a single host into all the groups."
            yield Finding("same-machine", f"it is the same machine as {other}", remediation, other, host.name)


def _clones(hosts: Sequence[Examined]) -> Iterator[Finding]:
    remediation = (
        "On one of them: truncate -s0 /etc/machine-id; rm -f /var/lib/dbus/machine-id; systemd-machine-id-setup; "
        "then reboot."
    )
    yield from _duplicates("machine-id", "machine-id", remediation, hosts, lambda host: [host.report["machine_id"]])
    remediation = (
        "Change it on one of them. systemd derives MAC addresses of virtual interfaces from the machine-id: was that "
        "cloned?"
    )
    yield from _duplicates("mac", "MAC address", remediation, hosts, lambda host: host.macs)
    remediation = "hostnamectl set-hostname NAME. Nodes are named as in the inventory, but logs show host names."
    yield from _duplicates(
        "hostname", "host name", remediation, hosts, lambda host: [host.report["hostname"]], "warning"
    )


def _duplicates(
    identity: str,
    title: str,
    remediation: str,
    hosts: Sequence[Examined],
    values: Callable[[Examined], Iterable[str]],
    severity: Severity = "error",
) -> Iterator[Finding]:
    """A finding on each host but the first that has a value."""
    first: dict[str, str] = {}
    for host in hosts:
        for value in values(host):
            other = first.setdefault(value, host.name)
            if value not in NO_MAC and other != host.name:
                yield Finding(
                    identity, f"it has the same {title}, {value}, as {other}", remediation, value, host.name, severity
                )


@dataclass(frozen=True)
class Offset:
    """How far a host's clock is ahead of the controller's, in seconds: certainly between these two."""

    low: float
    high: float

    @classmethod
    def of(cls, report: HostReport) -> Offset:
        """The host began after it was asked and ended before the answer was in: that bounds what its clock showed."""
        clock, asked = report["clock"], report["asked"]
        return cls(low=clock["end"] - asked["after"], high=clock["start"] - asked["before"])

    @property
    def middle(self) -> float:
        """The likeliest value."""
        return (self.low + self.high) / 2

    def ahead_of(self, other: Offset) -> float:
        """By how much it is certainly ahead; negative is behind, and 0 where both may be the same."""
        return max(self.low - other.high, 0.0) or min(self.high - other.low, 0.0)


def _clocks(hosts: Sequence[Examined], rules: Rules) -> Iterator[Finding]:
    """Each host against the one with the median clock, so that a wrong one is one finding; and that against ours."""
    if not hosts:
        return
    offsets = {host.name: Offset.of(host.report) for host in hosts}
    ranked = sorted(offsets, key=lambda name: offsets[name].middle)
    reference = ranked[(len(ranked) - 1) // 2]
    for name, offset in offsets.items():
        skew = offset.ahead_of(offsets[reference])
        if abs(skew) > rules.clock_skew_warning:
            severity: Severity = "error" if abs(skew) > rules.clock_skew_error else "warning"
            why = "etcd, leases and logs need synchronized clocks."
            yield _skewed(name, skew, reference, why, severity)
    skew = offsets[reference].ahead_of(Offset(0.0, 0.0))
    if abs(skew) > rules.controller_clock_skew_error:
        why = "The controller dates certificates, the hosts date tokens; both must be valid everywhere."
        yield _skewed(reference, skew, "the controller", why, "error")


def _skewed(host: str, skew: float, than: str, why: str, severity: Severity) -> Finding:
    problem = f"its clock is at least {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} that of {than}"
    remediation = f"{why} Run a time service (systemd-timesyncd or chrony)."
    return Finding("clock-skew", problem, remediation, host=host, severity=severity)


def _mtus(hosts: Sequence[Examined]) -> Iterator[Finding]:
    largest = max((host.mtu for host in hosts), default=0)
    for host in hosts:
        if 0 < host.mtu < largest:
            problem = f"its MTU is {host.mtu}, and that of others {largest}: their large packets may not reach it"
            yield Finding("mtu", problem, "Set the same MTU on all hosts.", host=host.name, severity="warning")


def _segments(nodes: Sequence[Examined], pod_network: str, *, second: bool) -> Iterator[Finding]:
    """Nodes that reach others by a gateway only, which knows no pod network and would drop what goes to pods."""
    for node in nodes:
        networks = dict.fromkeys(network for _, network in interface_networks(node.report))
        # Without `ip` none is known; the check of commands reports that.
        far = [
            (other.name, address)
            for other in nodes
            for address in (other.host.address, other.host.address_ipv6 if second else "")
            if networks and _beyond(address, networks)
        ]
        if far:
            others = ", ".join(f"{name} ({address})" for name, address in far)
            problem = (
                f"it shares no network segment with {others}: its own networks are "
                f"{', '.join(map(str, networks))}, and the pod network {_NAMED[pod_network]} routes from node to node "
                "without a gateway"
            )
            remediation = (
                f"{_ACROSS[pod_network]} Or give all nodes an interface in one network (a private network, a VLAN, "
                "or a VPN such as WireGuard; an address with /32 shares none), and set cluster_host_address of each to "
                "its address there."
            )
            yield Finding("segment", problem, remediation, host=node.name)


def _beyond(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in none of the networks. What is none, as a name, is for the check of addresses."""
    try:
        parsed = _parsed(address)
    except ValueError:
        return False
    return not any(parsed in network for network in networks)


# Each address is compared with the networks of all hosts.
@functools.cache
def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address)
