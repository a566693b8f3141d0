"""Which ports hosts probe of each other before they are installed, and what is said of those that are closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.preflight.builders import RULES, host

from kubeproof.preflight.model import PORTS, Host
from kubeproof.preflight.ports import CLIENTS, check_connections, probes

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
    found = {finding.host: finding for finding in check_connections(known, failed)}
    assert {(finding.id, finding.severity) for finding in found.values()} == {("port-closed", "error")}
    assert found["host1"].problem == (
        "other hosts have no connection to 6443 of kube-apiserver from host2 (timed out), host3 (timed out)"
    )
    assert "Open TCP 6443 on host1" in found["host1"].remediation
    assert found["host3"].problem.endswith("10250 of kubelet from host1 (timed out)")
    assert list(check_connections(known, {})) == []
