#!/usr/bin/python
"""Read the objects of a pod network that is applied into the cluster.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: pod_network_manifest
short_description: Read the objects of a pod network that is applied into the cluster
description:
  - Reads the manifest of Calico, or makes one of the chart of Cilium with Helm, from what M(fetch_components) has put
    into the controller's cache, and sets what this cluster needs of it. Asks no cluster.
  - Fails if the manifest is laid out in a way that is not known.
options:
  plugin: {description: Pod network., type: str, choices: [calico, cilium], required: true}
  versions: {description: Versions by name that override the pinned ones., type: dict, default: {}}
  pod_networks:
    description: Networks of pods, an IPv4 network, or that and an IPv6 network.
    type: list
    elements: str
    required: true
  mtu: {description: MTU of pods. V(0) leaves it to the network., type: int, default: 0}
  api_port: {description: "Port of each node's own load balancer for the API servers.", type: int, required: true}
  replaces_proxy: {description: Whether the network is to serve Services., type: bool, default: false}
  nftables: {description: "Whether kube-proxy makes rules of nftables, not of iptables.", type: bool, default: true}
  nodes: {description: Number of nodes., type: int, default: 1}
  way:
    description: How packets get to other nodes. V(vxlan), V(ipip), V(none) of Calico, V(tunnel), V(native) of Cilium.
    type: str
    choices: [vxlan, ipip, none, tunnel, native]
    required: true
  extra: {description: "Environment of calico-node, or values of Cilium's chart.", type: dict, default: {}}
extends_documentation_fragment: [attributes, attributes.controller, state_directory]
attributes:
  check_mode: {support: full, details: Has no objects if they are not in the cache.}
  diff_mode: {support: none}
seealso:
  - module: kube_addons
"""

EXAMPLES = r"""
- name: Read Calico's manifest
  pod_network_manifest:
    plugin: calico
    state_directory: "{{ cluster_state_directory }}"
    pod_networks: [10.244.0.0/16]
    api_port: 7443
    way: vxlan
  register: network
"""

RETURN = r"""
objects:
  description: Objects of the network.
  type: list
  elements: dict
  returned: success
complete:
  description: Whether the manifest was in the cache. It may not be in check mode only.
  type: bool
  returned: success
"""
