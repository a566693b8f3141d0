"""The module's reading, on made-up hosts; and one look at the host that the tests run on."""

from __future__ import annotations

import errno
import gzip
import json
import os
import platform
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, get_type_hints

import pytest

import host_report
from kubeproof.settings.host_report import HostReport
from kubeproof.settings.portable_python import INTERPRETER

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   {}: {} {} {} 00000000:00000000 00:00000000 00000000     0        0 {} 1 0 100 0 0 10 0\n"


class Fake:
    """A host made of files below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outputs: dict[str, str] = {}
        self.machine = host_report.Machine(str(root), lambda command: self.outputs.get(command[0], ""))

    def file(self, path: str, content: str = "") -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)

    def link(self, path: str, target: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


class TestOperatingSystem:
    def test_debian(self, fake: Fake) -> None:
        fake.file(
            "/etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n# HOME=none\n'
        )
        assert host_report.operating_system(fake.machine) == {
            "id": "debian",
            "version": "12",
            "pretty": "Debian GNU/Linux 12 (bookworm)",
            "like": [],
        }

    def test_where_vendors_put_it(self, fake: Fake) -> None:
        fake.file("/usr/lib/os-release", "ID='rocky'\nID_LIKE='rhel centos fedora'\n")
        found = host_report.operating_system(fake.machine)
        assert (found["id"], found["version"], found["like"]) == ("rocky", "", ["rhel", "centos", "fedora"])

    def test_nowhere(self, fake: Fake) -> None:
        assert host_report.operating_system(fake.machine)["id"] == ""


class TestSystemd:
    def test_running(self, fake: Fake) -> None:
        fake.file("/run/systemd/system/x")
        fake.outputs["systemctl"] = "Version=252.30-1~deb12u2\nSystemState=degraded\nVirtualization=kvm\n"
        assert host_report.systemd(fake.machine) == {
            "init": True,
            "version": 252,
            "state": "degraded",
            "virtualization": "kvm",
        }

    def test_absent(self, fake: Fake) -> None:
        assert host_report.systemd(fake.machine) == {"init": False, "version": None, "state": "", "virtualization": ""}


@pytest.mark.parametrize(
    ("path", "content"), [("/run/systemd/container", "podman\n"), ("/proc/1/environ", "A=b\0container=podman\0C=d\0")]
)
def test_container(fake: Fake, path: str, content: str) -> None:
    assert host_report.container(fake.machine) == ""
    fake.file(path, content)
    assert host_report.container(fake.machine) == "podman"


def test_memory_and_swap(fake: Fake) -> None:
    fake.file("/proc/meminfo", "MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\nHugePages_Total:   0\n")
    fake.file("/proc/swaps", "Filename\t\t\t\tType\n/dev/sda2  partition\t1\t0\t-2\n")
    assert host_report.memory(fake.machine) == {"total": 2 * 1024**2, "available": 1024**2}
    assert host_report.swap_devices(fake.machine) == ["/dev/sda2"]


class TestDisks:
    MOUNTED = (("/", "overlay"), ("/var", "ext4"), ("/var/lib/etcd", "xfs"), ("/var/lib/etcd", "tmpfs"))

    @pytest.mark.parametrize(
        ("path", "kind"),
        [("/", "overlay"), ("/variant", "overlay"), ("/var/lib", "ext4"), ("/var/lib/etcd/member", "tmpfs")],
    )
    def test_type(self, path: str, kind: str) -> None:
        assert host_report.file_system_type(path, list(self.MOUNTED)) == kind

    def test_mount_points_with_spaces(self, fake: Fake) -> None:
        fake.file("/proc/self/mounts", "tmpfs /mnt/my\\040disk tmpfs rw 0 0\n")
        assert host_report.mounts(fake.machine) == [("/mnt/my disk", "tmpfs")]

    def test_what_is_not_there_yet_is_on_its_parent_s(self, fake: Fake) -> None:
        fake.file("/var/lib/dpkg/status")
        found = host_report.disk(fake.machine, "/var/lib/etcd/member", [("/", "ext4")])
        assert (found["on"], found["type"], found["read_only"]) == ("/var/lib", "ext4", False)
        assert 0 < found["free"] <= found["total"]

    def test_links_are_followed(self, fake: Fake) -> None:
        fake.file("/data/etcd/member")
        fake.link("/var/lib/etcd", str(fake.root / "data/etcd"))
        found = host_report.disk(fake.machine, "/var/lib/etcd", [("/", "ext4"), ("/data", "xfs")])
        assert (found["on"], found["type"]) == ("/data/etcd", "xfs")


def test_interfaces(fake: Fake) -> None:
    fake.outputs["ip"] = json.dumps(
        [
            {"ifname": "lo", "link_type": "loopback", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
            {
                "ifname": "eth0",
                "link_type": "ether",
                "address": "52:54:00:00:00:01",
                "mtu": 1400,
                "flags": ["BROADCAST", "UP", "LOWER_UP"],
                "linkinfo": {"info_kind": "veth"},
                "addr_info": [
                    {"local": "10.0.0.1", "prefixlen": 24, "scope": "global"},
                    {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
                    {},
                ],
            },
            {"ifname": "wg0", "link_type": "none", "flags": []},
        ]
    )
    assert host_report.interfaces(fake.machine) == {
        "eth0": {"mac": "52:54:00:00:00:01", "mtu": 1400, "up": True, "kind": "veth", "addresses": ["10.0.0.1/24"]},
        "wg0": {"mac": "", "mtu": 0, "up": False, "kind": "", "addresses": []},
    }


@pytest.mark.parametrize("output", ["", 'Option "-json" is unknown'])
def test_interfaces_that_ip_does_not_tell(fake: Fake, output: str) -> None:
    fake.outputs["ip"] = output
    assert host_report.interfaces(fake.machine) == {}


class TestDefaultRoute:
    HEAD = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"

    def test_the_one_with_the_lowest_metric(self, fake: Fake) -> None:
        rows = (
            "eth0 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
            "wlan0 00000000 0100A8C0 0003 0 0 600 00000000 0 0 0\n"
            "eth0 00000000 FE00000A 0003 0 0 100 00000000 0 0 0\n"
        )
        fake.file("/proc/net/route", self.HEAD + rows)
        assert host_report.default_route(fake.machine) == {"interface": "eth0", "gateway": "10.0.0.254"}

    def test_none(self, fake: Fake) -> None:
        fake.file("/proc/net/route", self.HEAD + "eth0 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n")
        assert host_report.default_route(fake.machine) is None


class TestDefaultRouteOfIPv6:
    NONE, GATEWAY = "0" * 32, "fd000db80000000000000000000000fe"
    # As /proc/net/ipv6_route has it: to, from, next hop, metric, counts, flags, interface.
    ROW = "{to} {length} {none} 00 {gateway} {metric} 00000001 00000000 {flags} {interface}\n"

    def row(self, **changes: str) -> str:
        usual = {"to": self.NONE, "length": "00", "gateway": self.GATEWAY, "metric": "00000400", "flags": "00000003"}
        return self.ROW.format(**{"none": self.NONE, "interface": "eth0", **usual, **changes})

    def test_the_one_with_the_lowest_metric(self, fake: Fake) -> None:
        rows = self.row(metric="00000800", interface="wlan0"), self.row()
        fake.file("/proc/net/ipv6_route", "".join(rows))
        assert host_report.default_route_ipv6(fake.machine) == {"interface": "eth0", "gateway": "fd00:db8::fe"}

    def test_none(self, fake: Fake) -> None:
        unreachable = self.row(gateway=self.NONE, metric="ffffffff", flags="00200200", interface="lo")
        rows = unreachable, self.row(to=self.GATEWAY, length="40"), self.row(length="03")
        fake.file("/proc/net/ipv6_route", "".join(rows))
        assert host_report.default_route_ipv6(fake.machine) is None

    def test_those_of_router_advertisements(self, fake: Fake) -> None:
        """Of the kernel's own making: systemd-networkd's and NetworkManager's do not have that flag."""
        rows = (
            self.row(flags="00450003", interface="eth0.100"),
            self.row(flags="00450003", interface="eth0.100", metric="00000800"),
            self.row(flags="00000003", interface="eth1"),
            # What is on the link itself.
            self.row(flags="00040001", interface="eth2", to=self.GATEWAY, length="40"),
        )
        fake.file("/proc/net/ipv6_route", "".join(rows))
        fake.file("/proc/sys/net/ipv6/conf/eth0.100/accept_ra", "1\n")
        assert host_report.router_advertisements(fake.machine) == {"eth0.100": "1"}

    def test_no_router_advertisements(self, fake: Fake) -> None:
        assert host_report.router_advertisements(fake.machine) == {}


