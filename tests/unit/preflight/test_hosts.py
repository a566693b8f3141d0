"""Checks of one host: a host on which nothing is wrong, spoilt in one place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import yaml
from tests.unit.preflight.builders import MEBIBYTE, RULES, VALUES, host, interface, port

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.hosts import check_host
from kubeproof.preflight.model import GROUPS, Host, Rules, reads
from kubeproof.settings import runtimes, specs

OURS = {"manifest": True, "units": ["etcd.service", "kubelet.service"]}


def found(entry: Host) -> list[tuple[str, str, str]]:
    return [(finding.id, finding.subject, finding.severity) for finding in check_host(entry, RULES)]


def only(entry: Host) -> Finding:
    (finding,) = check_host(entry, RULES)
    return finding


def test_nothing_is_found_on_a_good_host() -> None:
    assert found(host()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"arch": "s390x"}, ("architecture", "s390x", "error")),
        ({"systemd": {"init": False}}, ("systemd", "", "error")),
        ({"os": {"id": "debian", "version": "10"}}, ("operating-system", "debian", "warning")),
        ({"os": {"id": "ubuntu", "version": "24.04", "like": ["debian"]}}, ("operating-system", "ubuntu", "warning")),
        ({"os": {"id": "arch", "version": "", "pretty": ""}}, ("operating-system", "arch", "warning")),
        ({"kernel": "5.10.0-28-amd64"}, ("kernel", "", "error")),
        ({"memory": {"total": 1699 * MEBIBYTE}}, ("memory", "control_plane", "error")),
        ({"cgroup": {"version": 1, "controllers": ["cpu", "cpuacct", "cpuset", "memory", "pids"]}},
         ("cgroup-v1", "", "warning")),
        ({"cgroup": {"controllers": ["cpu", "cpuset", "pids"]}}, ("cgroup-controllers", "", "error")),
        ({"swap": {"on": True, "devices": ["/dev/sda2"]}}, ("swap", "", "warning")),
        ({"commands": {"tar": None}}, ("command", "tar", "error")),
        ({"modules": {"overlay": "missing"}}, ("kernel-module", "overlay", "error")),
        ({"capabilities": {"self": []}}, ("kernel-module", "br_netfilter", "error")),
        ({"commands": {"modprobe": None}}, ("kernel-module", "br_netfilter", "error")),
        ({"default_route": None}, ("default-route", "", "warning")),
        ({"leftovers": ["/etc/kubernetes"]}, ("leftover", "/etc/kubernetes", "warning")),
        ({"leftovers": ["/var/lib/etcd"]}, ("foreign-data", "/var/lib/etcd", "error")),
        ({"leftovers": ["/var/lib/containerd"]}, ("foreign-data", "/var/lib/containerd", "error")),
        ({"leftovers": ["/var/backups/etcd"]}, ("foreign-data", "/var/backups/etcd", "error")),
        ({"selinux": "enforcing"}, ("selinux", "", "error")),
        ({"apparmor": True}, ("apparmor", "", "warning")),
        ({"systemd": {"version": 248}}, ("systemd", "248", "error")),
        ({"clock": {"synchronised": False}}, ("clock-unsynchronised", "", "warning")),
        ({"resolver": {"nameservers": ["127.0.0.53"]}}, ("resolver", "", "error")),
        ({"resolver": {"nameservers": ["::1"]}}, ("resolver", "", "error")),
        ({"resolver": {"nameservers": ["127.0.0.53", "192.0.2.53"]}}, ("resolver", "", "warning")),
        ({"service_python": ""}, ("python", "/usr/bin/python3", "error")),
        ({"service_python": "3.6.8"}, ("python", "/usr/bin/python3", "error")),
        ({"hidepid": "invisible"}, ("hidepid", "", "warning")),
        ({"resolver": {"nameservers": []}}, ("resolver", "", "error")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_each_fault_is_one_finding(changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert found(host(**changes)) == [expected]


def test_what_is_wrong_and_how_to_mend_it_is_said() -> None:
    finding = only(host(memory={"total": 512 * MEBIBYTE}))
    assert finding.host == "host1"
    assert finding.problem == "it has 512 MiB of memory; hosts in control_plane need 1700 MiB"
    assert "preflight_minimum_memory" in finding.remediation


def test_memory_is_asked_by_group() -> None:
    assert found(host(groups=("workers",), memory={"total": 900 * MEBIBYTE})) == []


def test_swap_with_cgroup_version_1_is_an_error() -> None:
    controllers = ["cpu", "cpuacct", "cpuset", "memory", "pids"]
    entry = host(swap={"on": True, "devices": ["/swap"]}, cgroup={"version": 1, "controllers": controllers})
    assert ("swap", "", "error") in found(entry)


def test_etcd_alone_needs_nothing_that_only_nodes_do() -> None:
    entry = host(
        groups=("etcd",),
        kernel="5.10.0",
        modules={"overlay": "missing"},
        cgroup={"version": 1, "controllers": []},
        swap={"on": True},
        default_route=None,
        selinux="enforcing",
        resolver={"nameservers": ["127.0.0.1"]},
    )
    assert found(entry) == []


def test_apparmor_takes_its_parser_where_containerd_would_use_it() -> None:
    assert list(check_host(host(apparmor=True, commands={"apparmor_parser": "/usr/sbin/apparmor_parser"}), RULES)) == []
    # There containerd has no profiles, whatever is installed.
    assert list(check_host(host(apparmor=True, container="podman"), RULES)) == []


def test_gvisor_takes_a_capability_that_containers_may_lack() -> None:
    lacking = host(capabilities={"init": []})
    assert list(check_host(lacking, RULES)) == []
    (finding,) = check_host(lacking, replace(RULES, gvisor=True))
    assert (finding.id, finding.severity) == ("gvisor", "error")
    assert list(check_host(host(), replace(RULES, gvisor=True))) == []


@pytest.mark.parametrize(("runtime", "name"), [("crio", "CRI-O"), ("docker", "Docker")])
def test_other_runtimes_take_a_capability_that_containers_may_lack(runtime: str, name: str) -> None:
    rules = replace(RULES, runtime=runtime)
    (finding,) = check_host(host(capabilities={"init": []}), rules)
    assert (finding.id, finding.severity) == (runtime, "error")
    assert finding.problem == f"CAP_SYS_RESOURCE is missing, without which {name} starts no pod (container_runtime)"
    assert list(check_host(host(), rules)) == []


@pytest.mark.parametrize(
    ("runtime", "name", "process"),
    [
        ("crio", "CRI-O", {"pid": 7, "name": "crio", "unit": "crio.service"}),
        ("docker", "Docker", {"pid": 7, "name": "dockerd", "unit": "docker.service"}),
    ],
)
def test_another_of_a_runtime_is_in_the_way_of_ours_alone(runtime: str, name: str, process: dict[str, Any]) -> None:
    running = host(processes=[process])
    (finding,) = check_host(running, replace(RULES, runtime=runtime))
    assert (finding.id, finding.problem) == (
        f"foreign-{runtime}",
        f"another {name} is running ({process['name']} (PID 7, {runtime}.service)), whose unit would be replaced",
    )
    assert list(check_host(running, RULES)) == []
    other = host(processes=[{"pid": 7, "name": "containerd", "unit": "containerd.service"}])
    assert list(check_host(other, replace(RULES, runtime=runtime))) == []


def test_a_node_has_the_directory_of_its_runtime_alone() -> None:
    for runtime, setting in runtimes.ROOTS.items():
        rules = Rules.parse({**VALUES, "container_runtime": runtime})
        assert {rule.setting for rule in rules.disks} & {*runtimes.ROOTS.values()} == {setting}
        assert rules.data.keys() & {*runtimes.ROOTS.values()} == {setting}


def full(path: str, gibibytes: float, **more: Any) -> Host:
    """A host with so much free of a disk of 100 GiB, on which these directories are."""
    free = {"free": int(gibibytes * 1024 * MEBIBYTE)}
    return host(disks={"/var/lib/containerd": free, "/var/lib/kubelet": free} if path == "/" else {path: free}, **more)


@pytest.mark.parametrize(
    ("path", "gibibytes", "signals"),
    [
        ("/", 15, []),
        ("/", 14.9, ["imagefs.available"]),
        ("/var/lib/containerd", 14.9, ["imagefs.available"]),
        ("/var/lib/kubelet", 14.9, []),
        ("/var/lib/kubelet", 9.9, ["nodefs.available"]),
    ],
)
def test_a_disk_on_which_the_kubelet_would_evict_pods(path: str, gibibytes: float, signals: list[str]) -> None:
    found = list(check_host(full(path, gibibytes), RULES))
    assert [(each.id, each.severity) for each in found] == [("eviction", "error")] * len(signals)
    assert all(signal in each.problem for signal, each in zip(signals, found, strict=True))
    # Its cluster is there, and a run may be what helps it.
    (warned,) = check_host(full("/", 1, installed={"manifest": True}), RULES)
    assert (warned.id, warned.severity) == ("eviction", "warning")


def test_amounts_are_suggested_beside_all_other_defaults_since_none_is_merged() -> None:
    defaults = yaml.safe_load((specs.ROLES / "kubelet" / "defaults" / "main.yml").read_text())["kubelet_eviction_hard"]
    (finding,) = check_host(full("/", 1, installed={"manifest": True}), RULES)
    suggested = yaml.safe_load(finding.remediation.split("kubelet_eviction_hard: ")[1])
    # Those of pkg/kubelet/eviction/defaults_linux.go.
    everything = {
        "memory.available",
        "nodefs.available",
        "nodefs.inodesFree",
        "imagefs.available",
        "imagefs.inodesFree",
    }
    assert set(defaults) == set(suggested) == everything


def test_thresholds_of_eviction_are_the_users() -> None:
    assert reads("kubelet_eviction_hard"), "its default counts, too"
    amounts = {"imagefs.available": "4Gi", "nodefs.available": "2Gi"}
    rules = Rules.parse({**VALUES, "kubelet_eviction_hard": amounts})
    assert list(check_host(full("/", 4.1), rules)) == []
    (finding,) = check_host(full("/", 3.9), rules)
    assert "less than 4Gi" in finding.problem
    assert list(check_host(full("/", 1), Rules.parse({**VALUES, "kubelet_eviction_hard": {}}))) == []
    # Hosts of etcd alone have no kubelet.
    etcd = replace(full("/", 5), groups=frozenset(["etcd"]))
    assert list(check_host(etcd, RULES)) == []


def test_programs_of_runtime_handlers_are_there() -> None:
    rules = replace(RULES, runtimes=("/usr/bin/crun",))
    (finding,) = check_host(host(commands={"/usr/bin/crun": None}), rules)
    assert (finding.id, finding.subject, finding.severity) == ("runtime-program", "/usr/bin/crun", "error")
    assert list(check_host(host(commands={"/usr/bin/crun": "/usr/bin/crun"}), rules)) == []


@pytest.mark.parametrize(("version", "refused"), [("1.8.1", True), ("1.14", True), ("1.14.3", False), ("1.21", False)])
def test_a_crun_that_refuses_what_containerd_writes_is_refused(version: str, *, refused: bool) -> None:
    path = "/usr/bin/crun"
    rules = replace(RULES, runtimes=(path, "/opt/other"))
    found = host(commands={path: path, "/opt/other": "/opt/other"}, handlers={path: version, "/opt/other": "0.1"})
    findings = list(check_host(found, rules))
    assert [(finding.id, finding.subject) for finding in findings] == [("runtime-program", path)] * refused
    assert all(f"crun {version}" in finding.problem for finding in findings)


def test_kube_proxy_cannot_use_the_older_iptables() -> None:
    rules = replace(RULES, iptables=True)
    (finding,) = check_host(host(iptables_legacy=True), rules)
    assert (finding.id, finding.severity) == ("iptables-legacy", "error")
    assert list(check_host(host(iptables_legacy=True), RULES)) == []
    assert list(check_host(host(), rules)) == []


def test_an_older_kernel_does_for_iptables() -> None:
    rules = replace(RULES, nftables=False)
    assert list(check_host(host(kernel="5.10.0-28-amd64"), rules)) == []
    assert list(check_host(host(kernel="4.19"), rules)) == []
    (finding,) = check_host(host(kernel="4.18.0-500.el8"), rules)
    assert "4.19" in finding.problem


def test_how_to_mend_depends_on_what_is_there() -> None:
    assert only(host(kernel="5.10.0")).remediation == "Upgrade the kernel, or set kube_proxy_mode to iptables."
    (finding,) = check_host(host(kernel="4.18.0"), replace(RULES, nftables=False))
    assert finding.remediation == "Upgrade the kernel."
    assert only(host(commands={"ip": None}, package_manager="dnf")).remediation == "dnf install iproute2"
    assert only(host(commands={"ip": None}, package_manager="")).remediation == "Install iproute2."
    assert only(host(ports=[port(2379, unit="session-3.scope")])).remediation.startswith("Stop it")


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ({"id": "arch", "version": "", "pretty": "Arch Linux"}, "Arch Linux"),
        ({"id": "arch", "version": "", "pretty": ""}, "arch"),
        ({"id": "", "version": "", "pretty": ""}, "which is unknown"),
    ],
)
def test_a_system_is_called_by_the_best_name_it_has(system: dict[str, str], name: str) -> None:
    assert f"not tested on its operating system, {name}" in only(host(os=system)).problem


def test_loaded_modules_need_no_right_to_load() -> None:
    assert found(host(modules={"br_netfilter": "builtin"}, capabilities={"self": []})) == []


class TestUnexamined:
    def test_unreachable(self) -> None:
        finding = only(Host("w9", frozenset(["workers"]), "10.0.0.9", problem="No route to host", unreachable=True))
        assert (finding.id, finding.host, finding.severity) == ("unreachable", "w9", "error")
        assert "No route to host" in finding.problem
        assert "--limit '!w9'" in finding.remediation

    def test_reachable_but_silent(self) -> None:
        finding = only(Host("w9", frozenset(["workers"]), "10.0.0.9", problem="sudo: a password is required"))
        assert finding.id == "unexamined"
        assert "sudo: a password is required" in finding.problem

    @pytest.mark.parametrize(
        ("problem", "remediation"),
        [
            ("Missing sudo password", "give --ask-become-pass"),
            ("Incorrect sudo password", "is not the right one"),
            ("/bin/sh: python3: not found", "Python must be 3.8"),
        ],
    )
    def test_what_to_do_follows_from_what_was_said(self, problem: str, remediation: str) -> None:
        assert remediation in only(Host("w9", frozenset(["workers"]), "10.0.0.9", problem=problem)).remediation


def test_root_is_missing_and_nothing_else_is_said() -> None:
    finding = only(host(user={"id": 1000, "name": "ubuntu"}, commands={"ip": None}, systemd={"init": False}))
    assert (finding.id, finding.subject, finding.host, finding.severity) == ("become", "ubuntu", "host1", "error")
    assert "commands run as ubuntu" in finding.problem
    assert "Set ansible_become: true" in finding.remediation


class TestDisks:
    # What a kubelet makes of so little is looked at by itself.
    RULES = replace(RULES, evicts={})

    def found(self, entry: Host) -> list[tuple[str, str, str]]:
        return [(finding.id, finding.subject, finding.severity) for finding in check_host(entry, self.RULES)]

    def test_what_shares_a_file_system_adds_up(self) -> None:
        # 100 for /, 700 for binaries, 1000 each for containerd and etcd.
        disks = {path: {"free": 2799 * MEBIBYTE} for path in host().report["disks"]}  # type: ignore[index]
        (finding,) = check_host(host(disks=disks), self.RULES)
        assert (finding.id, finding.subject) == ("disk", "/")
        assert finding.problem.startswith("/, /usr/local/bin, /var/lib/etcd, /var/lib/containerd: 2799 MiB are free")
        assert "2800 MiB are needed" in finding.problem
        assert self.found(host(disks={path: {"free": 2800 * MEBIBYTE} for path in disks})) == []

    def test_each_file_system_is_looked_at(self) -> None:
        disks = {"/var/lib/etcd": {"device": 2, "free": 0}, "/var/lib/containerd": {"device": 3, "free": 0}}
        assert self.found(host(disks=disks)) == [
            ("disk", "/var/lib/etcd", "error"),
            ("disk", "/var/lib/containerd", "error"),
        ]

    def test_etcd_needs_no_disk_on_workers(self) -> None:
        assert found(host(groups=("workers",), disks={"/var/lib/etcd": {"device": 2, "free": 0}})) == []

    @pytest.mark.parametrize("free", [64, 999])
    def test_an_installed_host_has_been_given_its_space(self, free: int) -> None:
        assert found(host(installed=OURS, disks={"/var/lib/etcd": {"device": 2, "free": free * MEBIBYTE}})) == [
            ("disk", "/var/lib/etcd", "warning")
        ]

    def test_full_is_full(self) -> None:
        assert found(host(installed=OURS, disks={"/var/lib/etcd": {"device": 2, "free": 63 * MEBIBYTE}})) == [
            ("disk", "/var/lib/etcd", "error")
        ]

    def test_read_only(self) -> None:
        disks = {"/usr/local/bin": {"device": 2, "read_only": True, "free": 0}}
        assert found(host(disks=disks)) == [("read-only", "/usr/local/bin", "error")]

    def test_a_part_of_a_file_system_may_be_read_only(self) -> None:
        """As /usr is where it is mounted over itself: on the same device as all else."""
        problem = only(host(disks={"/usr/local/bin": {"read_only": True}}))
        assert (problem.id, problem.subject) == ("read-only", "/usr/local/bin")
        assert "set cluster_bin_directory: /opt/bin for this host" in problem.remediation
        assert found(host(disks={"/opt/cni/bin": {"read_only": True}})) == [("read-only", "/opt/cni/bin", "error")]

    def test_a_root_file_system_is_not_written_to_but_below_etc(self) -> None:
        root = {"device": 7, "read_only": True, "free": 0}
        assert found(host(disks={"/": root})) == []
        assert found(host(disks={"/": root, "/etc": {"read_only": True}})) == [("read-only", "/", "error")]

    def test_few_inodes(self) -> None:
        disks = {"/var/lib/containerd": {"device": 2, "inodes_free": 999}}
        assert found(host(disks=disks)) == [("inodes", "/var/lib/containerd", "error")]
        disks["/var/lib/containerd"]["inodes_free"] = 1000
        assert found(host(disks=disks)) == []

    def test_a_file_system_without_a_table_of_inodes(self) -> None:
        assert found(host(disks={"/var/lib/containerd": {"device": 2, "inodes_total": 0, "inodes_free": 0}})) == []


class TestLogs:
    """Six audit logs of 100 MB on control-plane hosts, and 110 of pods on nodes."""

    def found(self, free: int, groups: tuple[str, ...] = GROUPS, device: int = 2, **changes: Any) -> list[Finding]:
        disk = {**host().report["disks"]["/"], "device": device, "free": free * MEBIBYTE}  # type: ignore[index]
        paths = ("/",) if device == 1 else ()
        disks = {"/var/log": disk} | {path: {"free": free * MEBIBYTE} for path in paths}
        return list(check_host(host(groups=groups, disks=disks, **changes), RULES))

    @pytest.mark.parametrize(
        ("groups", "needed"), [(GROUPS, 1700), (("control_plane",), 1700), (("workers",), 1100), (("etcd",), 0)]
    )
    def test_what_they_may_come_to(self, groups: tuple[str, ...], needed: int) -> None:
        assert self.found(needed, groups) == []
        for finding in self.found(needed - 1, groups) if needed else ():
            assert (finding.id, finding.subject, finding.severity) == ("disk", "/var/log", "warning")
            assert f"logs may take {needed} MiB, and {needed - 1} MiB of / are left" in finding.problem
        assert len(self.found(needed - 1, groups)) == bool(needed)

    def test_besides_what_is_installed_on_the_same_file_system(self) -> None:
        # 2800 MiB, as above.
        assert self.found(2800 + 1700, device=1) == []
        assert ["699 MiB of / are left" in finding.problem for finding in self.found(3499, device=1)] == [True]

    def test_too_little_for_anything_is_said_once(self) -> None:
        assert [finding.subject for finding in self.found(2799, device=1)] == ["/"]

    def test_where_it_is_installed_they_have_theirs(self) -> None:
        assert self.found(1000, installed=OURS) == []


class TestMounts:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/usr/local/bin", [("mount-options", "/usr/local/bin", "error")]),
            ("/opt/cni/bin", [("mount-options", "/opt/cni/bin", "error")]),
            ("/var/lib/kubelet", [("mount-options", "/var/lib/kubelet", "warning")]),
            ("/var/lib/containerd", []),
            ("/var/lib/etcd", []),
        ],
    )
    def test_where_programs_must_run(self, path: str, expected: list[tuple[str, str, str]]) -> None:
        assert found(host(disks={path: {"noexec": True}})) == expected

    def test_how_it_is_allowed(self) -> None:
        finding = only(host(disks={"/var/lib/kubelet": {"noexec": True, "on": "/var/lib"}}))
        assert "/var/lib/kubelet is on a file system (/var/lib) that is mounted with noexec" in finding.problem
        assert finding.remediation == (
            "mount -o remount,exec $(findmnt -no TARGET -T /var/lib), and take noexec out of /etc/fstab."
        )

    def test_of_pods_only_on_nodes(self) -> None:
        disks = {path: {"noexec": True} for path in ("/opt/cni/bin", "/var/lib/kubelet")}
        assert found(host(groups=("etcd",), disks=disks)) == []

    @pytest.mark.parametrize(
        ("kind", "why"),
        [
            ("nfs4", "which is not of this host"),
            ("cifs", "which is not of this host"),
            ("fuse.sshfs", "which is not of this host"),
            ("tmpfs", "which is in memory"),
        ],
    )
    def test_what_is_not_for_etcd(self, kind: str, why: str) -> None:
        finding = only(host(disks={"/var/lib/etcd": {"type": kind}}))
        assert (finding.id, finding.subject, finding.severity) == ("file-system", "/var/lib/etcd", "error")
        assert f"type {kind}, {why}" in finding.problem
        assert only(host(installed=OURS, disks={"/var/lib/etcd": {"type": kind}})).severity == "warning"
        assert found(host(groups=("workers",), disks={"/var/lib/etcd": {"type": kind}})) == []

    def test_nor_where_the_settings_name_it_otherwise(self) -> None:
        rules = Rules.parse({**VALUES, "etcd_data_directory": "/data//etcd/"})
        entry = host(disks={"/data//etcd/": {**host().report["disks"]["/"], "type": "nfs4"}})  # type: ignore[index]
        assert [finding.subject for finding in check_host(entry, rules)] == ["/data/etcd"]

    def test_an_overlay_is_said_and_never_refused(self) -> None:
        finding = only(host(disks={"/var/lib/etcd": {"type": "overlay"}}))
        assert (finding.id, finding.subject, finding.severity) == ("file-system", "/var/lib/etcd", "warning")
        assert found(host(groups=("workers",), disks={"/var/lib/etcd": {"type": "overlay"}})) == []

    def test_nodev_matters_to_volumes_of_pods_only(self) -> None:
        expected = [("mount-options", "/var/lib/kubelet", "warning")]
        assert found(host(disks={path: {"nodev": True} for path in host().report["disks"]})) == expected  # type: ignore[index]
        assert "mount -o remount,dev " in only(host(disks={"/var/lib/kubelet": {"nodev": True}})).remediation
        assert found(host(groups=("etcd",), disks={"/var/lib/kubelet": {"nodev": True}})) == []

    @pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", ""])
    def test_what_is(self, kind: str) -> None:
        assert found(host(disks={"/var/lib/etcd": {"type": kind}})) == []


@pytest.mark.parametrize(("seconds", "warned"), [(0.0004, False), (0.010, False), (0.0124, True), (0.8, True)])
def test_a_disk_that_is_slow_for_etcd_is_warned_of(seconds: float, warned: bool) -> None:
    findings = found(host(groups=("etcd",), etcd_disk={"writes": 87, "p99": seconds}))
    assert findings == ([("etcd-disk", "/var/lib/etcd", "warning")] if warned else [])


def test_how_slow_it_is_is_said() -> None:
    problem = only(host(etcd_disk={"writes": 87, "p99": 0.0124})).problem
    assert "of 87 writes one in a hundred took 12 ms or longer" in problem


def test_how_a_python_for_services_is_had() -> None:
    assert only(host(service_python="")).remediation == (
        "apt-get install python3; or link the one that there is: ln -s $(command -v python3) /usr/bin/python3"
    )
    assert "is Python 3.6.8, older than 3.8" in only(host(service_python="3.6.8")).problem
    assert found(host(service_python="3.8.0")) == found(host(service_python="3.10.12")) == []


class TestPorts:
    def test_taken(self) -> None:
        finding = only(host(ports=[port(10250)]))
        assert (finding.id, finding.subject) == ("port", "10250")
        assert finding.problem == "port 10250, which kubelet needs, is in use by nginx (PID 77, nginx.service)"
        assert finding.remediation.startswith("systemctl disable --now nginx.service")

    def test_our_own_units_hold_their_ports(self) -> None:
        ours = [port(10250, unit="kubelet.service", name="kubelet"), port(2379, unit="etcd.service", name="etcd")]
        assert found(host(installed=OURS, ports=ours)) == []

    def test_a_unit_of_the_same_name_that_we_did_not_make(self) -> None:
        assert found(host(ports=[port(2379, unit="etcd.service", name="etcd")])) == [("port", "2379", "error")]

    def test_ports_of_other_groups_are_free_to_use(self) -> None:
        assert found(host(groups=("workers",), ports=[port(6443), port(2379)])) == []

    @pytest.mark.parametrize(
        ("address", "taken"),
        [("0.0.0.0", True), ("::", True), ("127.0.0.1", True), ("10.0.0.1", False), ("::1", False)],
    )
    def test_on_loopback_only_what_is_there_collides(self, address: str, taken: bool) -> None:
        assert bool(found(host(ports=[port(7443, address=address)]))) is taken

    def test_one_address_is_enough_to_collide_with_all(self) -> None:
        assert found(host(ports=[port(6443, address="10.0.0.1")])) == [("port", "6443", "error")]

    def test_an_unknown_holder(self) -> None:
        entry = host(ports=[{"port": 10250, "address": "::", "process": None}])
        assert "an unknown process" in only(entry).problem


class TestProcesses:
    @pytest.mark.parametrize(
        ("name", "unit", "expected"),
        [
            ("kubelet", "kubelet.service", ("foreign-kubernetes", "kubelet", "error")),
            ("k3s-server", "k3s.service", ("foreign-kubernetes", "k3s-server", "error")),
            ("containerd", "containerd.service", ("foreign-containerd", "", "error")),
        ],
    )
    def test_what_is_in_the_way(self, name: str, unit: str, expected: tuple[str, str, str]) -> None:
        assert found(host(processes=[{"pid": 7, "name": name, "unit": unit}])) == [expected]

    def test_ours_is_not(self) -> None:
        running = [{"pid": 7, "name": "kubelet", "unit": "kubelet.service"}]
        assert found(host(installed=OURS, processes=running)) == []

    def test_a_containerd_within_docker_is_not(self) -> None:
        assert found(host(processes=[{"pid": 7, "name": "containerd", "unit": "docker.service"}])) == []


def test_data_of_another_etcd_matters_where_etcd_goes() -> None:
    assert found(host(groups=("workers",), leftovers=["/var/lib/etcd"])) == [("leftover", "/var/lib/etcd", "warning")]


def test_data_of_another_containerd_matters_where_containers_go() -> None:
    both = ["/var/backups/etcd", "/var/lib/containerd"]
    assert found(host(groups=("workers",), leftovers=both)) == [
        ("leftover", "/var/backups/etcd", "warning"),
        ("foreign-data", "/var/lib/containerd", "error"),
    ]
    assert found(host(groups=("etcd",), leftovers=both[1:])) == [("leftover", "/var/lib/containerd", "warning")]


def test_what_to_do_with_data_of_others_is_said() -> None:
    finding = only(host(leftovers=["/var/lib/containerd"]))
    assert finding.problem.startswith("/var/lib/containerd (containerd_root_directory) has data that kubeproof did not")
    assert finding.remediation == (
        "Set containerd_root_directory to a directory of its own. If nobody needs the data: "
        "find /var/lib/containerd -mindepth 1 -delete"
    )


def test_etcd_s_data_goes_where_the_settings_say() -> None:
    entry = host(leftovers=["/data/etcd", "/var/lib/etcd"])
    elsewhere = Rules.parse({**VALUES, "etcd_data_directory": "/data/etcd/"})
    found = [(finding.id, finding.subject, finding.severity) for finding in check_host(entry, elsewhere)]
    assert found == [("foreign-data", "/data/etcd", "error"), ("leftover", "/var/lib/etcd", "warning")]


def test_the_address_must_be_on_an_interface() -> None:
    finding = only(replace(host(), address="192.0.2.7"))
    assert (finding.id, finding.subject) == ("address", "192.0.2.7")
    assert "10.0.0.1" in finding.remediation


def test_nothing_is_said_of_addresses_when_none_is_known() -> None:
    assert found(host(interfaces={"eth0": {"addresses": []}})) == []


def test_a_container_s_clock_is_its_machine_s() -> None:
    assert found(host(container="podman", clock={"synchronised": False})) == []


def test_a_stub_resolver_with_a_list_behind_it() -> None:
    assert found(host(resolver=stub("192.0.2.53"))) == []


def stub(*servers: str) -> dict[str, Any]:
    """The resolver of systemd-resolved, with others behind it."""
    upstream = "/run/systemd/resolve/resolv.conf"
    return {"nameservers": ["127.0.0.53"], "upstream": upstream, "upstream_nameservers": [*servers]}


@pytest.mark.parametrize(
    ("servers", "severity"),
    [(["127.0.0.1"], "error"), (["::1", "127.0.0.1"], "error"), (["192.0.2.53", "::1"], "warning")],
)
def test_a_stub_resolver_with_one_on_loopback_behind_it(servers: list[str], severity: str) -> None:
    """dnsmasq, say, or unbound: pods are given the list, and in them it is themselves."""
    finding = only(host(resolver=stub(*servers)))
    assert (finding.id, finding.severity) == ("resolver", severity)
    assert finding.problem.startswith("/run/systemd/resolve/resolv.conf names ")
    assert "to systemd-resolved (DNS=)" in finding.remediation


def test_the_resolver_file_of_the_settings_is_the_one_that_counts() -> None:
    def problems(path: str, resolver: dict[str, Any]) -> list[str]:
        rules = Rules.parse({**VALUES, "kubelet_resolv_conf": path})
        return [each.problem.split(",")[0] for each in check_host(host(resolver=resolver), rules)]

    assert problems("/etc/pods.conf", stub("127.0.0.1")) == []
    assert problems("/etc/pods.conf", {"nameservers": ["127.0.0.1"]}) == []
    assert problems("/etc/resolv.conf", stub("192.0.2.53")) == ["/etc/resolv.conf names 127.0.0.53"]
    upstream = {**stub("127.0.0.1"), "nameservers": ["192.0.2.53"]}
    assert problems(upstream["upstream"], upstream) == ["/run/systemd/resolve/resolv.conf names 127.0.0.1"]


class TestNoResolver:
    EMPTY: ClassVar[dict[str, Any]] = {"nameservers": []}

    def test_is_refused_where_dns_would_ask_it(self) -> None:
        finding = only(host(resolver=self.EMPTY))
        assert "/etc/resolv.conf names no resolver" in finding.problem
        assert finding.remediation.startswith("Add a line to /etc/resolv.conf: nameserver ADDRESS.")

    def test_may_have_a_list_elsewhere(self) -> None:
        elsewhere = stub("192.0.2.53")
        finding = only(host(resolver={**elsewhere, **self.EMPTY}))
        upstream = elsewhere["upstream"]
        assert finding.remediation.startswith(f"Set kubelet_resolv_conf: {upstream}, which has some. Or add a line")
        finding = only(host(resolver={**stub("127.0.0.1"), **self.EMPTY}))
        assert finding.remediation.startswith("Add a line to /etc/resolv.conf")

    @pytest.mark.parametrize(
        "values",
        [
            {"dns_forwarders": ["192.0.2.53"]},
            {"kubelet_resolv_conf": "/etc/pods.conf"},
            {"dns_forwarders": ["192.0.2.53"], "kubelet_resolv_conf": "/etc/pods.conf"},
        ],
        ids=str,
    )
    def test_does_not_matter_where_the_settings_have_one(self, values: dict[str, str]) -> None:
        assert list(check_host(host(resolver=self.EMPTY), Rules.parse({**VALUES, **values}))) == []

    def test_does_not_matter_where_no_pods_are(self) -> None:
        assert found(host(groups=("etcd",), resolver=self.EMPTY)) == []

    def test_is_not_mended_by_naming_the_same_file(self) -> None:
        rules = Rules.parse({**VALUES, "kubelet_resolv_conf": "/etc/resolv.conf"})
        assert [each.id for each in check_host(host(resolver=self.EMPTY), rules)] == ["resolver"]


def test_a_resolver_on_loopback_matters_less_where_dns_does_not_ask_it() -> None:
    rules = Rules.parse({**VALUES, "dns_forwarders": ["192.0.2.53"]})
    [finding] = check_host(host(resolver={"nameservers": ["127.0.0.1"]}), rules)
    assert (finding.id, finding.severity) == ("resolver", "warning")
    assert "dnsPolicy Default" in finding.problem


def test_a_host_that_names_itself_is_not_judged() -> None:
    """As local hosts do, where nothing listens: names outside the cluster fail at once."""
    assert found(host(resolver={"nameservers": ["10.0.0.1"]})) == []


class TestSysctls:
    KNOWN: ClassVar = {
        "vm.max_map_count": {"value": "65530", "writable": False},
        "net.ipv4.tcp_rmem": {"value": "4096\t131072\t6291456", "writable": True},
    }

    def found(self, **wanted: str) -> list[str]:
        rules = replace(RULES, sysctls={name.replace("__", "."): value for name, value in wanted.items()})
        return [
            f"{finding.id} {finding.subject}: {finding.problem}"
            for finding in check_host(host(sysctls=self.KNOWN), rules)
        ]

    def test_those_that_are_so_or_can_be_set(self) -> None:
        assert self.found(vm__max_map_count="65530", net__ipv4__tcp_rmem="4096 87380 1") == []

    def test_one_that_the_kernel_does_not_have(self) -> None:
        (problem,) = self.found(vm__max_map_cuont="1")
        assert problem.startswith("sysctl vm.max_map_cuont: its kernel ")

    def test_one_that_comes_with_a_module(self) -> None:
        assert self.found(net__netfilter__nf_conntrack_acct="1") == []

    def test_one_that_may_not_be_set(self) -> None:
        (problem,) = self.found(vm__max_map_count="262144")
        assert problem.endswith("vm.max_map_count is 65530, and may not be set to 262144 here (host_sysctls)")


class TestRouterAdvertisements:
    """A kernel that begins to forward IPv6 drops the default routes that it has from them."""

    def found(
        self, accepted: str = "1", forwarding: str = "0", *, ipv6: bool = True, interface: str = "eth0", **wanted: str
    ) -> list[tuple[str, str]]:
        sysctls = {"net.ipv6.conf.all.forwarding": {"value": forwarding, "writable": True}}
        asked = {f"net.ipv6.conf.{name.replace('__', '.')}": value for name, value in wanted.items()}
        # As the module reports what host_sysctls names.
        sysctls |= {name: {"value": "1", "writable": True} for name in asked if name not in sysctls}
        entry = host(router_advertisements={interface: accepted}, sysctls=sysctls)
        findings = check_host(entry, replace(RULES, ipv6=ipv6, sysctls=asked))
        return [(each.id, each.remediation.partition(",")[0]) for each in findings if each.severity == "error"]

    def test_a_route_would_be_lost(self) -> None:
        assert self.found() == [("accept-ra", 'Set host_sysctls: {net.ipv6.conf.eth0.accept_ra: "2"}')]
        assert self.found("0") == self.found(eth0__accept_ra="1") == self.found(eth1__accept_ra="2") == self.found()
        assert self.found("2", eth0__accept_ra="1") == self.found()

    def test_a_dot_in_the_name_of_an_interface_is_a_slash(self) -> None:
        (found,) = self.found(interface="eth0.100")
        assert found[1] == 'Set host_sysctls: {net.ipv6.conf.eth0/100.accept_ra: "2"}'
        kept: dict[str, Any] = {"eth0/100__accept_ra": "2"}
        assert self.found(interface="eth0.100", **kept) == []

    def test_they_are_accepted_or_will_be(self) -> None:
        assert self.found("2") == self.found(eth0__accept_ra="2") == []

    def test_nodes_forward_already(self) -> None:
        assert self.found(forwarding="1") == []

    def test_nodes_will_not_forward_ipv6_unless_they_are_told_to(self) -> None:
        assert self.found(ipv6=False) == []
        assert self.found(ipv6=False, all__forwarding="1") == self.found()


class TestSecondAddress:
    """IPv6, for a cluster that has networks of it."""

    def found(self, address: str, *, ipv6: bool = True) -> list[tuple[str, str]]:
        interfaces = {
            "eth0": interface("192.0.2.1/24", "2001:db8:0::0001/64"),
            "eth1": interface("198.51.100.1/24", "2001:db8:1::1/64"),
        }
        looked_at = replace(host(interfaces=interfaces), address="192.0.2.1", address_ipv6=address)
        return [(entry.id, entry.subject) for entry in check_host(looked_at, replace(RULES, ipv6=ipv6))]

    def test_on_the_interface_of_the_first(self) -> None:
        assert self.found("2001:db8::1") == self.found("2001:0db8::1") == self.found("") == []

    def test_on_another(self) -> None:
        assert self.found("2001:db8:1::1") == [("address-ipv6", "2001:db8:1::1")]

    def test_on_none(self) -> None:
        assert self.found("2001:db8::9") == [("address-ipv6", "2001:db8::9")]

    def test_of_no_use_to_a_cluster_of_ipv4(self) -> None:
        assert self.found("2001:db8::9", ipv6=False) == []


class TestIPv6Alone:
    RULES = replace(RULES, ipv4=False, ipv6=True)
    ROUTE: ClassVar = {"interface": "eth0", "gateway": "fd00:db8::fe"}

    def found(self, **report: Any) -> list[tuple[str, str, str]]:
        given: dict[str, Any] = {"default_route": None, "default_route_ipv6": self.ROUTE, **report}
        given.setdefault("resolver", {"nameservers": ["2001:db8::53"]})
        entry = host(interfaces={"eth0": interface("fd00:db8::1/64")}, **given)
        entry = replace(entry, address="fd00:db8::1")
        return [(each.id, each.problem, each.severity) for each in check_host(entry, self.RULES)]

    def test_nothing_is_wrong(self) -> None:
        assert self.found() == []

    def test_the_default_route_is_that_of_ipv6(self) -> None:
        [(identity, problem, severity)] = self.found(default_route_ipv6=None, default_route={"interface": "eth0"})
        assert (identity, severity) == ("default-route", "warning")
        assert "it has no IPv6 default route" in problem

    def test_pods_reach_no_resolver_by_ipv4(self) -> None:
        [(identity, problem, severity)] = self.found(resolver={"nameservers": ["192.0.2.53", "192.0.2.54"]})
        assert (identity, severity) == ("resolver", "warning")
        assert "names 192.0.2.53, 192.0.2.54, which pods do not reach" in problem
        assert self.found(resolver={"nameservers": ["192.0.2.53", "2001:db8::53"]}) == []

    def test_nor_one_behind_a_stub(self) -> None:
        [(identity, problem, severity)] = self.found(resolver=stub("192.0.2.53"))
        assert (identity, severity) == ("resolver", "warning")
        assert problem.startswith("/run/systemd/resolve/resolv.conf names 192.0.2.53, which pods do not reach")
        assert self.found(resolver=stub("2001:db8::53")) == []

    def test_a_stub_on_loopback_is_one_finding(self) -> None:
        assert [identity for identity, *_ in self.found(resolver={"nameservers": ["127.0.0.53"]})] == ["resolver"]
