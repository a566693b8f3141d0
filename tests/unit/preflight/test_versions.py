"""Checks of versions."""

from __future__ import annotations

import pytest
from tests.unit.preflight.builders import host

from kubeproof.preflight.versions import check_versions, parse

PINNED = {
    "etcd": "3.7.3",
    "kube-apiserver": "1.36.3",
    "kube-controller-manager": "1.36.3",
    "kube-scheduler": "1.36.3",
    "kubelet": "1.36.3",
    "kube-proxy": "1.36.3",
    "runc": "1.5.2",
}


def found(installed: dict[str, str], **wanted: str) -> list[tuple[str, str, str]]:
    pins = {**PINNED, **{name.replace("_", "-"): version for name, version in wanted.items()}}
    hosts = [host(installed={"versions": installed})]
    return [(finding.id, finding.subject, finding.host) for finding in check_versions(hosts, pins)]


@pytest.mark.parametrize(
    ("text", "version"),
    [("v1.36.3", (1, 36, 3)), ("3.7.3", (3, 7, 3)), ("1.36.0-rc.1+5", (1, 36, 0)), ("devel", None), ("1.36", None)],
)
def test_parse(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse(text) == version


@pytest.mark.parametrize(
    "installed",
    [
        {},
        {"etcd": "3.7.3", "kube-apiserver": "1.36.3", "kubelet": "1.36.3"},
        {"etcd": "3.6.16", "kube-apiserver": "1.35.4", "kubelet": "1.35.4"},
        # Patch versions go both ways, kubelets three minors at once.
        {"kube-apiserver": "1.36.9", "kubelet": "1.33.0"},
        {"something": "9.9.9", "etcd": "of our own"},
    ],
)
def test_what_may_be_installed_over(installed: dict[str, str]) -> None:
    assert found(installed) == []


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({"kube-apiserver": "1.34.4"}, ("version-step", "kube-apiserver", "host1")),
        ({"kube-apiserver": "1.37.0"}, ("version-step", "kube-apiserver", "host1")),
        ({"etcd": "3.5.21"}, ("version-step", "etcd", "host1")),
        ({"etcd": "3.8.0"}, ("version-step", "etcd", "host1")),
        ({"kubelet": "1.32.9"}, ("version-skew", "kubelet", "host1")),
    ],
)
def test_what_may_not(installed: dict[str, str], expected: tuple[str, str, str]) -> None:
    assert found(installed) == [expected]


def test_a_newer_kubelet_is_both_a_downgrade_and_too_new() -> None:
    assert [finding[0] for finding in found({"kubelet": "1.37.1"})] == ["version-step", "version-skew"]


def test_pins_must_go_together() -> None:
    assert found({}, kubelet="1.37.0") == [("version-skew", "kubelet", "settings")]
    assert found({}, kube_scheduler="1.34.0") == [("version-skew", "kube-scheduler", "settings")]
    (finding,) = check_versions([], {**PINNED, "kube-scheduler": "1.34.0"})
    assert finding.problem.endswith("it may be at most 1 minor version older")
    assert found({}, kubelet="1.33.0", kube_proxy="1.33.0", kube_scheduler="1.35.0") == []


def test_the_next_step_is_named() -> None:
    hosts = [host(installed={"versions": {"kube-apiserver": "1.34.4"}})]
    (finding,) = check_versions(hosts, PINNED)
    assert finding.problem == "kube-apiserver would go from v1.34.4 to v1.36.3, skipping a minor version"
    assert finding.remediation == "Choose 1.35 first, then the next."


def test_pins_without_an_api_server_say_nothing_of_skew() -> None:
    hosts = [host(installed={"versions": {"kubelet": "1.20.0"}})]
    assert list(check_versions(hosts, {"kubelet": "1.36.3"})) == []
    (finding,) = check_versions(hosts, {"kube-apiserver": "1.36.3"})
    assert finding.problem.endswith("it may be at most 3 minor versions older")


def test_a_host_without_a_report() -> None:
    assert list(check_versions([], PINNED)) == []
