"""Checks of versions."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.preflight.builders import host

from kubeproof.core import paths
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.versions import Wanted, check_checksums, check_chosen, check_versions

PINNED = {
    "etcd": "3.7.3",
    "kube-apiserver": "1.36.3",
    "kube-controller-manager": "1.36.3",
    "kube-scheduler": "1.36.3",
    "kubelet": "1.36.3",
    "kube-proxy": "1.36.3",
    "runc": "1.5.2",
}
COMPONENTS = {"etcd": "3.7.3", "kubernetes": "1.36.3", "runc": "1.5.2", "pause": "3.10.2"}


def wanted(pins: dict[str, str], **more: Any) -> Wanted:
    """Each program is a component of its own, so that it can have a version of its own."""
    return Wanted(pins, {name: name for name in pins}, **{"allowed": True, **more})


def found(installed: dict[str, str], **chosen: str) -> list[tuple[str, str, str]]:
    pins = {**PINNED, **{name.replace("_", "-"): version for name, version in chosen.items()}}
    hosts = [host(installed={"versions": installed})]
    return [(finding.id, finding.subject, finding.host) for finding in check_versions(hosts, wanted(pins))]


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
        ({"kube-proxy": "1.32.9"}, ("version-skew", "kube-proxy", "host1")),
        ({"kube-scheduler": "1.34.9"}, ("version-skew", "kube-scheduler", "host1")),
        ({"kube-controller-manager": "1.34.9"}, ("version-skew", "kube-controller-manager", "host1")),
    ],
)
def test_what_may_not(installed: dict[str, str], expected: tuple[str, str, str]) -> None:
    assert found(installed) == [expected]


def test_a_newer_kubelet_is_both_a_downgrade_and_too_new() -> None:
    assert [finding[0] for finding in found({"kubelet": "1.37.1"})] == ["version-step", "version-skew"]


def test_what_runs_counts_and_not_what_lies_on_the_disk() -> None:
    """A run that was killed has brought new files, and restarted nothing."""
    installed = {
        "versions": {"kube-apiserver": "1.36.3", "etcd": "3.7.3"},
        "running": [{"program": "kube-apiserver", "version": version} for version in ("1.36.3", "1.34.4")],
    }
    (finding,) = check_versions([host(installed=installed)], wanted(PINNED))
    assert finding.problem == "kube-apiserver would go from v1.34.4 to v1.36.3, skipping a minor version"


def test_pins_must_go_together() -> None:
    assert found({}, kubelet="1.37.0") == [("version-skew", "kubelet", "settings")]
    assert found({}, kube_scheduler="1.34.0") == [("version-skew", "kube-scheduler", "settings")]
    (finding,) = check_versions([], wanted({**PINNED, "kube-scheduler": "1.34.0"}))
    assert finding.problem.endswith("it may be at most 1 minor version older")
    assert found({}, kubelet="1.33.0", kube_proxy="1.33.0", kube_scheduler="1.35.0") == []


def test_the_next_step_is_named() -> None:
    hosts = [host(installed={"versions": {"kube-apiserver": "1.34.4"}})]
    (finding,) = check_versions(hosts, wanted(PINNED))
    assert finding.problem == "kube-apiserver would go from v1.34.4 to v1.36.3, skipping a minor version"
    assert finding.remediation == "Choose 1.35 first, then the next."


def test_pins_without_an_api_server_say_nothing_of_skew() -> None:
    hosts = [host(installed={"versions": {"kubelet": "1.20.0"}})]
    assert list(check_versions(hosts, wanted({"kubelet": "1.36.3"}))) == []
    (finding,) = check_versions(hosts, wanted({"kube-apiserver": "1.36.3"}))
    assert finding.problem.endswith("it may be at most 3 minor versions older")


def test_a_host_without_a_report() -> None:
    assert list(check_versions([], wanted(PINNED))) == []


def test_checksums_of_downloads_are_those_of_components() -> None:
    assert list(check_checksums({"docker": {"amd64": "0" * 64}})) == []
    (finding,) = check_checksums({"docker": {"amd64": "0" * 63}})
    assert (finding.id, finding.subject) == ("component-sha256", "component_sha256")
    assert "is not of the form {amd64: SHA-256}" in finding.problem
    assert "64 hexadecimal digits" in finding.remediation


class TestChosenVersions:
    """What the inventory asks for, before any host is looked at."""

    def test_that_go_together(self) -> None:
        assert list(check_chosen({})) == []
        assert list(check_chosen({"kubernetes": "1.35.4", "pause": "3.10.1", "etcd": "3.6.16"})) == []

    def test_that_do_not_are_told(self) -> None:
        (finding,) = check_chosen({"kubernetes": "1.35.4", "pause": "3.10.2"})
        assert (finding.id, finding.subject, finding.severity) == ("version-set", "pause", "warning")
        assert finding.problem == "component_versions has pause 3.10.2; kubernetes 1.35.4 goes with 3.10.1"

    @pytest.mark.parametrize(
        ("chosen", "problem", "remediation"),
        [
            ({"kubernetes": "1.34.4"}, "kubernetes 1.34.4 is not supported", "choose a release of one of these"),
            ({"kubernets": "1.36.3"}, "'kubernets' is not a component", "See docs/operations/versions.md."),
            ({"etcd": "v3.7.3"}, "'v3.7.3' is not a version", "write it as three numbers in quotes"),
        ],
    )
    def test_that_cannot_be_installed(self, chosen: dict[str, str], problem: str, remediation: str) -> None:
        (finding,) = check_chosen(chosen)
        assert (finding.id, finding.subject, finding.severity) == ("component-versions", "component_versions", "error")
        assert problem in finding.problem
        assert remediation in finding.remediation


class TestAVersionThatWouldChange:
    """A run installs what is installed; an upgrade is another command."""

    def findings(self, *recorded: dict[str, str], chosen: dict[str, str] | None = None, **more: Any) -> list[Finding]:
        hosts = [host(at, installed={"components": components}) for at, components in enumerate(recorded, 1)]
        programs = {"kube-apiserver": "kubernetes", "kubelet": "kubernetes", "etcd": "etcd"}
        return list(check_versions(hosts, Wanted({**COMPONENTS, **(chosen or {})}, programs, chosen or {}, **more)))

    @pytest.mark.parametrize("version", ["1.36.2", "1.36.4", "1.35.3", "2.0.0"])
    def test_is_refused_be_it_older_or_newer(self, version: str) -> None:
        (finding,) = self.findings({**COMPONENTS, "kubernetes": version})
        assert (finding.id, finding.subject, finding.host) == ("version-change", "", "host1")
        assert finding.problem == (
            f"this run would change versions of what is installed: kubernetes from {version} to 1.36.3"
        )
        assert f"""-e '{{"component_versions": {{"kubernetes": "{version}"}}}}'""" in finding.remediation
        assert finding.remediation.endswith("-e preflight_allow_version_change=true.")

    def test_may_be_a_new_pin_of_anything(self) -> None:
        found = self.findings({"runc": "1.5.1", "pause": "3.10.1", "etcd": "3.7.3"}, {"runc": "1.5.1"})
        assert [(each.host, each.problem.partition(": ")[2]) for each in found] == [
            ("host1", "pause from 3.10.1 to 3.10.2, runc from 1.5.1 to 1.5.2"),
            ("host2", "runc from 1.5.1 to 1.5.2"),
        ]
        # One remediation for all.
        assert len({each.remediation for each in found}) == 1
        assert '{"component_versions": {"pause": "3.10.1", "runc": "1.5.1"}}' in found[0].remediation

    def test_keeps_what_was_chosen_in_the_remediation(self) -> None:
        (finding,) = self.findings({**COMPONENTS, "runc": "1.5.1"}, chosen={"etcd": "3.7.3"})
        assert '{"component_versions": {"etcd": "3.7.3", "runc": "1.5.1"}}' in finding.remediation

    def test_leaves_out_of_the_remediation_what_follows(self) -> None:
        sets = {"kubernetes": {"1.35": {"pause": "3.10.1"}, "1.36": {"pause": "3.10.2"}}}
        (finding,) = self.findings({**COMPONENTS, "kubernetes": "1.35.4", "pause": "3.10.1"}, sets=sets)
        assert '{"component_versions": {"kubernetes": "1.35.4"}}' in finding.remediation
        (finding,) = self.findings({**COMPONENTS, "kubernetes": "1.35.4", "pause": "3.9.9"}, sets=sets)
        assert '{"component_versions": {"kubernetes": "1.35.4", "pause": "3.9.9"}}' in finding.remediation
        # What it would follow is not changed.
        (finding,) = self.findings({**COMPONENTS, "pause": "3.10.1"}, sets=sets)
        assert '{"component_versions": {"pause": "3.10.1"}}' in finding.remediation

    def test_points_to_upgrades(self) -> None:
        (finding,) = self.findings({**COMPONENTS, "runc": "1.5.1"})
        assert "To change versions: ./kubeproof upgrade plan (docs/operations/upgrade.md)." in finding.remediation
        assert (paths.PROJECT / "docs/operations/versions.md").is_file()

    def test_is_allowed_if_it_is_meant(self) -> None:
        assert self.findings({**COMPONENTS, "kubernetes": "1.36.2"}, allowed=True) == []
        assert self.findings(COMPONENTS) == []

    def test_is_completed_where_it_was_interrupted(self) -> None:
        (finding,) = self.findings(COMPONENTS, {**COMPONENTS, "runc": "1.5.1"})
        assert finding.host == "host2"
        assert finding.remediation == (
            "Hosts have different versions of runc: a change was not completed. To complete it: "
            "-e preflight_allow_version_change=true."
        )

    def test_is_not_one_of_what_is_no_longer_or_not_yet_wanted(self) -> None:
        assert self.findings({"dockershim": "1.0.0"}, {}) == []

    def test_is_one_of_three_programs_where_nothing_was_recorded(self) -> None:
        programs = {"kube-apiserver": "kubernetes", "kubelet": "kubernetes", "etcd": "etcd", "runc": "runc"}
        versions = {"kubelet": "1.36.2+own", "kube-apiserver": "v1.36.3", "etcd": "of our own", "unknown": "1.0.0"}
        (finding,) = check_versions([host(installed={"versions": versions})], Wanted(COMPONENTS, programs))
        assert finding.problem.endswith(": kubelet from 1.36.2 to 1.36.3")
        assert finding.remediation.startswith("Hosts have different versions of kubernetes")
        recorded = host(installed={"versions": versions, "components": {"etcd": "3.7.3"}})
        assert list(check_versions([recorded], Wanted(COMPONENTS, programs))) == []
