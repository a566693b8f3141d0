#!/usr/bin/python
"""Create the cluster's CAs and keys, and the administrator's kubeconfig.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: pki_authorities
short_description: Create the cluster's CAs and keys, and the administrator's kubeconfig, on the controller
description:
  - Creates the CAs C(kubernetes), C(etcd) and C(front-proxy), the key pair for service account tokens, and the key that
    encrypts Secrets in etcd, in C(pki) of the state directory and with mode 0600. Existing ones are not changed.
  - Writes C(admin.kubeconfig), with its own client certificate, if it is missing or outdated.
  - Fails, and creates nothing, if a host of the cluster was installed with other CAs or keys (by the facts of
    M(host_report)), or if there are no CAs yet and no facts of any etcd or control-plane host. So the keys of an
    installed cluster are not replaced by new ones. Fails also if only half of a key pair exists.
options:
  cluster:
    description: Name of the cluster, for the subjects of CAs and the kubeconfig.
    type: str
    required: true
  days:
    description: Validity of new CAs, in days.
    type: int
    required: true
  server:
    description: URL of the API for the default context of the kubeconfig.
    type: str
    required: true
  hosts:
    description: Addresses of the control-plane hosts by name, for a context per host.
    type: dict
    required: true
  port:
    description: Port of the API servers on O(hosts).
    type: int
    required: true
extends_documentation_fragment: [attributes, attributes.controller, state_directory]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), since one task does the work for the whole cluster.
"""

EXAMPLES = r"""
- name: Create the CAs and the administrator's kubeconfig
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
  description: Created files. In check mode V(authorities), if there are no CAs yet.
  type: list
  elements: str
  returned: success
  sample: [encryption, kubernetes, etcd, front-proxy, service-account, admin.kubeconfig]
"""
