"""Checks of hosts against each other, by their reports: clones, clocks, MTU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kubeproof.host_report import HostReport
from kubeproof.preflight.findings import Finding, Severity
from kubeproof.preflight.model import Host, Rules, main_interfaces

# Where no hardware address is in use: tunnels, and interfaces that are not set up.
NO_MAC = ("", "00:00:00:00:00:00")


def check_fleet(hosts: Sequence[Host], rules: Rules) -> Iterator[Finding]:
    """What only shows when hosts are compared. Hosts without a report are left out."""
    known = [host for host in hosts if host.report is not None]
    same = dict(_same_machine(known))
    yield from same.values()
    # A machine that is in the inventory twice is not a clone of itself.
    distinct = [host for host in known if host.name not in same]
    yield from _clones(distinct)
    yield from _clocks(distinct, rules)
    yield from _mtus(distinct)


def _same_machine(hosts: Sequence[Host]) -> Iterator[tuple[str, Finding]]:
    """Hosts that are another host under another name: same identity, interfaces and addresses."""
    first: dict[tuple[object, ...], str] = {}
    for host in hosts:
        report = _report(host)
        interfaces = frozenset(
            (name, interface["mac"], tuple(interface["addresses"])) for name, interface in report["interfaces"].items()
        )
        key = (report["machine_id"], report["hostname"], interfaces)
        if interfaces and first.setdefault(key, host.name) != host.name:
            wrong = f"it is the same machine as {first[key]}"
            mend = "Give each host of the inventory a machine of its own, or one name all its groups."
            yield host.name, Finding("same-machine", first[key], host.name, wrong, mend)


def _report(host: Host) -> HostReport:
    if host.report is None:
        raise ValueError(f"{host.name} has no report")
    return host.report


def _clones(hosts: Sequence[Host]) -> Iterator[Finding]:
    yield from _duplicates(
        hosts, lambda host: [_report(host)["machine_id"]], "machine-id", "machine-id {value}",
        "On the clone: truncate -s0 /etc/machine-id, rm -f /var/lib/dbus/machine-id, systemd-machine-id-setup, reboot.",
    )  # fmt: skip
    yield from _duplicates(
        hosts, lambda host: [interface["mac"] for interface in main_interfaces(host).values()], "mac", "MAC address {value}",
        "Give each its own. systemd derives those of virtual interfaces from the machine-id: is that cloned?",
    )  # fmt: skip
    yield from _duplicates(
        hosts, lambda host: [_report(host)["hostname"]], "hostname", "host name {value}",
        "hostnamectl set-hostname NAME. Nodes are named as in the inventory, but people and logs use host names.", "warning",
    )  # fmt: skip


def _duplicates(
    hosts: Sequence[Host],
    values: Callable[[Host], Iterable[str]],
    identity: str,
    title: str,
    mend: str,
    severity: Severity = "error",
) -> Iterator[Finding]:
    """A finding on each host but the first that has a value."""
    first: dict[str, str] = {}
    for host in hosts:
        for value in values(host):
            if value not in NO_MAC and first.setdefault(value, host.name) != host.name:
                wrong = f"it has the {title.format(value=value)}, as {first[value]} has"
                yield Finding(identity, value, host.name, wrong, mend, severity)


@dataclass(frozen=True)
class Offset:
    """How far a host's clock is from the controller's, in seconds: surely between these two."""

    low: float
    high: float

    @classmethod
    def of(cls, report: HostReport) -> Offset:
        """The host began after it was asked and ended before the answer was in; that bounds what its clock shows."""
        clock, asked = report["clock"], report["asked"]
        return cls(low=clock["end"] - asked["after"], high=clock["start"] - asked["before"])

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def ahead_of(self, other: Offset) -> float:
        """By how much it is certainly ahead (negative: behind); 0 where the bounds overlap."""
        return max(self.low - other.high, 0.0) or min(self.high - other.low, 0.0)


def _clocks(hosts: Sequence[Host], rules: Rules) -> Iterator[Finding]:
    """Each host against the one with the median clock, so that one wrong clock is one finding; and against ours."""
    if not hosts:
        return
    offsets = {host.name: Offset.of(_report(host)) for host in hosts}
    ranked = sorted(offsets, key=lambda name: offsets[name].middle)
    reference = ranked[(len(ranked) - 1) // 2]
    for name, offset in offsets.items():
        skew = offset.ahead_of(offsets[reference])
        if abs(skew) > rules.clock_skew_warning:
            severity: Severity = "error" if abs(skew) > rules.clock_skew_error else "warning"
            yield _skewed(name, skew, reference, "etcd, leases and logs need hosts to agree on the time.", severity)
    against = offsets[reference].ahead_of(Offset(0.0, 0.0))
    if abs(against) > rules.controller_clock_skew_error:
        mend = "The certificates that this controller signs would not be valid there."
        yield _skewed(reference, against, "the controller", mend, "error")


def _skewed(host: str, skew: float, than: str, why: str, severity: Severity) -> Finding:
    direction = "ahead of" if skew > 0 else "behind"
    wrong = f"its clock is at least {abs(skew):.1f} s {direction} that of {than}"
    return Finding("clock-skew", than, host, wrong, f"{why} Run a time service (systemd-timesyncd, chrony).", severity)


def _mtus(hosts: Sequence[Host]) -> Iterator[Finding]:
    sizes = {host.name: min((i["mtu"] for i in main_interfaces(host).values()), default=0) for host in hosts}
    known = [size for size in sizes.values() if size]
    for name, size in sizes.items():
        if size and size != max(known):
            wrong = f"its MTU is {size}, others have {max(known)}: large packets to it may vanish"
            yield Finding("mtu", str(size), name, wrong, "Set the same MTU on all hosts.", "warning")
