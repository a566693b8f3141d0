"""Settings that a cluster keeps for its life.

A role names its own among ``install_component``'s ``settings``: the host remembers them in its manifest from then on,
``host_report`` brings them, and the preflight refuses others. A further one takes its name and the reason here, and
that line in its role.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

REASONS: Mapping[str, str] = {
    "cluster_dns_address": "pods that run go on to ask there, and the DNS's service keeps its address",
    "cluster_domain": "pods that run look for names in it, and their tokens are issued in its name",
    "cluster_name": "etcd's members, authorities and backups have it",
    "cluster_pod_network": "nodes keep the networks that they were given of it, and pods their addresses",
    "cluster_pod_network_prefix": "nodes keep the networks that they were given, and new ones would overlap them",
    "cluster_service_network": "services keep the addresses that they were given of it, that of the API among them",
    "containerd_root_directory": "what runs would go on, and nobody would know of it",
}
"""Why each can't be changed on an installed cluster."""


def recorded(value: Any) -> str:
    """A value as hosts remember it: a number may be written as text, and a directory with a slash at its end."""
    text = str(value)
    return posixpath.normpath(text) if text.startswith("/") else text