class TestPorts:
    def test_who_listens(self, fake: Fake) -> None:
        fake.file(
            "/proc/net/tcp",
            HEADER
            + ROW.format(0, "0100007F:2808", "00000000:0000", "0A", 501)
            + ROW.format(1, "0100007F:9999", "0100007F:2808", "01", 502),
        )
        fake.file("/proc/net/tcp6", HEADER + ROW.format(0, "0" * 32 + ":280A", "0" * 32 + ":0000", "0A", 503))
        fake.link("/proc/42/fd/3", "socket:[501]")
        fake.link("/proc/42/fd/4", "/dev/null")
        fake.file("/proc/42/comm", "kubelet\n")
        fake.file("/proc/42/cgroup", "12:pids:/x\n1:name=systemd:/system.slice/kubelet.service\n0::/\n")
        assert host_report.ports(fake.machine) == [
            {
                "port": 10248,
                "address": "127.0.0.1",
                "process": {"pid": 42, "name": "kubelet", "unit": "kubelet.service"},
            },
            {"port": 10250, "address": "::", "process": None},
        ]

    def test_addresses(self) -> None:
        assert host_report.ipv4("0B07D50A") == "10.213.7.11"
        assert host_report.ipv6("B80D0120000000000000000001000000") == "2001:db8::1"

    @pytest.mark.parametrize(
        ("cgroups", "unit"),
        [
            ("0::/system.slice/etcd.service\n", "etcd.service"),
            ("0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope"),
            ("0::/system.slice/docker.service/init.scope/deep\n", "init.scope"),
            ("1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n", "a.service"),
            ("0::/\n", ""),
            ("", ""),
        ],
    )
    def test_unit(self, cgroups: str, unit: str) -> None:
        assert host_report.unit(cgroups) == unit


