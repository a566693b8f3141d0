#!/usr/bin/python
"""Claim a cluster for a run of ansible-playbook, so that no second one changes it at the same time.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: active_run
short_description: Claim the cluster for this run, or release it
description:
  - Records in C(active-run.json) in the state directory that this run of C(ansible-playbook) is changing the cluster.
    Fails if another run does, with its command, user, process and start.
  - The record is valid as long as a process of the run exists, so that the record of a run that has ended in any way,
    SIGKILL included, does not block the next one. A run that C(kubeproof up) has started joins that one.
  - The processes of other machines that share the state directory cannot be seen. Their record is valid for half an
    hour after the last task that changed a host.
  - Does nothing in check mode.
options:
  state:
    description: Whether to claim the cluster, or to release it. At the end of the process it is released anyway.
    type: str
    choices: [claimed, released]
    default: claimed
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full, details: Does nothing.}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), since one task does the work for all hosts.
  - The state directory is the variable C(cluster_state_directory), or its default.
seealso:
  - module: preflight
"""

EXAMPLES = r"""
- name: Refuse to run at the same time as another run
  active_run:
  run_once: true

- name: Let other runs change the cluster
  active_run:
    state: released
  run_once: true
"""

RETURN = r"""
msg:
  description: The other run, and what to do, if there is one.
  type: str
  returned: failure
"""
