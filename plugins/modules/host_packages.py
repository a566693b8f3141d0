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
short_description: Install packages, and record them for a reset
description:
  - Installs packages with the host's package manager, apt or dnf, from its configured sources. Package lists are
    refreshed first if they are missing, outdated, or lack one of the packages.
  - Records in the install manifest C(/var/lib/kubeproof/manifest.json) the packages that the transaction installed,
    dependencies included, so that a reset removes exactly these. Services of the packages are not started or enabled.
  - Fails if the host has neither apt-get nor dnf, if a package is not available, and if the package manager stays
    locked for longer than O(lock_timeout).
options:
  names:
    description: Names of packages, none of which is installed.
    type: list
    elements: str
    required: true
  lock_timeout:
    description: Longest time to wait for the package manager's locks, in seconds.
    type: int
    default: 600
extends_documentation_fragment: [attributes, attributes.action]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
seealso:
  - plugin: missing_packages
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Install packages that nodes need
  host_packages:
    names: [conntrack, nftables]
"""

RETURN = r"""
changes:
  description: Installed packages, dependencies included; in check mode those of O(names).
  type: list
  elements: dict
  returned: success
  contains:
    path: {description: "The package, as V(package NAME).", type: str}
    what: {description: "V(installed), and except in check mode the version.", type: str}
  sample: [{path: package conntrack, what: "installed 1:1.4.7-1+b2"}]
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