def test_running_processes_but_not_those_of_containers(fake: Fake) -> None:
    for pid, name, namespace in ((2, "kubelet", 1), (3, "kubelet", 9), (4, "bash", 1)):
        fake.file(f"/proc/{pid}/comm", name + "\n")
        fake.file(f"/proc/{pid}/cgroup", "0::/system.slice/kubelet.service\n")
        fake.link(f"/proc/{pid}/ns/pid", f"pid:[{namespace}]")
    fake.link("/proc/self/ns/pid", "pid:[1]")
    assert host_report.running(fake.machine) == [{"pid": 2, "name": "kubelet", "unit": "kubelet.service"}]


class TestCgroup:
    def test_version_2(self, fake: Fake) -> None:
        fake.file("/proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
        fake.file("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
        assert host_report.cgroup(fake.machine) == {
            "version": 2,
            "hybrid": False,
            "controllers": ["cpuset", "cpu", "io", "memory", "pids"],
        }

    @pytest.mark.parametrize("hybrid", [True, False])
    def test_version_1(self, fake: Fake, hybrid: bool) -> None:
        unified = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n" if hybrid else ""
        fake.file("/proc/self/mounts", "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n" + unified)
        fake.file("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t2\t9\t1\nmemory\t0\t1\t0\n")
        assert host_report.cgroup(fake.machine) == {"version": 1, "hybrid": hybrid, "controllers": ["cpu"]}


def test_capabilities(fake: Fake) -> None:
    fake.file("/proc/1/status", "Name:\tsystemd\nCapEff:\t0000000001201000\nCapBnd:\t000001ffffffffff\n")
    assert host_report.capabilities(fake.machine, "1") == ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"]
    assert host_report.capabilities(fake.machine, "2") == []


@pytest.mark.parametrize(
    ("mapped", "within"),
    [("         0          0 4294967295\n", False), ("         0       1000          1\n", True), ("", False)],
)
def test_user_namespace(fake: Fake, mapped: str, within: bool) -> None:
    fake.file("/proc/self/uid_map", mapped)
    assert host_report.user_namespace(fake.machine) is within


def test_limits(fake: Fake) -> None:
    fake.file(
        "/proc/1/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max processes             96365                unlimited            processes \n"
        "Max open files            1024                 524288               files     \n",
    )
    assert host_report.hard_limits(fake.machine, "1") == {"nofile": 524288, "nproc": None}


class TestKernelModules:
    RELEASE = platform.release()

    def test_none(self, fake: Fake) -> None:
        assert set(host_report.kernel_modules(fake.machine).values()) == {"missing"}

    def test_each_way_to_be_there(self, fake: Fake) -> None:
        fake.file("/proc/modules", "nf_conntrack 172032 3 - Live 0x0\n")
        fake.file("/proc/filesystems", "nodev\tsysfs\n\text4\nnodev\toverlay\n")
        fake.file("/proc/sys/net/bridge/bridge-nf-call-iptables", "1")
        fake.file("/sys/module/vxlan/parameters/udp_port", "0")
        fake.file("/sys/module/ip_set/parameters/max_sets", "0")
        fake.file("/sys/class/net/tunl0/mtu", "1480")
        fake.file(f"/lib/modules/{self.RELEASE}/modules.builtin", "kernel/net/ipv4/netfilter/ip_tables.ko\n")
        fake.file(f"/lib/modules/{self.RELEASE}/modules.dep", "kernel/net/netfilter/nf-tables.ko.zst: a.ko b.ko\n")
        assert host_report.kernel_modules(fake.machine) == {
            "br_netfilter": "builtin",
            "ip_set": "builtin",
            "ip_tables": "builtin",
            "ipip": "builtin",
            "nf_conntrack": "loaded",
            "nf_tables": "loadable",
            "overlay": "builtin",
            "vxlan": "builtin",
        }

    @pytest.mark.parametrize(("option", "state"), [("y", "builtin"), ("m", "missing")])
    def test_by_build_option(self, fake: Fake, option: str, state: str) -> None:
        fake.file(f"/boot/config-{self.RELEASE}", f"CONFIG_NF_TABLES={option}\n# CONFIG_VXLAN is not set\n")
        found = host_report.kernel_modules(fake.machine)
        assert (found["nf_tables"], found["vxlan"]) == (state, "missing")

    def test_by_the_kernel_s_own_word(self, fake: Fake) -> None:
        fake.file("/proc/1/x")
        (fake.root / "proc/config.gz").write_bytes(gzip.compress(b"CONFIG_NF_TABLES=y\n"))
        assert host_report.kernel_modules(fake.machine)["nf_tables"] == "builtin"


def test_sysctls(fake: Fake) -> None:
    fake.file("/proc/sys/net/ipv4/ip_forward", "1\n")
    fake.file("/proc/sys/net/ipv4/conf/eth0.100/rp_filter", "2\n")
    forward = {"net.ipv4.ip_forward": {"value": "1", "writable": True}}
    assert host_report.sysctls(fake.machine) == forward
    more = "net.ipv4.conf.eth0/100.rp_filter"
    found = host_report.sysctls(fake.machine, [more, "vm.absent", "net.ipv4.ip_forward"])
    assert found == forward | {more: {"value": "2", "writable": True}}


@pytest.mark.parametrize(
    ("upstream", "expected", "servers"),
    [("nameserver 192.0.2.1\n", "/run/systemd/resolve/resolv.conf", ["192.0.2.1"]), ("# none\n", "", [])],
)
def test_resolver(fake: Fake, upstream: str, expected: str, servers: list[str]) -> None:
    fake.file("/etc/resolv.conf", "search example.org\nnameserver 127.0.0.53\n")
    fake.file("/run/systemd/resolve/resolv.conf", upstream)
    assert host_report.resolver(fake.machine) == {
        "nameservers": ["127.0.0.53"],
        "upstream": expected,
        "upstream_nameservers": servers,
    }


class TestInstalled:
    ENTRIES = (
        {"kind": "user", "name": "etcd"},
        {"kind": "unit", "name": "etcd.service"},
        {"kind": "setting", "name": "cluster_name", "value": "mine"},
    )

    def test_new(self, fake: Fake) -> None:
        assert host_report.installed(fake.machine, host_report.manifest(fake.machine)) == {
            "manifest": False,
            "units": [],
            "active": [],
            "settings": {},
            "components": {},
        }

    def test_units(self, fake: Fake) -> None:
        fake.file("/var/lib/kubeproof/manifest.json", json.dumps({"version": 1, "entries": self.ENTRIES}))
        fake.file("/var/lib/kubeproof/components.json", json.dumps({"versions": {"etcd": "3.7.3"}}))
        fake.link("/etc/systemd/system/multi-user.target.wants/etcd.service", "../etcd.service")
        assert host_report.installed(fake.machine, host_report.manifest(fake.machine)) == {
            "manifest": True,
            "units": ["etcd.service"],
            "active": ["etcd.service"],
            "settings": {"cluster_name": "mine"},
            "components": {"etcd": "3.7.3"},
        }

    def test_what_is_recorded_precedes_what_a_file_has(self, fake: Fake) -> None:
        fake.file("/etc/etcd/etcd.yaml", "initial-cluster-token: other\n")
        file = {"kind": "file", "path": "/etc/etcd/etcd.yaml"}
        assert host_report.installed(fake.machine, [file])["settings"] == {"cluster_name": "other"}
        assert host_report.installed(fake.machine, [file, *self.ENTRIES])["settings"] == {"cluster_name": "mine"}

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}'])
    def test_a_broken_manifest_is_none(self, fake: Fake, content: str) -> None:
        fake.file("/var/lib/kubeproof/manifest.json", content)
        assert host_report.manifest(fake.machine) == []


class TestActive:
    UNITS: ClassVar[set[str]] = {
        "etcd.service",
        "etcd-backup.timer",
        "kubelet.service",
        "kube-apiserver.service",
        "kube-proxy.service",
    }

    @pytest.mark.parametrize("cgroup", ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd"])
    def test_what_is_enabled_runs_or_is_a_pod(self, fake: Fake, cgroup: str) -> None:
        fake.link("/etc/systemd/system/timers.target.wants/etcd-backup.timer", "../etcd-backup.timer")
        fake.link("/etc/systemd/system/multi-user.target.wants/ssh.service", "/lib/systemd/system/ssh.service")
        fake.file(f"{cgroup}/system.slice/kubelet.service/cgroup.procs")
        fake.file("/etc/kubernetes/manifests/kube-apiserver.yaml")
        fake.file("/etc/kubernetes/manifests/mine.yaml")
        assert host_report.active(fake.machine, self.UNITS) == [
            "etcd-backup.timer",
            "kubelet.service",
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
        ]

    def test_what_was_stopped_and_disabled_is_not(self, fake: Fake) -> None:
        fake.file("/etc/systemd/system/etcd.service")
        fake.file("/sys/fs/cgroup/system.slice/ssh.service/cgroup.procs")
        assert host_report.active(fake.machine, self.UNITS) == []


@pytest.mark.parametrize(
    ("content", "versions"),
    [
        ("", {}),
        ("[]", {}),
        ('{"version": 1, "files": {}}', {}),
        ('{"version": 1, "files": {}, "versions": {"etcd": "3.7.3"}}', {"etcd": "3.7.3"}),
    ],
)
def test_component_versions(fake: Fake, content: str, versions: dict[str, str]) -> None:
    fake.file("/var/lib/kubeproof/components.json", content)
    assert host_report.component_versions(fake.machine) == versions


class TestLeftovers:
    def test_nothing_in_them(self, fake: Fake) -> None:
        (fake.root / "etc/kubernetes").mkdir(parents=True)
        assert host_report.leftovers(fake.machine, [], {host_report.ETCD: "/var/lib/etcd"}) == []

    def test_of_others(self, fake: Fake) -> None:
        fake.file("/etc/kubernetes/admin.conf")
        fake.file("/var/lib/etcd/member/wal/0.wal")
        assert host_report.leftovers(fake.machine, [], {host_report.ETCD: "/var/lib/etcd"}) == [
            "/etc/kubernetes",
            "/var/lib/etcd",
        ]

    def test_where_we_made_something_it_is_ours(self, fake: Fake) -> None:
        fake.file("/etc/kubernetes/pki/ca.crt")
        fake.file("/etc/kubernetesque")
        made = [{"kind": "file", "path": "/etc/kubernetes/pki/ca.crt"}]
        assert host_report.leftovers(fake.machine, made, {host_report.ETCD: "/var/lib/etcd"}) == []
        others = [{"kind": "file", "path": "/etc/kubernetesque"}]
        assert host_report.leftovers(fake.machine, others, {host_report.ETCD: "/var/lib/etcd"}) == ["/etc/kubernetes"]

    def test_what_our_unit_wrote_is_ours(self, fake: Fake) -> None:
        fake.file("/var/lib/etcd/member/wal/0.wal")
        assert (
            host_report.leftovers(
                fake.machine, [{"kind": "unit", "name": "etcd.service"}], {host_report.ETCD: "/var/lib/etcd"}
            )
            == []
        )

    @pytest.mark.parametrize("wanted", ["/data/etcd", "/data/etcd/"])
    def test_where_etcd_s_data_is_to_be_is_looked_at(self, fake: Fake, wanted: str) -> None:
        fake.file("/data/etcd/member/wal/0.wal")
        assert host_report.leftovers(fake.machine, [], {host_report.ETCD: wanted}) == ["/data/etcd"]
        assert (
            host_report.leftovers(fake.machine, [{"kind": "unit", "name": "etcd.service"}], {host_report.ETCD: wanted})
            == []
        )

    def test_where_other_data_is_to_be_too(self, fake: Fake) -> None:
        fake.file("/srv/images/io.containerd.metadata.v1.bolt/meta.db")
        fake.file("/srv/backups/holiday.jpg")
        data = {"containerd.service": "/srv/images/", "etcd-backup.timer": "/srv/backups"}
        assert host_report.leftovers(fake.machine, [], data) == ["/srv/backups", "/srv/images"]
        ours = [{"kind": "unit", "name": name} for name in data]
        assert host_report.leftovers(fake.machine, ours, data) == []

    def test_backups_that_a_reset_has_kept_are_nobody_else_s(self, fake: Fake) -> None:
        fake.file("/srv/backups/20261121T200000Z-cp1/manifest.json")
        fake.file("/srv/backups/.lock")
        assert host_report.leftovers(fake.machine, [], {"etcd-backup.timer": "/srv/backups"}) == []

    def test_a_new_file_system_is_empty(self, fake: Fake) -> None:
        (fake.root / "data/etcd/lost+found").mkdir(parents=True)
        assert host_report.leftovers(fake.machine, [], {host_report.ETCD: "/data/etcd"}) == []


def test_programs_that_have_versions() -> None:
    entries = [{"kind": "file", "path": f"/opt/bin/{name}"} for name in ("kube-scheduler", "runc", "kubectl")]
    found = host_report.installed_programs([*entries, {"kind": "unit", "name": "etcd"}])
    assert found == {"kube-scheduler": "/opt/bin/kube-scheduler", "runc": "/opt/bin/runc"}


def test_plugins_that_have_versions() -> None:
    paths = ("/opt/cni/bin/bridge", "/opt/cni/bin/flannel", "/srv/loopback")
    assert host_report.installed_programs([{"kind": "file", "path": path} for path in paths]) == {
        "bridge": "/opt/cni/bin/bridge"
    }


def test_a_command_that_is_not_there_says_nothing() -> None:
    assert host_report.run(["/nonexistent/command"]) == ""
    assert host_report.run(["sh", "-c", "echo out; exit 3"]) == "out\n"


def test_a_command_may_be_a_file_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "protocols"
    assert host_report.command(str(path)) is None
    path.write_text("tcp 6 TCP\n")
    assert host_report.command(str(path)) == str(path)
    assert "/etc/protocols" in host_report.COMMANDS


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("rw,nosuid", ""),
        ("rw,nosuid,hidepid=2", "2"),
        ("rw,gid=110,hidepid=invisible", "invisible"),
        ("rw,hidepid=0", ""),
        ("rw,hidepid=off", ""),
    ],
)
def test_hidden_processes(fake: Fake, options: str, expected: str) -> None:
    fake.file(
        "/proc/self/mounts", f"proc /proc proc rw,hidepid=1 0 0\nproc /proc proc {options} 0 0\ntmpfs /x tmpfs rw 0 0\n"
    )
    assert host_report.hidepid(fake.machine) == expected


