"""Which packages a host lacks, by the commands that it has to have: pure functions, no Ansible."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.settings.host_report import HostReport

# Package managers that kubeproof installs with.
MANAGERS = ("apt-get", "dnf")
# Families by ID or ID_LIKE of os-release(5), whose packages have the same names.
_FAMILIES = {
    "debian": "debian",
    "ubuntu": "debian",
    "fedora": "redhat",
    "rhel": "redhat",
    "centos": "redhat",
    "suse": "suse",
    "opensuse": "suse",
}
# What nodes call, what every host does, and what only those do that enforce network policies, hold a virtual address or
# copy backups elsewhere.
_NODES, _ALL = {"conntrack", "haproxy", "iptables", "nft"}, {"openssl"}
_POLICIES, _ADDRESS, _COPIES = {"ipset"}, {"keepalived"}, {"rsync", "ssh"}
# Values of pod_network_plugin whose pods make sets of addresses, with an ipset of their own; a reset removes them.
_MAKING_SETS = ("calico", "cilium")

Packages = Mapping[str, str | Mapping[str, str]]


def family(report: HostReport) -> str:
    """Whose names for packages a host's system has; its own ID if that is of no family that is known."""
    system = report["os"]
    return next((_FAMILIES[name] for name in (system["id"], *system["like"]) if name in _FAMILIES), system["id"])


def needed(packages: Packages, groups: Collection[str], settings: Mapping[str, Any]) -> set[str]:
    """Commands that a host of these groups calls, by the settings that decide it. Somebody's own are for nodes."""
    found = set(_ALL)
    if not {"control_plane", "workers"}.isdisjoint(groups):
        found |= _NODES | (packages.keys() - _NODES - _ALL - _POLICIES - _ADDRESS - _COPIES)
        enforced = settings.get("network_policy_engine", "none") != "none"
        found |= _POLICIES if enforced or settings.get("pod_network_plugin") in _MAKING_SETS else set()
    kinds = {target.get("type") for target in settings.get("backup_targets") or () if isinstance(target, Mapping)}
    if "etcd" in groups and "rsync" in kinds:
        found |= _COPIES
    if "control_plane" in groups and settings.get("cluster_virtual_address"):
        found |= _ADDRESS
    return found & packages.keys()


def missing(
    packages: Packages, report: HostReport, groups: Collection[str], settings: Mapping[str, Any]
) -> dict[str, str]:
    """Packages to install, by command: of those commands that a host of these groups needs and its report lacks.

    ``packages``: command to package, or to a package by family. Raises KubeproofError where a family has none.
    """
    absent = [name for name in sorted(needed(packages, groups, settings)) if not report["commands"].get(name)]
    return {command: _package(command, packages[command], family(report)) for command in absent}


def _package(command: str, names: str | Mapping[str, str], of: str) -> str:
    if not isinstance(names, Mapping):
        return str(names)
    if of not in names:
        raise KubeproofError(
            f"host_packages has no package of `{of}` for {command}, which this host lacks",
            hint=f"add it there, {command}: {{{of}: PACKAGE}}, or install it manually",
        )
    return str(names[of])
