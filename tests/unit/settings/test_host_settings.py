"""Facts decide: what follows from a host's report."""

from __future__ import annotations

from typing import Any

import pytest
from plugins.filter.host_settings import patience
from tests.unit.preflight.builders import MEBIBYTE, report

from kubeproof.settings.host_settings import OPEN_FILES, conntrack_sysctls, derive, inotify_sysctls

# What a container on this project's build machines looks like, in what matters (docs: proven facts).
CONTAINER: dict[str, Any] = {
    "container": "podman",
    "cgroup": {"version": 1, "hybrid": True},
    "capabilities": {"init": ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]},
    "limits": {"init": {"nofile": 20000}},
    "sysctls": {"net.netfilter.nf_conntrack_max": {"writable": False}},
}


def test_a_usual_host_gets_the_usual_settings() -> None:
    assert derive(report()) == {
        "kubelet": {
            "cgroupDriver": "systemd",
            "failCgroupV1": True,
            "failSwapOn": True,
            "featureGates": {},
            "resolvConf": "/etc/resolv.conf",
        },
        "containerd": {"systemd_cgroup": True, "restrict_oom_score_adj": False},
        "conntrack": {"writable": True, "max": 131072},
        "inotify": {"writable": True, "present": {}},
        "reserved": {"kube": {"cpu": "35m", "memory": "512Mi"}, "system": {"cpu": "35m", "memory": "512Mi"}},
        "limits": {"nofile": OPEN_FILES, "negative_oom_score": True},
        "patience": 1.0,
        "python": "/usr/bin/python3",
        "reasons": [],
    }


def test_services_run_by_the_python_that_was_taken_there() -> None:
    found = derive(report(service_python_path="/opt/kubeproof/python/bin/python3"))
    assert found["python"] == "/opt/kubeproof/python/bin/python3"
    assert len(found["reasons"]) == 1


@pytest.mark.parametrize(("seconds", "factor"), [(0.05, 1.0), (0.25, 5.0), (3.0, 10.0)])
def test_a_slow_host_is_given_time(seconds: float, factor: float) -> None:
    assert derive(report(work_seconds=seconds))["patience"] == factor
    hosts = {
        "quick": {"ansible_facts": {"kubeproof_host": report()}},
        "slow": {"ansible_facts": {"kubeproof_host": report(work_seconds=seconds)}},
        "away": {"ansible_facts": {"kubeproof_host": {"unreachable": True}}},
        "new": {},
    }
    assert patience(list(hosts), hosts) == factor


def test_a_container_with_less_gets_what_works_there() -> None:
    assert derive(report(**CONTAINER)) == {
        "kubelet": {
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": True,
            "featureGates": {"KubeletInUserNamespace": True},
            "resolvConf": "/etc/resolv.conf",
        },
        "containerd": {"systemd_cgroup": False, "restrict_oom_score_adj": True},
        "conntrack": {"writable": False, "max": 131072},
        "inotify": {"writable": False, "present": {}},
        "reserved": {"kube": {"cpu": "35m", "memory": "512Mi"}, "system": {"cpu": "35m", "memory": "512Mi"}},
        "limits": {"nofile": 20000, "negative_oom_score": False},
        "patience": 1.0,
        "python": "/usr/bin/python3",
        "reasons": [
            "cgroup version 1: kubelet's cgroupDriver is cgroupfs, and failCgroupV1 is off",
            "CAP_SYS_RESOURCE is missing: KubeletInUserNamespace is on, and containerd's restrict_oom_score_adj",
            "net.netfilter.nf_conntrack_max cannot be written here: connection tracking is left as it is",
            "open files are limited to 20000, and CAP_SYS_RESOURCE to raise that is missing",
        ],
    }


@pytest.mark.parametrize("part", sorted(set(CONTAINER) - {"container", "limits"}))
def test_each_lack_alone_has_one_reason(part: str) -> None:
    assert len(derive(report(**{part: CONTAINER[part]}))["reasons"]) == 1


