#!/usr/bin/python
"""Verify from the controller that a cluster behaves as claimed.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_cluster
short_description: Verify from the controller that a cluster behaves as claimed
description:
  - Runs the same verification as C(./kubeproof verify). Observes the cluster on the API, in etcd and on its hosts, and
    displays the verdict on each claim.
  - Uses its own namespaces, and removes them. Writes a report as JSON, HTML and JUnit XML.
  - Connects to hosts as the inventory and the options of C(ansible-playbook) say.
  - Fails unless all selected claims are proven, and if O(inventory) is a list of hosts instead of files.
options:
  inventory:
    description: Files and directories of the inventory.
    type: list
    elements: path
    required: true
  only:
    description: Components or claims to verify. If empty, all.
    type: list
    elements: str
    default: []
  level:
    description:
      - V(quick) creates no pods, V(standard) does not disturb the cluster, V(disruptive) stops components. Each level
        includes the ones before it.
    type: str
    choices: [quick, standard, disruptive]
    default: standard
  kubeconfig:
    description: Kubeconfig on the controller. Defaults to C(admin.kubeconfig) in the state directory.
    type: path
  connection:
    description: Connection to hosts. Defaults to V(ssh).
    type: str
    choices: [ssh, paramiko]
  test_image:
    description: Image of agnhost for test pods. Defaults to the installed one.
    type: str
  report:
    description: Path of the JSON report. Defaults to C(reports/verification.json) in the state directory.
    type: path
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full, details: Verifies in check mode too.}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), since one task does the work for all hosts.
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
  description: Verdict, and path of the HTML report.
  type: str
  returned: always
report:
  description: Path of the JSON report.
  type: str
  returned: success
page:
  description: Path of the HTML report.
  type: str
  returned: success
junit:
  description: Path of the JUnit XML report.
  type: str
  returned: success
"""
