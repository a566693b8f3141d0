"""Filters that turn etcd's members into what its flags and its clients want."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def etcd_initial_cluster(members: Mapping[str, str], port: int) -> str:
    """``initial-cluster`` of members given as name to address: ``a=https://10.0.0.1:2380,b=…``."""
    return ",".join(f"{name}=https://{address}:{port}" for name, address in sorted(members.items()))


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
            "etcd_client_urls": etcd_client_urls,
            "etcd_initial_cluster": etcd_initial_cluster,
            "etcd_peer_urls": etcd_peer_urls,
        }
