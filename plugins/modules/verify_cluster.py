#!/usr/bin/python
"""Verify from the controller that a cluster is what it should be.

Documentation alone: all of it is the action plugin of this name.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_cluster
short_description: Verify from the controller that a cluster is what it should be
description:
  - Does what C(./kubeproof verify) does. Observes the cluster on the API, in etcd and on its hosts, and says claim by
    claim whether it is as the architecture says, with the progress on the terminal.
  - Works in namespaces of its own, which it removes. Writes a report as JSON, as a page, and as JUnit XML.
  - How hosts are reached is taken from the inventory and the options of C(ansible-playbook).
  - Fails unless every claim that was looked at is proven, and if O(inventory) is a list of hosts instead of files.
options:
  inventory:
    description: Files and directories of the inventory, of which there may be several.
    type: list
    elements: path
    required: true
  only:
    description: Components or claims that are looked at. If empty, all.
    type: list
    elements: str
    default: []
  level:
    description:
      - How much the verification asks of the cluster. V(quick) makes no pods, V(standard) disturbs nothing,
        V(disruptive) stops components.
    type: str
    choices: [quick, standard, disruptive]
    default: standard
  kubeconfig:
    description: Kubeconfig on the controller. By default C(admin.kubeconfig) in the state directory.
    type: path
  connection:
    description: How hosts are reached. By default with V(ssh).
    type: str
    choices: [ssh, paramiko]
  test_image:
    description: Image of agnhost for test pods. By default the one that was installed.
    type: str
  report:
    description: Path of the JSON. By default C(reports/verification.json) in the state directory.
    type: path
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full, details: Verifies as well; it changes nothing that stays.}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), it works for all hosts.
"""

EXAMPLES = r"""
- name: Verify etcd and the cluster's DNS
  verify_cluster:
    inventory: "{{ ansible_inventory_sources }}"
    only: [etcd, service-dns]
    level: quick
  run_once: true
"""

RETURN = r"""
msg:
  description: The verdict, and where the page is. A failure says it as well.
  type: str
  returned: always
report:
  description: Path of the report as JSON.
  type: str
  returned: success
page:
  description: Path of the report as a page.
  type: str
  returned: success
junit:
  description: Path of the report as JUnit XML.
  type: str
  returned: success
"""
