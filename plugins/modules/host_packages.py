#!/usr/bin/python
"""Install packages, and remember exactly what came with them.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.transaction import PackagesError, Transaction, manager

DOCUMENTATION = r"""
module: host_packages
short_description: Install packages, and remember exactly what came with them
description:
  - Installs with the host's own package manager (apt, dnf), from the sources that the host has. Package lists are
    refreshed first if they are missing, old, or don't know one of the packages.
  - Waits while another program has the package manager's locks.
  - Remembers in C(/var/lib/kubeproof/manifest.json) what the package manager says that this very transaction brought,
    so that a reset removes that and nothing else. Services that these packages would start or enable stay off.
options:
  names:
    description: Packages, all of which are missing.
    type: list
    elements: str
    required: true
  lock_timeout:
    description: How long to wait for the package manager's locks, in seconds.
    type: int
    default: 600
attributes:
  check_mode: {support: full, description: Says what is missing.}
author: [The kubeproof authors]
"""

RETURN = r"""
changes: {description: What came., type: list, elements: dict, returned: always}
"""


def install(module: AnsibleModule) -> Dict[str, Any]:
    """Install; returns the module's result."""
    names = module.params["names"]
    packages = manager()
    if packages is None:
        raise PackagesError(
            "this host has neither apt-get nor dnf: install manually the packages of %s" % ", ".join(names)
        )
    if module.check_mode or not names:
        return {"changed": bool(names), "changes": [{"path": "package " + name, "what": "installed"} for name in names]}
    came, warnings = Transaction(packages).install(names, module.params["lock_timeout"])
    for warning in warnings:
        module.warn(warning)
    changes = [{"path": "package " + package.name, "what": "installed " + package.version} for package in came]
    return {"changed": bool(changes), "changes": changes}


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "lock_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**install(module))
    except (PackagesError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