def test_a_capability_in_a_user_namespace_is_worth_nothing_to_the_kernel() -> None:
    found = derive(report(user_namespace=True))
    assert found["kubelet"]["featureGates"] == {"KubeletInUserNamespace": True}
    assert not found["limits"]["negative_oom_score"]


@pytest.mark.parametrize(("limit", "expected"), [(None, OPEN_FILES), (2**30, OPEN_FILES), (4096, 4096)])
def test_open_files_without_the_right_to_raise_the_limit(limit: int | None, expected: int) -> None:
    found = derive(report(capabilities={"init": []}, limits={"init": {"nofile": limit}}))
    assert found["limits"]["nofile"] == expected


def test_a_limit_that_may_be_raised_does_not_matter() -> None:
    assert derive(report(limits={"init": {"nofile": 1024}}))["limits"]["nofile"] == OPEN_FILES


@pytest.mark.parametrize("stub", ["127.0.0.53", "127.0.0.1", "::1"])
def test_pods_are_given_what_is_behind_a_stub_on_loopback(stub: str) -> None:
    upstream = "/run/systemd/resolve/resolv.conf"
    found = derive(report(resolver={"nameservers": [stub], "upstream": upstream}))
    assert found["kubelet"]["resolvConf"] == upstream
    assert derive(report(resolver={"nameservers": [stub]}))["kubelet"]["resolvConf"] == "/etc/resolv.conf"


def test_conntrack_before_its_module_is_loaded() -> None:
    unloaded = {**report(), "sysctls": {}}
    assert derive(unloaded)["conntrack"]["writable"]  # type: ignore[arg-type]
    within = {**unloaded, "container": "lxc"}
    assert not derive(within)["conntrack"]["writable"]  # type: ignore[arg-type]


# k8s.io/kubernetes pkg/proxy/conntrack/sysctls.go, getConntrackMax, with the defaults of KubeProxyConfiguration.
@pytest.mark.parametrize(
    ("cpus", "limit"), [(1, 131072), (4, 131072), (5, 163840), (32, 1048576), (33, 1048576), (256, 1048576)]
)
def test_connections_are_counted_as_kube_proxy_would(cpus: int, limit: int) -> None:
    assert derive(report(cpus=cpus))["conntrack"]["max"] == limit


def test_what_connection_tracking_is_given() -> None:
    host = derive(report())["conntrack"]
    assert conntrack_sysctls(host, 131072, 86400, 3600) == {
        "net.netfilter.nf_conntrack_buckets": "131072",
        "net.netfilter.nf_conntrack_max": "131072",
        "net.netfilter.nf_conntrack_tcp_timeout_established": "86400",
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "3600",
    }


def test_zero_leaves_a_setting_of_connection_tracking_as_it_is() -> None:
    host = derive(report())["conntrack"]
    assert conntrack_sysctls(host, 0, 0, 60) == {"net.netfilter.nf_conntrack_tcp_timeout_close_wait": "60"}
    assert conntrack_sysctls(host, 0, 0, 0) == {}


@pytest.mark.parametrize(("limit", "buckets"), [(1000, "8192"), (8192, "8192"), (100000, "106496")])
def test_the_kernel_takes_the_size_of_the_table_as_it_is_given(limit: int, buckets: str) -> None:
    """It rounds up to whole pages, of up to 64 KiB; a value that it changes would be set again by each run."""
    assert conntrack_sysctls({"writable": True, "max": 0}, limit, 0, 0) == {
        "net.netfilter.nf_conntrack_buckets": buckets,
        "net.netfilter.nf_conntrack_max": str(limit),
    }


def test_nothing_is_attempted_where_limits_cannot_be_written() -> None:
    assert conntrack_sysctls(derive(report(**CONTAINER))["conntrack"], 131072, 86400, 3600) == {}


