#!/usr/bin/python
"""Decide whether an etcd member can be replaced, and how.

Documentation alone: all of it is the action plugin of this name.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_replace_member_plan
short_description: Decide on the controller whether an etcd member can be replaced, and how
description:
  - Decides, by what all members say, whether one can be taken out and added again without risk to the others. What
    there is to do is done by M(etcd_restore), with its operations V(aside), V(leave), V(join) and V(promote).
  - Needs, for each of O(hosts), what M(etcd_restore) returned for V(operation=look), registered as C(__etcd_look).
  - Fails if the others have no majority without this member, and if O(member) is none of O(hosts).
options:
  member:
    description: Host whose member is replaced.
    type: str
    required: true
  hosts:
    description: All hosts of etcd.
    type: list
    elements: str
    required: true
  healthy_too:
    description: Whether a member that is healthy is replaced as well.
    type: bool
    default: false
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), it works for all hosts of etcd.
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
      description: What to do.
      type: dict
      contains:
        needed: {description: Whether there is anything to do., type: bool}
        member: {description: The host., type: str}
        replace: {description: Whether the member is taken out and begins without data., type: bool}
        promote: {description: Whether it has yet to become a voter., type: bool}
        through: {description: Host on which the other members are asked., type: str}
        endpoints: {description: Client URLs of the other members., type: list, elements: str}
        id: {description: "ID of the replacement, by which old data is kept.", type: str}
"""
