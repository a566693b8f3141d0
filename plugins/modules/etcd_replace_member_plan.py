#!/usr/bin/python
"""Decide whether an etcd member can be replaced, and how.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_replace_member_plan
short_description: Decide on the controller whether an etcd member can be replaced, and how
description:
  - Decides from the state of all members whether one can be removed and added again without risk to the others. The
    operations V(aside), V(leave), V(join) and V(promote) of M(etcd_restore) carry it out.
  - Needs the result of M(etcd_restore) with C(operation=look), registered as C(__etcd_look), of O(hosts). Those
    without it, which the run leaves out, count as members that do not respond.
  - Fails if the other members have no quorum, and if O(member) is not in O(hosts).
options:
  member:
    description: Host of the member to replace.
    type: str
    required: true
  hosts:
    description: All hosts of etcd.
    type: list
    elements: str
    required: true
  healthy_too:
    description: Whether to replace a healthy member too.
    type: bool
    default: false
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), since one task does the work for all hosts of etcd.
seealso:
  - module: etcd_restore
  - module: etcd_restore_plan
"""

EXAMPLES = r"""
- name: Decide whether cp2 can be replaced
  etcd_replace_member_plan:
    member: cp2
    hosts: "{{ groups['etcd'] }}"
  run_once: true
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to those of all hosts of the play.
  type: dict
  returned: success
  contains:
    kubeproof_replacement:
      description: The plan.
      type: dict
      contains:
        needed: {description: Whether there is anything to do., type: bool}
        member: {description: Host of the member., type: str}
        replace: {description: Whether the member is removed and joins without data., type: bool}
        promote: {description: Whether it has to be promoted to a voting member., type: bool}
        through: {description: Host on which commands for the other members run., type: str}
        endpoints: {description: Client URLs of the other members., type: list, elements: str}
        id: {description: "ID of the replacement, in the name of the old data.", type: str}
"""
