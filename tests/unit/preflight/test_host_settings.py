"""Facts decide: what follows from a host's report."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.host_settings import OPEN_FILES, derive

from .builders import report

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
        "kube_proxy": {"conntrack": None},
        "limits": {"nofile": OPEN_FILES, "negative_oom_score": True},
        "reasons": [],
    }


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
        "kube_proxy": {
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"}
        },
        "limits": {"nofile": 20000, "negative_oom_score": False},
        "reasons": [
            "cgroup version 1: kubelet's cgroupDriver is cgroupfs, and failCgroupV1 is off",
            "CAP_SYS_RESOURCE is missing: KubeletInUserNamespace is on, and containerd's restrict_oom_score_adj",
            "net.netfilter.nf_conntrack_max cannot be written here: kube-proxy leaves conntrack as it is",
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


def test_conntrack_before_its_module_is_loaded() -> None:
    unloaded = {**report(), "sysctls": {}}
    assert derive(unloaded)["kube_proxy"]["conntrack"] is None  # type: ignore[arg-type]
    within = {**unloaded, "container": "lxc"}
    assert derive(within)["kube_proxy"]["conntrack"] is not None  # type: ignore[arg-type]


def test_swap_is_borne_where_pods_can_be_kept_out_of_it() -> None:
    swap = {"on": True, "devices": ["/dev/sda2"]}
    found = derive(report(swap=swap))
    assert not found["kubelet"]["failSwapOn"]
    assert found["reasons"] == ["swap is on: kubelet's failSwapOn is off, and pods use none of it"]
    assert derive(report(swap=swap, cgroup={"version": 1}))["kubelet"]["failSwapOn"]


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
