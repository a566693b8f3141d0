#!/usr/bin/python
"""The processes of a component, as a unit or as a static pod.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import subprocess
from typing import List

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.static_pod import StaticPod

DOCUMENTATION = r"""
module: component_processes
short_description: List the processes of a component
description:
  - Returns the main process of a component that runs as a systemd unit, or all processes of a static pod except the
    one that holds its namespaces. Changes nothing.
  - Used by M(etcd_leadership), which pauses these processes.
options:
  unit:
    description: Name of the component's unit with its suffix, for example V(kube-apiserver.service), in both forms.
    type: str
    required: true
extends_documentation_fragment: [attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: List the processes of the API server
  component_processes:
    unit: kube-apiserver.service
  register: api_server
"""

RETURN = r"""
processes:
  description: Process IDs on the host; empty if the component is not running.
  type: list
  elements: int
  returned: success
  sample: [4711]
"""


def processes(unit: str) -> List[int]:
    """What runs of a component; of a static pod all but the process that keeps its namespaces."""
    pod = StaticPod(unit)
    if pod.text() is not None:
        found: List[int] = pod.processes(pod.uid())
        return found
    command = ["systemctl", "show", unit, "--property=MainPID", "--value"]
    told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout.strip()
    return [int(told)] if told.isdigit() and int(told) else []


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(argument_spec={"unit": {"type": "str", "required": True}}, supports_check_mode=True)
    try:
        module.exit_json(changed=False, processes=processes(module.params["unit"]))
    except OSError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
