#!/usr/bin/python
"""Claim a cluster for a run of ansible-playbook, so that no second one changes it at the same time.

Called by the action plugin of the same name, for hosts only. Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import os

from ansible.module_utils import host_runs
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: active_run
short_description: Claim the cluster for this run, or release it
description:
  - Records in C(active-run.json) in the state directory that this run of C(ansible-playbook) is changing the cluster.
    Fails if another run does, with its command, user, process and start.
  - The record is valid as long as a process of the run exists, so that the record of a run that has ended in any way,
    SIGKILL included, does not block the next one. A run that C(kubeproof up) has started joins that one.
  - On hosts there are records too, in C(/var/lib/kubeproof/runs), for controllers and users with other state
    directories. M(install_component), M(distribute_components) and M(component_service) write them, and fail if
    another run has begun to change the host since M(host_report) has looked.
  - The processes of other controllers cannot be seen. Their records are valid for half an hour after the last task that
    changed a host.
  - Does nothing in check mode.
options:
  state:
    description: >-
      Whether to claim the cluster, or to release it. At the end of the process it is released anyway. With V(asked)
      nothing is changed, and it is said on which hosts there is something to release.
    type: str
    choices: [claimed, asked, released]
    default: claimed
  on_host:
    description:
      - Whether to claim or release the host as well. Claiming needs it only where M(preflight) has not judged the runs
        on the host before, and does nothing on a host on which nothing is installed, or that is unreachable.
    type: bool
    default: false
extends_documentation_fragment: [attributes, attributes.action]
attributes:
  check_mode: {support: full, details: Does nothing.}
  diff_mode: {support: none}
notes:
  - Without O(on_host) use it with C(run_once), since one task does the work for all hosts.
  - The state directory is the variable C(cluster_state_directory), or its default.
seealso:
  - module: preflight
"""

EXAMPLES = r"""
- name: Refuse to run at the same time as another run
  active_run:
  run_once: true

- name: Let other runs change the host
  active_run:
    state: released
    on_host: true

- name: Let other runs change the cluster
  active_run:
    state: released
  run_once: true
"""

RETURN = r"""
claimed:
  description: Hosts on which this run may have left a record.
  type: list
  elements: str
  returned: with O(state=asked)
msg:
  description: The other run, and what to do, if there is one.
  type: str
  returned: failure
"""


def main() -> None:
    """Claim this host, if anything is installed here; if another run is in the way, that and all runs."""
    module = AnsibleModule(argument_spec={"_run": {"type": "dict", "required": True}}, supports_check_mode=True)
    try:
        if os.path.exists(os.path.join(host_runs.STATE_DIRECTORY, "manifest.json")):
            host_runs.claim(module.params["_run"])
    except host_runs.OtherRun as error:
        module.exit_json(changed=False, refused=str(error), runs=host_runs.found())
    except OSError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, refused="", runs=[])


if __name__ == "__main__":
    main()
