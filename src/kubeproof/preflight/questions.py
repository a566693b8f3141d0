"""What a host is asked by ``host_report``: whose disks, whose leftovers, which parameters and programs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from kubeproof.settings.inventory import CLUSTER_GROUPS

# Directories whose disk is checked, besides those that are settings.
_PATHS = ("/", "/etc", "/opt/cni/bin", "/var/lib/kubelet", "/var/log")
_DIRECTORIES = ("etcd_data_directory", "containerd_root_directory", "crio_root_directory", "docker_root_directory")


def questions(groups: Collection[str], setting: Callable[[str], Any]) -> dict[str, Any]:
    """Options of the module. ``groups``: the host's; ``setting`` returns one of its settings, rendered.

    A host in none of the cluster's groups is only to say whether it has left it, and need not have its settings.
    """
    found: dict[str, Any] = {"etcd_disk": "etcd" in groups}
    if not of_cluster(groups):
        return found
    directories = {name: setting(name) for name in _DIRECTORIES}
    return {
        **found,
        **directories,
        "backup_directory": setting("backup_directory"),
        "paths": [*_PATHS, setting("cluster_bin_directory"), *directories.values()],
        "sysctls": list(setting("host_sysctls")),
        "programs": _programs(setting("containerd_runtimes")),
    }


def of_cluster(groups: Collection[str]) -> bool:
    """Whether a host of these groups is the cluster's."""
    return not set(CLUSTER_GROUPS).isdisjoint(groups)


def _programs(handlers: Collection[Mapping[str, Any]]) -> list[str]:
    """Programs of runtime handlers, which users name."""
    named = (handler.get("options", {}).get("BinaryName", "") for handler in handlers)
    return [program for program in named if program]
