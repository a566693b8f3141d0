"""Settings that a cluster keeps for its life.

A role names its own among ``install_component``'s ``settings``: the host remembers them in its manifest from then on,
``host_report`` brings them, and the preflight refuses others. A further one takes its name and the reason here, and
that line in each role that uses it: ``--limit`` may leave out all other hosts.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from kubeproof.settings import families

REASONS: Mapping[str, str] = {
    "cluster_api_port": "every node reaches all API servers at it, and these would change one after another",
    "cluster_dns_address": "running pods keep using it as their resolver, and the DNS Service keeps its address",
    "cluster_domain": "running pods search it for names, and the issuer of their tokens is named after it",
    "cluster_etcd_port": "API servers and backups reach all members at it, and these would change one after another",
    "cluster_name": "etcd members, CAs and backups contain it",
    "cluster_pod_network": "nodes keep their pod networks from it, and pods their addresses",
    "cluster_pod_network_prefix": "nodes keep their pod networks, and new ones would overlap them",
    "cluster_pod_network_prefix_ipv6": "nodes keep their pod networks, and new ones would overlap them",
    "cluster_service_network": "Services keep their addresses from it, including that of the API",
    "pod_network_plugin": "running pods are attached to the present network, and another one does not reach them",
    "calico_encapsulation": "the pools of addresses in the cluster keep it",
    "cilium_routing": "nodes with the former one do not reach pods of those with the new one",
    "container_runtime": "containers of the former one would continue unmanaged",
    "containerd_root_directory": "running containers would continue unmanaged",
    "crio_root_directory": "running containers would continue unmanaged",
    "docker_root_directory": "running containers would continue unmanaged",
    "local_path_directory": "volumes that are there could no longer be removed: helpers touch nothing outside it",
}
"""Why each can't be changed on an installed cluster."""
RECORDED = frozenset({*REASONS, "kube_proxy_form"})
"""What hosts remember: these, and those that cannot be changed from every value to every other
(``preflight/service_proxy.py``)."""
_NETWORKS = ("cluster_pod_network", "cluster_service_network")


def recorded(value: Any, name: str = "") -> str:
    """A setting's value as hosts remember it: a number may be written as text, and a directory with a slash at its end.

    Of networks, a list is the same as a text with commas.
    """
    text = families.joined(value) if name in _NETWORKS else str(value)
    return posixpath.normpath(text) if text.startswith("/") else text
