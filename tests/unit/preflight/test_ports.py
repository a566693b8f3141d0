"""Which ports hosts probe of each other before they are installed, and what is said of those that are closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.preflight.builders import RULES, VALUES, host

from kubeproof.preflight.model import PORTS, Host, Rules
from kubeproof.preflight.ports import CLIENTS, Probe, check_connections, probes

CONTROL_PLANE = ("etcd", "control_plane")
RUNS: dict[str, Any] = {"installed": {"active": ["etcd.service"]}}


def probed(*hosts: Host) -> dict[str, tuple[list[int], list[str]]]:
    """By host, where it listens and where it connects to."""
    found = probes([(each, RULES) for each in hosts])
    return {
        name: (list(probe.listen), [f"{target.host}:{target.port}" for target in probe.connect])
        for name, probe in found.items()
    }


def test_every_port_of_other_hosts_has_clients_or_none_but_this_host() -> None:
    outside = {"kube_proxy_health_port"}
    assert set(CLIENTS) | outside == {name for name, (_, _, listen) in PORTS.items() if listen == "all"}


def test_new_hosts_probe_what_their_components_will_use() -> None:
    assert probed(host(1, CONTROL_PLANE), host(2, ("workers",))) == {
        "host1": ([6443], ["host2:10250"]),
        "host2": ([10250], ["host1:6443"]),
    }


def test_etcd_is_reached_by_members_and_api_servers_only() -> None:
    found = probed(host(1, ("etcd",)), host(2, ("etcd",)), host(3, ("control_plane",)), host(4, ("workers",)))
    assert found["host1"] == ([2379, 2380], ["host2:2379", "host2:2380"])
    assert found["host3"][1] == ["host1:2379", "host2:2379", "host4:10250"]
    assert found["host4"][1] == ["host3:6443"]


@pytest.mark.parametrize(
    "hosts", [[host(1)], [host(1, **RUNS), host(2, **RUNS)], []], ids=["alone", "installed", "none"]
)
def test_nothing_is_probed_where_nothing_is_new(hosts: Sequence[Host]) -> None:
    assert probed(*hosts) == {}


def test_a_new_host_and_those_that_are_installed_probe_each_other_only() -> None:
    installed = [host(1, CONTROL_PLANE, **RUNS), host(2, ("workers",), **RUNS)]
    found = probed(*installed, host(3, ("workers",)))
    assert found == {"host1": ([6443], ["host3:10250"]), "host3": ([10250], ["host1:6443"])}


def test_a_host_without_a_report_takes_no_part() -> None:
    silent = Host("w9", frozenset(["workers"]), "10.0.0.9", problem="timed out", unreachable=True)
    assert probed(host(1, **RUNS), silent) == {}
    assert probed(host(1), silent) == {}


def test_each_host_that_is_not_reached_is_named_with_ports_clients_and_errors() -> None:
    known = probes([(host(1, CONTROL_PLANE), RULES), (host(2, ("workers",)), RULES), (host(3, ("workers",)), RULES)])
    closed = {"address": "10.0.0.1", "port": 6443, "error": "timed out"}
    failed = {"host1": [{**closed, "address": "10.0.0.3", "port": 10250}], "host2": [closed], "host3": [closed]}
    found = {finding.host: finding for finding in check_connections(known, failed, {})}
    assert {(finding.id, finding.severity) for finding in found.values()} == {("port-closed", "error")}
    assert found["host1"].problem == (
        "other hosts have no connection to 6443 of kube-apiserver from host2 (timed out), host3 (timed out)"
    )
    assert "Open TCP 6443 on host1" in found["host1"].remediation
    assert found["host3"].problem.endswith("10250 of kubelet from host1 (timed out)")
    assert list(check_connections(known, {}, {})) == []


VXLAN = Rules.parse({**VALUES, "pod_network_plugin": "flannel", "pod_network_flannel_port": 8479})


def udp(rules: Rules, *hosts: Host) -> dict[str, tuple[list[int], list[str]]]:
    """By host, where it listens for datagrams and where it sends some to."""
    found = {
        name: (list(probe.listen_udp), probe.connect) for name, probe in probes([(e, rules) for e in hosts]).items()
    }
    return {
        name: (listen, [f"{each.host}:{each.port}" for each in targets if each.protocol == "udp"])
        for name, (listen, targets) in found.items()
    }


def test_nodes_send_datagrams_to_each_other_where_the_network_uses_vxlan() -> None:
    hosts = [host(1, ("etcd",)), host(2, ("control_plane",)), host(3, ("workers",))]
    assert udp(VXLAN, *hosts) == {
        "host1": ([], []),
        "host2": ([8479], ["host3:8479"]),
        "host3": ([8479], ["host2:8479"]),
    }
    assert all(found == ([], []) for found in udp(RULES, *hosts).values())


@pytest.mark.parametrize(
    ("plugin", "setting", "way", "port"),
    [("calico", "calico_encapsulation", "vxlan", 4789), ("cilium", "cilium_routing", "tunnel", 8472)],
)
def test_each_network_has_its_port(plugin: str, setting: str, way: str, port: int) -> None:
    rules = Rules.parse({**VALUES, "pod_network_plugin": plugin, setting: way})
    [target] = [
        each for each in probes([(host(1), rules), (host(2), rules)])["host1"].connect if each.protocol == "udp"
    ]
    assert (target.port, target.component) == (port, f"{plugin}'s VXLAN")
    assert {"address": "10.0.0.2", "port": port, "protocol": "udp"} in Probe("", (), (target,)).data()["targets"]


def test_nobody_asks_the_kernel_of_a_host_that_is_installed() -> None:
    assert udp(VXLAN, host(1, CONTROL_PLANE, **RUNS), host(2, ("workers",))) == {
        "host1": ([], ["host2:8479"]),
        "host2": ([8479], []),
    }


def test_a_udp_port_that_is_closed_is_named_unless_another_program_has_it() -> None:
    known = probes([(host(1), VXLAN), (host(2), VXLAN)])
    closed = {"address": "10.0.0.1", "port": 8479, "protocol": "udp", "error": "no answer"}
    tcp = {"address": "10.0.0.1", "port": 6443, "protocol": "tcp", "error": "timed out"}
    [finding] = check_connections(known, {"host2": [closed, tcp]}, {"host1": [8479]})
    assert finding.problem.endswith(
        "6443 of kube-apiserver from host2 (timed out); 8479 (UDP) of flannel's VXLAN from host2 (no answer)"
    )
    assert "Open TCP 6443 and UDP 8479 on host1" in finding.remediation
    assert list(check_connections(known, {"host2": [closed]}, {"host1": []})) == []
