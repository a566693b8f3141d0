"""Which packages a host lacks, and how its system calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
import yaml
from tests.unit.preflight.builders import host

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.preflight.packages import check_packages
from kubeproof.settings.host_packages import family, missing
from kubeproof.settings.host_report import HostReport

DEFAULTS: Mapping[str, Any] = yaml.safe_load((paths.PROJECT / "roles/host/defaults/main.yml").read_text())
PACKAGES = DEFAULTS["host_packages"]


def report(identity: str, *like: str, present: tuple[str, ...] = ()) -> HostReport:
    system = {"id": identity, "version": "", "pretty": "", "like": list(like)}
    return cast(HostReport, {"os": system, "commands": dict.fromkeys(present, "/bin/x")})


@pytest.mark.parametrize(
    ("system", "name"),
    [
        (("debian",), "debian"),
        (("linuxmint", "ubuntu", "debian"), "debian"),
        (("rocky", "rhel", "centos", "fedora"), "redhat"),
        (("fedora",), "redhat"),
        (("opensuse-leap", "suse", "opensuse"), "suse"),
        (("arch",), "arch"),
    ],
)
def test_families(system: tuple[str, ...], name: str) -> None:
    assert family(report(*system)) == name


def test_each_host_is_given_what_it_calls() -> None:
    debian, redhat = report("debian"), report("rocky", "rhel", "centos", "fedora")
    node = ["conntrack", "haproxy", "iptables", "netbase", "nftables", "openssl"]
    assert sorted(missing(PACKAGES, debian, ["workers"], {}).values()) == node
    assert sorted(missing(PACKAGES, redhat, ["workers"], {}).values()) == [
        "conntrack-tools", "haproxy", "iptables-nft", "nftables", "openssl", "setup"
    ]  # fmt: skip
    assert missing(PACKAGES, debian, ["etcd"], {}) == {"openssl": "openssl"}
    assert missing(PACKAGES, report("debian", present=("openssl",)), ["etcd"], {}) == {}


def test_what_only_some_settings_take() -> None:
    copies = {"backup_targets": [{"type": "rsync"}], "cluster_virtual_address": "10.0.0.9"}
    redhat = report("fedora")
    assert missing(PACKAGES, redhat, ["etcd"], copies)["ssh"] == "openssh-clients"
    assert "keepalived" in missing(PACKAGES, redhat, ["control_plane"], copies)
    assert "keepalived" not in missing(PACKAGES, redhat, ["workers"], copies)
    policies = {"network_policy_engine": "kube-router"}
    assert missing(PACKAGES, redhat, ["workers"], policies)["ipset"] == "ipset"
    assert "ipset" not in missing(PACKAGES, redhat, ["workers"], {"network_policy_engine": "none"})
    assert "ipset" not in missing(PACKAGES, redhat, ["etcd"], policies)
    # Their pods bring an ipset of their own, and a reset has to remove the sets without them.
    for plugin, there in (("calico", True), ("cilium", True), ("bridge", False)):
        others = {"network_policy_engine": "none", "pod_network_plugin": plugin}
        assert ("ipset" in missing(PACKAGES, redhat, ["workers"], others)) == there
    assert missing({**PACKAGES, "tcpdump": "tcpdump"}, redhat, ["workers"], {})["tcpdump"] == "tcpdump"


def test_a_family_without_a_name_is_refused() -> None:
    with pytest.raises(KubeproofError, match=r"no package of `arch` for /etc/protocols"):
        missing(PACKAGES, report("arch"), ["workers"], {})


def test_the_preflight_tells_before_anything_is_touched() -> None:
    assert list(check_packages(host(), DEFAULTS)) == []
    other = host(os={"id": "arch", "like": []}, package_manager="pacman")
    (found,) = check_packages(other, DEFAULTS)
    assert (found.id, found.severity, found.host) == ("packages", "error", "host1")
    assert "/etc/protocols: {arch: PACKAGE}" in found.remediation
    suse = host(os={"id": "sles", "like": ["suse"]}, package_manager="zypper")
    (found,) = check_packages(suse, {"host_packages": {"haproxy": "haproxy", "nft": "nftables"}})
    assert found.problem == "it lacks haproxy, nft, and kubeproof installs packages with apt-get or dnf only"
    assert found.remediation == "Install these packages manually: haproxy nftables."
    image = host(os={"id": "flatcar", "like": ["coreos"]}, package_manager="")
    (found,) = check_packages(image, DEFAULTS)
    assert found.problem.endswith("nft, openssl, and has no package manager"), found.problem
    assert "systemd-sysext" in found.remediation
    installed = host(os={"id": "arch", "like": []}, commands=dict.fromkeys(PACKAGES, "/usr/bin/x"))
    assert list(check_packages(installed, DEFAULTS)) == []
