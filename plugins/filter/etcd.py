"""Filters that turn etcd's members into what its flags and its clients want."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any


def etcd_initial_cluster(members: Mapping[str, str], port: int) -> str:
    """``initial-cluster`` of members given as name to address: ``a=https://10.0.0.1:2380,b=…``."""
    return ",".join(f"{name}=https://{address}:{port}" for name, address in sorted(members.items()))


def etcd_bootstrapped(found: Mapping[str, Any], directory: str) -> str:
    """The ``initial-cluster`` in the configuration of a member that has data; empty if it has none.

    ``found`` is ``etcd`` of a host's report. etcd reads the setting only while it has no data: that it names other
    members since is no reason to restart the ones that run.
    """
    has_data = found["data"].get(posixpath.normpath(directory), {}).get("there", False)
    return ",".join(f"{name}={url}" for name, url in found["peers"].items()) if has_data else ""


def etcd_client_urls(members: Mapping[str, str], port: int) -> str:
    """The members' client URLs, as ``etcdctl --endpoints`` and ``kube-apiserver --etcd-servers`` want them."""
    return ",".join(f"https://{address}:{port}" for _, address in sorted(members.items()))


def etcd_peer_urls(members: Mapping[str, str], port: int) -> dict[str, str]:
    """The members' peer URLs by name."""
    return {name: f"https://{address}:{port}" for name, address in members.items()}


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "etcd_bootstrapped": etcd_bootstrapped,
            "etcd_client_urls": etcd_client_urls,
            "etcd_initial_cluster": etcd_initial_cluster,
            "etcd_peer_urls": etcd_peer_urls,
        }
