"""Checks of hosts against each other."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.preflight.builders import RULES, VALUES, host, interface, report

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.fleet import Offset, check_fleet
from kubeproof.preflight.model import Host, Rules


def found(*hosts: Host) -> list[tuple[str, str, str]]:
    return [(finding.id, finding.host, finding.severity) for finding in check_fleet(hosts, RULES)]


def skewed(number: int, seconds: float) -> Host:
    """A host that was asked from 1000.0 to 1000.6 and then showed a time that far ahead."""
    return host(number, clock={"start": 1000.3 + seconds, "end": 1000.3 + seconds})


def test_nothing_is_found_among_different_hosts() -> None:
    assert found(host(1), host(2), host(3)) == []


def test_hosts_without_a_report_are_left_out() -> None:
    silent = Host("w9", frozenset(["workers"]), "10.0.0.9", problem="timed out", unreachable=True)
    assert found(silent, host(1)) == []
    assert found(silent) == []


class TestClones:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"machine_id": "ab" * 16}, ("machine-id", "host2", "error")),
            ({"hostname": "debian"}, ("hostname", "host2", "warning")),
        ],
    )
    def test_one_value_on_two_hosts(self, changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
        assert found(host(1, **changes), host(2, **changes)) == [expected]

    def test_each_clone_is_named_with_the_first(self) -> None:
        findings = list(check_fleet([host(number, machine_id="ab" * 16) for number in (1, 2, 3)], RULES))
        assert [(finding.host, "as host1" in finding.problem) for finding in findings] == [
            ("host2", True),
            ("host3", True),
        ]

    def test_mac(self) -> None:
        eth0 = [interface(f"10.0.0.{number}/24", mac="52:54:00:00:00:01") for number in (1, 2)]
        assert found(host(1, interfaces={"eth0": eth0[0]}), host(2, interfaces={"eth0": eth0[1]})) == [
            ("mac", "host2", "error")
        ]

    def test_interfaces_that_lead_to_no_other_host_may_look_alike(self) -> None:
        docker0 = interface("172.17.0.1/16", mac="02:42:ac:11:00:01", kind="bridge")
        assert found(*(host(number, interfaces={"docker0": docker0}) for number in (1, 2))) == []

    @pytest.mark.parametrize("mac", ["", "00:00:00:00:00:00"])
    def test_interfaces_without_a_mac(self, mac: str) -> None:
        tunnels = [interface(f"10.0.0.{number}/24", mac=mac, kind="wireguard") for number in (1, 2)]
        assert found(host(1, interfaces={"eth0": tunnels[0]}), host(2, interfaces={"eth0": tunnels[1]})) == []

    def test_hosts_that_never_got_a_machine_id(self) -> None:
        assert found(host(1, machine_id=""), host(2, machine_id="")) == []


def test_one_machine_under_two_names_is_said_once() -> None:
    other = replace(host(1), name="again")
    (finding,) = check_fleet([host(1), other], RULES)
    assert (finding.id, finding.host, finding.subject) == ("same-machine", "again", "host1")


class TestClocks:
    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [
            (0.0, []),
            # Each was asked for 0.6 s, so that as much of the difference may be none.
            (1.5, []),
            (-1.5, []),
            (1.7, [("clock-skew", "host2", "warning")]),
            (-1.7, [("clock-skew", "host2", "warning")]),
            (5.5, [("clock-skew", "host2", "warning")]),
            (5.7, [("clock-skew", "host2", "error")]),
            (-5.7, [("clock-skew", "host2", "error")]),
        ],
    )
    def test_only_what_is_certain_counts(self, seconds: float, expected: list[tuple[str, str, str]]) -> None:
        assert found(skewed(1, 0), skewed(2, seconds), skewed(3, 0)) == expected

    def test_how_much_and_which_way_is_said(self) -> None:
        (finding,) = check_fleet([skewed(1, 0), skewed(2, -100), skewed(3, 0)], RULES)
        assert "at least 99.4 s behind that of host" in finding.problem

    def test_one_of_two(self) -> None:
        assert found(skewed(1, 0), skewed(2, 10)) == [("clock-skew", "host2", "error")]

    def test_hosts_that_agree_with_each_other_but_not_with_us(self) -> None:
        (finding,) = check_fleet([skewed(1, 3600), skewed(2, 3600)], RULES)
        assert (finding.host, finding.severity) == ("host1", "error")
        assert "ahead of that of the controller" in finding.problem

    def test_a_controller_may_be_a_little_off(self) -> None:
        assert found(skewed(1, 59), skewed(2, 59)) == []


WAITS = (0.0, 0.3, 7.0)


@pytest.mark.parametrize("skew", [-1000.0, -0.2, 0.0, 3.0])
def test_the_bounds_hold_the_truth(skew: float) -> None:
    """However long it took to get there, to look, and to come back."""
    for there, look, back in itertools.product(WAITS, repeat=3):
        start = 1000.0 + there + skew
        clock = {"start": start, "end": start + look}
        asked = {"before": 1000.0, "after": 1000.0 + there + look + back}
        offset = Offset.of(report(clock=clock, asked=asked))
        assert offset.low - 1e-6 <= skew <= offset.high + 1e-6


def test_who_is_ahead_is_seen_alike_from_both_sides() -> None:
    offsets = [Offset(low, high) for low, high in itertools.combinations_with_replacement((-2.0, 0.0, 1.0, 5.0), 2)]
    for one, other in itertools.product(offsets, repeat=2):
        assert one.ahead_of(other) == -other.ahead_of(one)


def test_mtu() -> None:
    small = host(2, interfaces={"eth0": {"mtu": 1400}})
    findings: list[Finding] = list(check_fleet([host(1), small, host(3)], RULES))
    assert [(finding.id, finding.host, finding.severity) for finding in findings] == [("mtu", "host2", "warning")]


class TestSegments:
    """What the pod network plugin bridge needs of nodes."""

    @staticmethod
    def on(number: int, *addresses: str, groups: tuple[str, ...] = ("workers",)) -> Host:
        """A host with these addresses on an interface, the first of which is its own."""
        found = replace(host(number, groups), address=addresses[0].partition("/")[0])
        eth0 = interface(*addresses, mac=f"52:54:00:00:00:{number:02x}")
        return replace(found, report=report(number, interfaces={"eth0": eth0}))

    def test_two_networks(self) -> None:
        hosts = [self.on(1, "10.0.0.1/24"), self.on(2, "10.0.0.2/24"), self.on(3, "10.0.1.3/24")]
        findings = list(check_fleet(hosts, RULES))
        assert [(finding.id, finding.host, finding.severity) for finding in findings] == [
            ("segment", f"host{number}", "error") for number in (1, 2, 3)
        ]
        assert "shares no network segment with host1 (10.0.0.1), host2 (10.0.0.2)" in findings[2].problem
        assert "10.0.1.0/24" in findings[2].problem
        assert "cluster_host_address" in findings[2].remediation
        assert findings[2].remediation.startswith("Set pod_network_plugin: flannel")

    def test_one_side_is_enough(self) -> None:
        assert found(self.on(1, "10.0.0.1/16"), self.on(2, "10.0.1.2/24")) == [("segment", "host2", "error")]

    def test_addresses_without_a_network(self) -> None:
        assert found(self.on(1, "10.0.0.1/32"), self.on(2, "10.0.0.2/32")) == [
            ("segment", "host1", "error"),
            ("segment", "host2", "error"),
        ]
        assert found(self.on(1, "10.0.0.1/32")) == []

    def test_of_a_second_ip_family_too_if_the_cluster_has_it(self) -> None:
        hosts = [
            replace(self.on(number, f"10.0.0.{number}/24", f"{address}/64"), address_ipv6=address)
            for number, address in ((1, "2001:db8::1"), (2, "2001:db8::2"), (3, "2001:db8:9::3"))
        ]
        both = replace(RULES, ipv6=True)
        findings = list(check_fleet(hosts, both))
        assert [(finding.id, finding.host) for finding in findings] == [("segment", f"host{n}") for n in (1, 2, 3)]
        assert "shares no network segment with host1 (2001:db8::1), host2 (2001:db8::2):" in findings[2].problem
        assert list(check_fleet(hosts[:2], both)) == []
        assert list(check_fleet(hosts, RULES)) == []

    def test_any_interface_will_do(self) -> None:
        assert found(self.on(1, "10.0.0.1/24", "10.0.1.1/24"), self.on(2, "10.0.1.2/24", "10.0.0.9/24")) == []

    def test_etcd_alone_may_be_beyond_a_gateway(self) -> None:
        assert found(self.on(1, "10.0.0.1/24"), self.on(2, "10.0.1.2/24", groups=("etcd",))) == []

    def test_what_is_not_known_is_not_judged(self) -> None:
        silent = replace(host(2), report=report(2, interfaces={"eth0": {"addresses": []}}))
        assert found(self.on(1, "10.0.0.1/24"), silent, replace(host(3), address="")) == []

    @pytest.mark.parametrize(
        ("plugin", "backend", "says"),
        [
            ("flannel", "vxlan", ""),
            ("none", "vxlan", ""),
            ("flannel", "host-gw", "Set pod_network_flannel_backend: vxlan"),
            ("bridge", "vxlan", "Set pod_network_plugin: flannel"),
        ],
    )
    def test_another_plugin(self, plugin: str, backend: str, says: str) -> None:
        rules = Rules.parse({**VALUES, "pod_network_plugin": plugin, "pod_network_flannel_backend": backend})
        hosts = [self.on(1, "10.0.0.1/24"), self.on(2, "10.0.1.2/24")]
        remediations = {finding.remediation for finding in check_fleet(hosts, rules)}
        assert bool(remediations) == bool(says)
        assert all(each.startswith(says) for each in remediations)