def inotify(instances: int, watches: int, *, writable: bool = True) -> dict[str, Any]:
    return {
        "fs.inotify.max_user_instances": {"value": str(instances), "writable": writable},
        "fs.inotify.max_user_watches": {"value": str(watches), "writable": writable},
    }


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ((128, 65536), {"fs.inotify.max_user_instances": "8192", "fs.inotify.max_user_watches": "524288"}),
        # After a run they are what is wanted, and stay in the file for the next boot.
        ((8192, 524288), {"fs.inotify.max_user_instances": "8192", "fs.inotify.max_user_watches": "524288"}),
        ((128, 1048576), {"fs.inotify.max_user_instances": "8192"}),
        ((8193, 1048576), {}),
    ],
)
def test_limits_of_inotify_are_raised_and_never_lowered(present: tuple[int, int], expected: dict[str, str]) -> None:
    found = derive(report(sysctls=inotify(*present)))
    assert inotify_sysctls(found["inotify"], 8192, 524288) == expected
    assert found["reasons"] == []


def test_limits_of_inotify_are_settings() -> None:
    host = derive(report(sysctls=inotify(128, 65536)))["inotify"]
    assert inotify_sysctls(host, 0, 100000) == {"fs.inotify.max_user_watches": "100000"}


@pytest.mark.parametrize("changes", [{"container": "podman"}, {"sysctls": inotify(128, 524288, writable=False)}])
def test_limits_of_inotify_are_left_to_who_can_write_them(changes: dict[str, Any]) -> None:
    """In a container they may look writable, and are its machine's, also for all of its other containers."""
    found = derive(report(**{"sysctls": inotify(128, 524288), **changes}))
    assert inotify_sysctls(found["inotify"], 8192, 524288) == {}
    assert found["reasons"] == [
        "fs.inotify.max_user_instances is 128, and cannot be raised here: too few for some dozens of pods"
    ]


def test_swap_is_borne_where_pods_can_be_kept_out_of_it() -> None:
    swap = {"on": True, "devices": ["/dev/sda2"]}
    found = derive(report(swap=swap))
    assert not found["kubelet"]["failSwapOn"]
    assert found["reasons"] == ["swap is on: kubelet's failSwapOn is off, and pods use none of it"]
    assert derive(report(swap=swap, cgroup={"version": 1}))["kubelet"]["failSwapOn"]


# The sums are those of the formula's own pages: 25 % of 1 GiB, 1 GiB + 20 % of 4 GiB and so on; 6 % of a CPU and so on.
@pytest.mark.parametrize(
    ("cpus", "mebibytes", "cpu", "memory"),
    [
        (1, 1024, 60, 256),
        (2, 2048, 70, 512),
        (4, 8192, 80, 1844),
        (8, 16384, 90, 2663),
        (64, 131072, 230, 9544),
        (128, 262144, 390, 12166),
    ],
)
def test_what_is_kept_from_pods_grows_with_the_host(cpus: int, mebibytes: int, cpu: int, memory: int) -> None:
    found = derive(report(cpus=cpus, memory={"total": mebibytes * MEBIBYTE}))["reserved"]
    both = (found["kube"], found["system"])
    assert sum(int(part["cpu"].removesuffix("m")) for part in both) == cpu
    assert sum(int(part["memory"].removesuffix("Mi")) for part in both) == memory


@pytest.mark.parametrize("mebibytes", [512, 900, 1024])
def test_a_small_host_keeps_most_for_its_pods(mebibytes: int) -> None:
    found = derive(report(cpus=1, memory={"total": mebibytes * MEBIBYTE}))["reserved"]
    reserved = sum(int(part["memory"].removesuffix("Mi")) for part in (found["kube"], found["system"]))
    assert reserved <= mebibytes / 4 + 1


@pytest.mark.parametrize(
    ("nameservers", "upstream", "expected"),
    [
        (["127.0.0.53"], "/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/resolv.conf"),
        (["127.0.0.53"], "", "/etc/resolv.conf"),
        (["192.0.2.1"], "/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"),
    ],
)
def test_the_resolvers_for_pods(nameservers: list[str], upstream: str, expected: str) -> None:
    found = derive(report(resolver={"nameservers": nameservers, "upstream": upstream}))
    assert found["kubelet"]["resolvConf"] == expected
