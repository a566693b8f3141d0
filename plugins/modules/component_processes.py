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
short_description: Tell the processes of a component
description: [Only looks. As a unit a component has its main process.]
options:
  unit: {description: "The component's unit, with its suffix.", type: str, required: true}
author: [The kubeproof authors]
"""

RETURN = r"""
processes: {description: "Their numbers; empty if none runs.", type: list, elements: int, returned: always}
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
