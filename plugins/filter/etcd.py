"""Filters that turn etcd's members into what its flags and its clients want."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubeproof.core.versions import parse
from kubeproof.settings.urls import in_url


def etcd_initial_cluster(members: Mapping[str, str], port: int) -> str:
    """``initial-cluster`` of members given as name to address: ``a=https://10.0.0.1:2380,b=…``."""
    return ",".join(f"{name}=https://{in_url(address)}:{port}" for name, address in sorted(members.items()))


def etcd_bootstrapped(found: Mapping[str, Any], directory: str) -> str:
    """The ``initial-cluster`` in the configuration of a member that has data; empty if it has none.

    ``found`` is ``etcd`` of a host's report. etcd reads the setting only while it has no data: that it names other
    members since is no reason to restart the ones that run.
    """
    has_data = found["data"].get(posixpath.normpath(directory), {}).get("there", False)
    return ",".join(f"{name}={url}" for name, url in found["peers"].items()) if has_data else ""


def etcd_client_urls(members: Mapping[str, str], port: int) -> str:
    """The members' client URLs, as ``etcdctl --endpoints`` and ``kube-apiserver --etcd-servers`` want them."""
    return ",".join(f"https://{in_url(address)}:{port}" for _, address in sorted(members.items()))


def etcd_peer_urls(members: Mapping[str, str], port: int) -> dict[str, str]:
    """The members' peer URLs by name."""
    return {name: f"https://{in_url(address)}:{port}" for name, address in members.items()}


def etcd_moved_on(looks: Iterable[Mapping[str, Any]], former: str) -> str:
    """The minor version of etcd's cluster if it is newer than a program's, which would not start; empty otherwise.

    ``looks``: results of ``upgrade_look``, of members that were asked. Members that do not answer say nothing.
    """
    versions = [parse(((look.get("etcd") or {}).get("version") or {}).get("etcdcluster", "")) for look in looks]
    newest, program = max((each for each in versions if each is not None), default=None), parse(former)
    return str(newest.series) if newest is not None and program is not None and newest.series > program.series else ""


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "etcd_bootstrapped": etcd_bootstrapped,
            "etcd_client_urls": etcd_client_urls,
            "etcd_initial_cluster": etcd_initial_cluster,
            "etcd_moved_on": etcd_moved_on,
            "etcd_peer_urls": etcd_peer_urls,
        }
