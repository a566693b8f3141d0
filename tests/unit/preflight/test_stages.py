"""The stage that judges hosts, as a whole: each kind of check takes part."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from tests.unit.preflight.builders import VALUES, host, interface

from kubeproof import preflight
from kubeproof.core.active_run import ActiveRun, Process
from kubeproof.preflight import Host, Variables, identity
from kubeproof.preflight.joining import check_joining
from kubeproof.settings.host_report import HostReport

CLUSTER = {"cluster_pod_network": "10.244.0.0/16", "cluster_service_network": "10.96.0.0/16"}
KEPT = dict.fromkeys(identity.NAMES, "ours")
WANTED = preflight.Wanted({"kubernetes": "1.36.3"}, {"kube-apiserver": "kubernetes"})
OTHER = ActiveRun.new("ansible-playbook", Process.of(os.getpid()))


def entry(found: Host, broken: dict[str, str] | None = None, **values: Any) -> Variables:
    return Variables(found, {}, {**VALUES, **CLUSTER, **values}, broken or {})


def ids(
    *hosts: Variables,
    purpose: preflight.Purpose = "converge",
    left_out: str = "",
    kept: bool = True,
    wanted: preflight.Wanted = WANTED,
    ungrouped: Sequence[Host] = (),
    state: Path = Path("state"),
) -> list[tuple[str, str]]:
    """Findings of a run for hosts, one of which may be left out, while the controller keeps something, or nothing."""
    groups = {group: [entry.host.name for entry in hosts if group in entry.host.groups] for group in preflight.GROUPS}
    run = preflight.Run(groups, purpose, preflight.Kept(state, "hosts.yml", KEPT if kept else {}), "mine", ungrouped)
    asked = [entry for entry in hosts if entry.host.name != left_out]
    return [(finding.id, finding.host) for finding in preflight.check_hosts(asked, wanted, run)]


def test_good_hosts() -> None:
    assert ids(entry(host(1)), entry(host(2))) == []


def test_a_ca_that_has_ended_ends_every_run_before_a_host_is_changed() -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    for purpose in preflight.PURPOSES:
        run = preflight.Run({}, purpose, preflight.Kept(Path("state"), "i", KEPT, {"etcd": yesterday}), "mine")
        found = [
            finding.reference for finding in preflight.errors(preflight.check_hosts([entry(host(1))], WANTED, run))
        ]
        assert "authority-ends:etcd" in found


def test_values_that_follow_from_facts_are_judged_with_the_hosts() -> None:
    late = replace(entry(host(1, selinux="enforcing"), kubelet_max_pods="many"), late=frozenset(["kubelet_max_pods"]))
    # The host is not judged by settings that are wrong; others are.
    assert ids(late, entry(host(2, selinux="enforcing"))) == [("invalid-setting", "host1"), ("selinux", "host2")]
    right = replace(late, values={**late.values, "kubelet_max_pods": "50"})
    assert ids(right) == [("selinux", "host1")]


def test_versions_change_by_an_upgrade_alone_and_nothing_else_runs_before_it_has_ended(tmp_path: Path) -> None:
    found = host(1)
    assert found.report is not None
    report = {**found.report, "installed": {**found.report["installed"], "components": {"kubernetes": "1.35.4"}}}
    older = entry(replace(found, report=cast(HostReport, report)))
    assert ids(older, state=tmp_path) == [("version-change", "host1")]
    assert ids(older, purpose="upgrade", state=tmp_path) == []
    (tmp_path / "upgrade.json").touch()
    assert ("upgrade-unfinished", "settings") in ids(older, state=tmp_path)
    assert ids(older, purpose="upgrade", state=tmp_path) == []


def test_no_hosts() -> None:
    assert ids() == []


def test_every_kind_of_check_takes_part() -> None:
    spoilt = host(
        2,
        hostname="host1",
        selinux="enforcing",
        firewall={"ufw": True},
        interfaces={"tun0": interface("10.96.0.1/24")},
        installed={"versions": {"kube-apiserver": "1.34.0"}, "settings": {"cluster_pod_network": "10.0.0.0/16"}},
        etcd={"lived": "/var/lib/etcd"},
        identity={"kubernetes": ["theirs"]},
        runs=[{"id": "other", "record": OTHER.data(), "age": 1.0}],
    )
    assert ids(entry(host(1)), entry(replace(spoilt, address="10.0.0.1"))) == [
        ("address", "host2"),
        ("selinux", "host2"),
        ("firewall", "host2"),
        ("hostname", "host2"),
        ("duplicate-address", "host2"),
        ("network-overlap", "host2"),
        ("version-change", "host2"),
        ("version-step", "host2"),
        ("other-run", "settings"),
        ("installed-setting", "host2"),
        ("authorities-other", "host2"),
        ("etcd-data-lost", "host2"),
    ]


@pytest.mark.parametrize("purpose", ["restore", "replace-member"])
def test_what_mends_a_lost_member_is_not_refused_for_it(purpose: preflight.Purpose) -> None:
    lost = entry(host(2, etcd={"lived": "/var/lib/etcd"}))
    assert ids(entry(host(1)), lost) == [("etcd-data-lost", "host2")]
    assert ids(entry(host(1)), lost, purpose=purpose) == []


def test_a_host_that_has_left_a_group_is_refused_unless_data_is_restored_elsewhere() -> None:
    left = entry(host(2, ("workers",), installed={"active": ["etcd.service"]}))
    assert ids(entry(host(1)), left) == [("left-group", "host2")]
    assert ids(entry(host(1)), left, purpose="restore") == []
    out = host(3, (), installed={"active": ["kubelet.service"]}, identity={"etcd": ["ours"]})
    assert ids(entry(host(1)), ungrouped=[out]) == [("left-group", "host3")]


def test_a_change_of_versions_may_be_allowed() -> None:
    other = host(1, installed={"components": {"kubernetes": "1.36.2"}})
    assert ids(entry(other)) == [("version-change", "host1")]
    assert ids(entry(other), wanted=replace(WANTED, allowed=True)) == []


def test_each_host_is_judged_by_its_own_settings() -> None:
    tolerant = entry(host(1, os={"version": "13"}), preflight_operating_systems={"debian": ["13"]})
    strict = entry(host(2, os={"version": "13"}))
    assert ids(tolerant, strict) == [("operating-system", "host2")]


def test_a_host_whose_settings_cannot_be_rendered_is_left_out_of_the_rest() -> None:
    broken = {"cluster_host_address": "no interface eth9"}
    assert ids(entry(host(1), broken), entry(host(2, selinux="enforcing"))) == [
        ("invalid-setting", "host1"),
        ("selinux", "host2"),
    ]
    assert ids(entry(host(1), broken)) == [("invalid-setting", "host1")]


def unreachable(found: Host) -> Host:
    return replace(found, report=None, problem="No route to host", unreachable=True)


def test_a_host_that_is_left_behind_is_one_that_is_not_in_the_run() -> None:
    installed = {"units": ["kubelet.service"]}
    hosts = [entry(host(number, ("etcd", "control_plane"), installed=installed)) for number in (1, 2, 3)]
    worker = entry(unreachable(host(4, ("workers",))))
    findings = list(preflight.check_hosts([*hosts, worker], WANTED, run_of(*hosts)))
    assert [(found.id, found.host, found.severity) for found in findings] == [("unreachable", "host4", "warning")]
    # Without a report there is nothing that it could be judged by.
    broken = replace(worker, broken={"cluster_host_address": "no interface eth9"})
    assert [found.id for found in preflight.check_hosts([*hosts, broken], WANTED, run_of(*hosts))] == ["unreachable"]
    away = [entry(unreachable(each.host)) for each in hosts[:2]]
    findings = list(preflight.check_hosts([*away, hosts[2]], WANTED, run_of(*hosts)))
    assert [(found.host, found.severity) for found in findings if found.id == "unreachable"] == [
        ("host1", "error"),
        ("host2", "error"),
    ]


def run_of(*hosts: Variables) -> preflight.Run:
    names = [each.host.name for each in hosts]
    return preflight.Run({"etcd": names, "control_plane": names}, "converge", preflight.Kept(Path(), "i", KEPT), "mine")


class TestWhatTheControllerHasLost:
    def test_is_refused_where_hosts_have_it(self) -> None:
        carrier = entry(host(1, identity={"etcd": ["ours"]}))
        assert ids(carrier, entry(host(2)), kept=False) == [("authorities-lost", "host1")]
        assert ids(carrier, purpose="replace-member", kept=False) == [("authorities-lost", "host1")]

    def test_is_made_where_nobody_has(self) -> None:
        assert ids(entry(host(1)), entry(host(2)), kept=False) == []

    def test_is_refused_where_nobody_looks(self) -> None:
        assert ids(entry(host(1)), entry(host(2, groups=("workers",))), left_out="host1", kept=False) == [
            ("authorities-left-out", "settings"),
            ("node-left-out", "host2"),
        ]

    def test_comes_with_a_restore(self) -> None:
        carrier = entry(host(1, identity={"etcd": ["ours"]}, installed={"units": ["kubelet.service"]}))
        assert ids(carrier, entry(host(2)), purpose="restore", left_out="host2", kept=False) == []
        other = entry(host(1, identity={"etcd": ["theirs"]}))
        assert ids(other, purpose="restore") == [("authorities-other", "host1")]


def node(there: bool, networks: list[str]) -> dict[str, Any]:
    """What the API says of a node that was given a pod network before."""
    return {"there": there, "networks": networks, "given": ["10.244.2.0/24"]}


class TestNewNodes:
    """Those that a run would add while it leaves out others, which get no route to their pods."""

    NODE: ClassVar = {"manifest": True, "units": ["containerd.service", "kubelet.service"]}
    BRIDGE: ClassVar = {**NODE, "settings": {"pod_network_plugin": "bridge"}}

    def workers(self, *installed: dict[str, Any]) -> list[Variables]:
        """A control-plane host and workers, of which each has something installed, or nothing."""
        first = host(1, ("etcd", "control_plane"), installed=installed[0])
        return [entry(first), *(entry(host(n, ("workers",), installed=has)) for n, has in enumerate(installed[1:], 2))]

    @pytest.mark.parametrize("left_out", ["host1", "host2"])
    @pytest.mark.parametrize("purpose", ["converge", "restore"])
    def test_are_refused(self, left_out: str, purpose: preflight.Purpose) -> None:
        hosts = self.workers(self.NODE, self.NODE, {})
        assert ids(*hosts, left_out=left_out, purpose=purpose) == [("node-left-out", "host3")]
        assert ids(*hosts, purpose=purpose) == []

    def test_are_no_matter_where_none_is_added(self) -> None:
        hosts = self.workers(self.NODE, self.NODE, {})
        assert ids(*hosts, left_out="host3") == []
        assert ids(*hosts, left_out="host2", purpose="replace-member") == []

    def test_have_nobody_to_join_in_a_first_installation(self) -> None:
        assert ids(*self.workers({}, {}, {}), left_out="host3") == []

    def test_have_a_cluster_to_join_where_the_run_does_not_look(self) -> None:
        assert ids(*self.workers({}, {}, {}), left_out="host1") == [
            ("node-left-out", "host2"),
            ("node-left-out", "host3"),
        ]

    def test_etcd_alone_is_no_node(self) -> None:
        etcd = entry(host(4, ("etcd",)))
        hosts = [*self.workers(self.NODE, self.NODE), etcd]
        assert ids(*hosts, left_out="host2") == []
        left_out = ids(*self.workers(self.NODE, {}), etcd, left_out="host4")
        assert left_out == [("etcd-left-out", "settings")]

    @pytest.mark.parametrize(
        ("there", "networks", "why"),
        [
            (False, [], "its Node object was deleted, so that it becomes a node anew, with another pod network maybe"),
            (True, ["10.244.7.0/24"], "its pod network is now 10.244.7.0/24, and was 10.244.2.0/24"),
            (True, [], "it is a node anew, and may be given another pod network than 10.244.2.0/24, which it had"),
        ],
    )
    @pytest.mark.parametrize("left_out", ["host1", "host3"])
    def test_one_that_becomes_a_node_again_is_one(
        self, there: bool, networks: list[str], why: str, left_out: str
    ) -> None:
        hosts = self.workers(self.BRIDGE, self.BRIDGE, self.BRIDGE)
        again = entry(host(2, ("workers",), installed=self.BRIDGE, node=node(there, networks)))
        assert ids(hosts[0], again, hosts[2]) == []
        assert ids(hosts[0], again, hosts[2], left_out=left_out) == [("node-left-out", "host2")]
        run = preflight.Run({"workers": ["host2", "w9"]}, "converge", preflight.Kept(Path("state"), "i", KEPT))
        (finding,) = check_joining([again.host], run)
        assert finding.problem == f"{why}, and the run leaves out w9, which would have no route to its pods"

    def test_one_whose_network_is_the_same_is_none(self) -> None:
        same = node(True, ["10.244.2.0/24"])
        hosts = [*self.workers(self.BRIDGE), entry(host(2, ("workers",), installed=self.BRIDGE, node=same))]
        assert ids(*hosts, left_out="host1") == []

    @pytest.mark.parametrize("plugin", ["flannel", "calico", "cilium", "none"])
    def test_other_networks_make_their_routes_by_themselves(self, plugin: str) -> None:
        installed = {**self.NODE, "settings": {"pod_network_plugin": plugin}}
        again = entry(host(2, ("workers",), installed=installed, node=node(False, [])), pod_network_plugin=plugin)
        assert ("node-left-out", "host2") not in ids(*self.workers(self.NODE), again, left_out="host1")

    def test_one_that_never_was_a_node_has_nobody_to_join(self) -> None:
        """Of a first installation that ended between the start of the kubelet and the pod network."""
        first = entry(host(1, installed=self.BRIDGE, node={**node(False, []), "given": []}))
        assert ids(first, entry(host(2, ("workers",))), left_out="host2") == []

    def test_what_to_do_is_said(self) -> None:
        hosts = [each.host for each in self.workers(self.NODE, {})]
        groups = {"workers": ["host2", "w9"]}
        run = preflight.Run(groups, "converge", preflight.Kept(Path("state"), "hosts.yml", KEPT))
        (finding,) = check_joining(hosts, run)
        assert "leaves out w9, which would have no route to its pods" in finding.problem
        assert finding.remediation.startswith("Run without --limit.")
        assert """-e '{"preflight_ignore": ["node-left-out"]}'""" in finding.remediation