@pytest.mark.parametrize(
    ("said", "expected"), [("Python 3.6.8\n", "3.6.8"), ("Python 3.13.0rc2\n", "3.13.0rc2"), ("", "")]
)
def test_the_python_of_services(fake: Fake, said: str, expected: str) -> None:
    fake.outputs["/usr/bin/python3"] = said
    assert host_report.service_python(fake.machine) == ("/usr/bin/python3", expected)


@pytest.mark.parametrize("own", ["", "Python 3.6.8\n", "Python 3.11.2\n"])
def test_the_python_that_was_taken_there_is_for_hosts_without_one(fake: Fake, own: str) -> None:
    ours = "/opt/kubeproof/python/bin/python3"
    fake.outputs |= {"/usr/bin/python3": own, ours: "Python 3.13.5\n"}
    expected = ("/usr/bin/python3", "3.11.2") if "3.11" in own else (ours, "3.13.5")
    assert host_report.service_python(fake.machine) == expected
    assert ours == INTERPRETER, "as the controller has it"


@pytest.mark.parametrize("option", [0, os.ST_NOEXEC, os.ST_NODEV | os.ST_NOSUID])
def test_file_systems_on_which_programs_do_not_run(monkeypatch: pytest.MonkeyPatch, option: int) -> None:
    status = os.statvfs("/")
    sizes = {name: getattr(status, name) for name in dir(status) if name.startswith("f_")}
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(**{**sizes, "f_flag": option}))
    found = host_report.disk(host_report.Machine(), "/", [])
    assert (found["noexec"], found["nodev"]) == (option == os.ST_NOEXEC, bool(option & os.ST_NODEV))


