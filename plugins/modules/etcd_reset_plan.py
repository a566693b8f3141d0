#!/usr/bin/python
"""Refuse a reset that would take a voting member from an etcd cluster that stays.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_reset_plan
short_description: Refuse a reset that would take a voting member from an etcd cluster that stays
description:
  - Decides from what the members on O(hosts) say whether a reset leaves other voting members without them. A reset
    destroys a member's data, and the others count it for their quorum until it is removed.
  - Displays what is unknown, for example of a member that does not respond, and does not refuse the reset then.
  - Needs the result of M(etcd_restore) with C(operation=look), registered as C(__etcd_look). Hosts without it are
    passed over.
options:
  hosts:
    description: All hosts to be reset.
    type: list
    elements: str
    required: true
  staying:
    description: Hosts of etcd that are not to be reset.
    type: list
    elements: str
    required: true
  port:
    description: Port of etcd for clients, for commands in messages.
    type: int
    required: true
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), since one task does the work for all hosts.
seealso:
  - module: etcd_restore
  - module: reset_host
"""

EXAMPLES = r"""
- name: Refuse to take a voting member from etcd
  etcd_reset_plan:
    hosts: "{{ ansible_play_hosts }}"
    staying: "{{ groups['etcd'] | difference(ansible_play_hosts_all) }}"
    port: 2379
  run_once: true
"""

RETURN = r"""
notes:
  description: What is unknown about members on these hosts.
  type: list
  elements: str
  returned: success
"""
