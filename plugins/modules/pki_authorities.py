#!/usr/bin/python
"""Make the cluster's CAs, keys and the administrator's kubeconfig.

Documentation alone: all of it is the action plugin of this name.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: pki_authorities
short_description: Make the cluster's CAs, keys and the administrator's kubeconfig on the controller
description:
  - Makes, in C(pki) of the state directory and with mode 0600, the CAs C(kubernetes), C(etcd) and C(front-proxy), the
    key pair for tokens of service accounts, and the key that Secrets are encrypted with in etcd. What is there stays.
  - Writes C(admin.kubeconfig), with a client certificate of its own, if there is none or it is no longer right.
  - Fails, and makes nothing, if a host of the cluster was installed under other CAs or keys than these, by what
    M(host_report) found, or if no host of etcd and the control plane was examined while there are none yet. So the
    last copy of a cluster's keys is not replaced. Fails also if only half of a pair is there.
options:
  cluster:
    description: Name of the cluster, which is in the CAs' subjects and in the kubeconfig.
    type: str
    required: true
  days:
    description: For how many days new CAs are valid.
    type: int
    required: true
  server:
    description: URL of the API in the kubeconfig's default context.
    type: str
    required: true
  hosts:
    description: Addresses of the control-plane hosts by name, each of which gets a context of its own.
    type: dict
    required: true
  port:
    description: Port of the API servers on O(hosts).
    type: int
    required: true
extends_documentation_fragment: [attributes, attributes.controller, state_directory]
attributes:
  check_mode: {support: partial, details: Says whether CAs would be made; does not look at the kubeconfig.}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), it works for the whole cluster.
"""

EXAMPLES = r"""
- name: Make the CAs and the administrator's kubeconfig
  pki_authorities:
    state_directory: "{{ cluster_state_directory }}"
    cluster: example
    days: 3650
    server: https://api.example.org:6443
    hosts: {cp1: 192.0.2.1}
    port: 6443
  run_once: true
"""

RETURN = r"""
made:
  description: What was made. In check mode only V(authorities), if there are none yet.
  type: list
  elements: str
  returned: success
  sample: [encryption, kubernetes, etcd, front-proxy, service-account, admin.kubeconfig]
"""
