#!/usr/bin/python
"""Leave a host out of the rest of a run, or name those that were left out.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: left_behind
short_description: Leave a host out of the rest of a run, or name those that were left out
description:
  - Which hosts a run can leave behind is decided by M(preflight), see RV(preflight#module:left_behind).
  - C(ansible-playbook) ends with 4 if a host was left behind, as it does for any host that is unreachable.
options:
  state:
    description:
      - V(left) makes the host unreachable for Ansible, so that it has no part in the rest of the run.
      - V(named) warns of the hosts that were left behind, with what is known of their last run, and records which
        hosts got to the end, unless the run is one of some tags only. If all hosts of the cluster did, the target of
        the lock becomes current. Use it with C(run_once).
    type: str
    choices: [left, named]
    required: true
  state_directory:
    description: State directory on the controller, with the lock, and with the records in C(rolling/converged).
    type: path
    required: true
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full, details: Records nothing.}
  diff_mode: {support: none}
seealso:
  - module: preflight
"""

EXAMPLES = r"""
- name: Leave behind hosts that cannot be reached
  left_behind:
    state: left
    state_directory: "{{ lookup('setting', 'cluster_state_directory') }}"
  when: inventory_hostname in checked.left_behind

- name: Name the hosts that were left behind
  left_behind:
    state: named
    state_directory: "{{ lookup('setting', 'cluster_state_directory') }}"
  run_once: true
"""

RETURN = r"""
left_behind:
  description: The hosts of the play that were left behind.
  type: list
  elements: str
  returned: with O(state=named)
"""