class TestEtcdDisk:
    @pytest.fixture(autouse=True)
    def slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a hundred writes two are slow: the second slowest is the percentile."""
        now = [0.0]
        took = iter([*[0.001] * 50, 0.5, *[0.001] * 20, 0.020, *[0.001] * 500])
        monkeypatch.setattr(time, "perf_counter", lambda: now[0])
        monkeypatch.setattr(os, "fdatasync", lambda _: now.__setitem__(0, now[0] + next(took)))

    def test_the_percentile_is_told_and_nothing_is_left(self, fake: Fake) -> None:
        (fake.root / "data").mkdir()
        found = host_report.sync_speed(fake.machine, "/data/etcd/below")
        assert found == {"writes": 100, "p99": pytest.approx(0.020)}
        assert list((fake.root / "data").iterdir()) == []

    def test_also_where_a_file_cannot_be_without_a_name(self, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = os.open

        def named(path: str, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "not supported")
            return opened(path, flags, mode)

        monkeypatch.setattr(os, "open", named)
        assert host_report.sync_speed(fake.machine, "/") == {"writes": 100, "p99": pytest.approx(0.020)}
        assert list(fake.root.iterdir()) == []

    def test_it_takes_no_longer_than_that(self, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(host_report, "SYNC_SECONDS", 0.1)
        assert host_report.sync_speed(fake.machine, "/") == {"writes": 51, "p99": pytest.approx(0.5)}

    def test_where_nothing_can_be_written_nothing_is_told(self, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(os, "write", full)
        assert host_report.sync_speed(fake.machine, "/") is None
        monkeypatch.setattr(host_report, "unnamed_file", full)
        assert host_report.sync_speed(fake.machine, "/") is None


@pytest.mark.parametrize("member", ["none", "data", "unit", "unasked"])
def test_only_a_host_without_a_member_is_measured(member: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if member == "data":
        (tmp_path / "member" / "wal").mkdir(parents=True)
        (tmp_path / "member" / "wal" / "0.wal").touch()
    entries = [{"kind": "unit", "name": "etcd.service"}] if member == "unit" else []
    monkeypatch.setattr(host_report, "manifest", lambda _: entries)
    monkeypatch.setattr(host_report, "sync_speed", lambda _machine, path: {"path": path})
    data = {host_report.ETCD: str(tmp_path)}
    found = host_report.report(host_report.Machine(), [], data, etcd_disk=member != "unasked")
    assert found["etcd_disk"] == ({"path": str(tmp_path)} if member == "none" else None)


class TestFirewall:
    LOADED: ClassVar = {"nf_tables": "loaded"}

    @staticmethod
    def listed(*chains: dict[str, object]) -> str:
        """As nft 1.0.6 lists them."""
        metainfo = {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}
        return json.dumps({"nftables": [metainfo, *({"chain": chain} for chain in chains)]})

    @staticmethod
    def chain(**changes: object) -> dict[str, object]:
        base = {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter", "prio": 0}
        return base | {"hook": "forward", "policy": "drop"} | changes

    def found(self, fake: Fake, *chains: dict[str, object]) -> list[tuple[str, str, str, str, str]]:
        fake.outputs["nft"] = self.listed(*chains)
        chains = host_report.firewall(fake.machine, self.LOADED)["chains"]
        return [tuple(chain[key] for key in ("program", "family", "table", "name", "hook")) for chain in chains]  # type: ignore[misc]

    def test_policies_of_iptables_are_among_those_of_nft(self, fake: Fake) -> None:
        assert self.found(
            fake,
            self.chain(),
            self.chain(name="INPUT", hook="input"),
            self.chain(family="inet", table="mine", name="in", hook="input"),
            self.chain(family="ip6"),
        ) == [
            ("nft", "ip", "filter", "FORWARD", "forward"),
            ("nft", "ip", "filter", "INPUT", "input"),
            ("nft", "inet", "mine", "in", "input"),
            ("nft", "ip6", "filter", "FORWARD", "forward"),
        ]

    @pytest.mark.parametrize(
        "harmless",
        [
            {"policy": "accept"},
            {"hook": "output"},
            {"family": "netdev"},
            {"table": "kubeproof"},
            {"table": "kube-proxy"},
        ],
        ids=str,
    )
    def test_what_drops_nothing_of_ours(self, fake: Fake, harmless: dict[str, object]) -> None:
        assert self.found(fake, self.chain(**harmless)) == []

    def test_chains_without_a_hook(self, fake: Fake) -> None:
        assert self.found(fake, {"family": "ip", "table": "filter", "name": "X", "handle": 2}) == []

    def test_without_nft_iptables_is_asked(self, fake: Fake) -> None:
        fake.outputs["iptables-nft"] = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT DROP\n-N DOCKER-USER\n"
        assert host_report.firewall(fake.machine, self.LOADED)["chains"] == [
            {"program": "iptables-nft", "family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward",
             "by": "policy"}
        ]  # fmt: skip

    def test_nothing_is_asked_that_would_load_a_module(self, fake: Fake) -> None:
        fake.outputs = {"nft": self.listed(self.chain()), "iptables-legacy": "-P INPUT DROP\n"}
        assert host_report.firewall(fake.machine, {"nf_tables": "loadable"}) == {"ufw": False, "chains": []}

    def test_legacy_tables_are_asked_for_where_there_are_any(self, fake: Fake) -> None:
        fake.outputs["iptables-legacy"] = "-P INPUT DROP\n-P FORWARD ACCEPT\n"
        fake.file("/proc/net/ip_tables_names", "nat\nfilter\n")
        assert host_report.firewall(fake.machine, {"nf_tables": "missing"})["chains"] == [
            {"program": "iptables-legacy", "family": "ip", "table": "filter", "name": "INPUT", "hook": "input",
             "by": "policy"}
        ]  # fmt: skip

    def test_programs_of_ipv6_are_asked_too(self, fake: Fake) -> None:
        fake.outputs = {"ip6tables-nft": "-P FORWARD DROP\n", "ip6tables-legacy": "-P INPUT DROP\n"}
        fake.file("/proc/net/ip6_tables_names", "filter\n")
        assert host_report.firewall(fake.machine, self.LOADED)["chains"] == [
            {"program": "ip6tables-nft", "family": "ip6", "table": "filter", "name": "FORWARD", "hook": "forward",
             "by": "policy"},
            {"program": "ip6tables-legacy", "family": "ip6", "table": "filter", "name": "INPUT", "hook": "input",
             "by": "policy"},
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("rules", "drops"),
        [
            ("-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n", True),
            ("-A FORWARD -s 10.0.0.0/8 -j ACCEPT\n-A FORWARD -j DROP\n", True),
            ("-A FORWARD -i eth0 -j DROP\n", False),
            ("-A FORWARD -m conntrack --ctstate INVALID -j DROP\n-A FORWARD -j KUBE-FORWARD\n", False),
            ("-A INPUT -j DROP\n", False),
        ],
    )
    def test_a_rule_for_all_the_rest_is_as_good_as_a_policy(self, fake: Fake, rules: str, drops: bool) -> None:
        """As iptables-services of RHEL and images of clouds have it: accepted by policy, rejected by the last rule."""
        expected = [("ip", "FORWARD", "rule")] if drops else []
        fake.outputs = {"nft": self.listed(self.chain(policy="accept")), "iptables-nft": f"-P FORWARD ACCEPT\n{rules}"}
        chains = host_report.firewall(fake.machine, self.LOADED)["chains"]
        assert [(chain["family"], chain["name"], chain["by"]) for chain in chains] == expected
        fake.outputs = {"iptables-legacy": f"-P INPUT ACCEPT\n-P FORWARD ACCEPT\n{rules}"}
        fake.file("/proc/net/ip_tables_names", "filter\n")
        chains = host_report.firewall(fake.machine, {"nf_tables": "missing"})["chains"]
        assert [chain["by"] for chain in chains if chain["name"] == "FORWARD"] == ["rule"] * drops

    @pytest.mark.parametrize(
        ("expressions", "drops"),
        [
            (
                [{"counter": {"packets": 0, "bytes": 0}}, {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}],
                True,
            ),
            ([{"log": {"prefix": "x"}}, {"drop": None}], True),
            ([{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}, {"drop": None}], False),
            ([{"jump": {"target": "filter_FORWARD_ZONES"}}], False),
        ],
    )
    def test_firewalld_rejects_by_a_rule(
        self, expressions: list[dict[str, object]], drops: bool, tmp_path: Path
    ) -> None:
        chain = self.chain(family="inet", table="firewalld", name="filter_FORWARD", policy="accept")
        of_chain = json.dumps(
            {"nftables": [{"chain": chain}, {"rule": {"chain": "filter_FORWARD", "expr": expressions}}]}
        )
        answers = {
            "nft --json list chains": self.listed(chain),
            "nft --json list chain inet firewalld filter_FORWARD": of_chain,
        }
        machine = host_report.Machine(str(tmp_path), lambda command: answers.get(" ".join(command), ""))
        found = host_report.firewall(machine, self.LOADED)["chains"]
        assert [(each["table"], each["name"], each["by"]) for each in found] == (
            [("firewalld", "filter_FORWARD", "rule")] if drops else []
        )

    def test_an_answer_that_is_none(self, fake: Fake) -> None:
        fake.outputs["nft"] = "Error: JSON support not compiled-in"
        assert host_report.firewall(fake.machine, self.LOADED)["chains"] == []

    @pytest.mark.parametrize(
        ("text", "enabled"),
        [
            ("# comment\nENABLED=yes\nLOGLEVEL=low\n", True),
            ("ENABLED=no\n", False),
            ("#ENABLED=yes\n", False),
            ("", False),
        ],
    )
    def test_ufw(self, fake: Fake, text: str, enabled: bool) -> None:
        fake.file("/etc/ufw/ufw.conf", text)
        assert host_report.firewall(fake.machine, self.LOADED)["ufw"] is enabled


def test_the_report_of_this_very_host_has_the_documented_shape() -> None:
    found = host_report.report(
        host_report.Machine(), ["/", "/var/lib/kubeproof-test/none"], {host_report.ETCD: "/var/lib/etcd"}
    )
    # When it was asked is the action plugin's to say.
    assert found.keys() == get_type_hints(HostReport).keys() - {"asked"}
    json.dumps(found)
    assert found["hostname"] == platform.node()
    assert found["disks"]["/var/lib/kubeproof-test/none"]["on"] == "/var/lib"
    assert found["clock"]["start"] <= found["clock"]["end"] < found["clock"]["start"] + 5
    assert os.cpu_count() == found["cpus"]


def test_programs_of_runtime_handlers_say_what_they_are(tmp_path: Path) -> None:
    handler, silent = tmp_path / "crun", tmp_path / "other"
    for path, says in ((handler, "echo crun version 1.21; echo spec: 1.0.0"), (silent, "exit 1")):
        path.write_text(f"#!/bin/sh\n{says}\n")
        path.chmod(0o755)
    asked = (str(handler), str(silent), str(tmp_path / "none"))
    data = {host_report.ETCD: "/var/lib/etcd"}
    found = host_report.report(host_report.Machine(), [], data, programs=asked, writes=False)
    assert found["handlers"] == {str(handler): "1.21"}
    assert not found["installed"]["versions"].keys() & {*asked}, "they are no components"


@pytest.mark.parametrize(("program", "legacy"), [("xtables-legacy-multi", True), ("xtables-nft-multi", False)])
def test_which_iptables_it_is_shows_where_it_leads_to(program: str, legacy: bool, tmp_path: Path) -> None:
    (tmp_path / program).touch()
    (tmp_path / "alternative").symlink_to(program)
    (tmp_path / "iptables").symlink_to("alternative")
    assert host_report.is_legacy(str(tmp_path / "iptables")) is legacy
    assert not host_report.is_legacy(None)
