#!/usr/bin/python
"""Remove the rules of network policies, which stay where what enforced them is gone."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.uninstall.account import Account
from ansible.module_utils.uninstall.firewall import Firewall

DOCUMENTATION = r"""
module: network_policy_rules
short_description: Remove the rules of network policies from the kernel
description:
  - Removes the iptables chains and sets of addresses in which kube-router enforces NetworkPolicies, and the rules that
    lead to them. All other rules stay, those of kube-proxy and the kubelet included.
  - The engine must be stopped before, since it would write its rules again.
options:
  state: {description: Rules are only ever removed., type: str, choices: [absent], required: true}
extends_documentation_fragment: [attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
seealso:
  - module: reset_host
"""

EXAMPLES = r"""
- name: Remove the rules of network policies
  network_policy_rules:
    state: absent
"""

RETURN = r"""
changes:
  description: Removed chains and sets; in check mode those that would be removed.
  type: list
  elements: dict
  returned: success
  contains:
    path: {description: "Chain or set, and the program that it was found with.", type: str}
    what: {description: V(removed)., type: str}
  sample: [{path: ipset kube-router-local-pods, what: removed}]
"""


def main() -> None:
    """Ansible's entry."""
    options = {"state": {"type": "str", "choices": ["absent"], "required": True}}
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    account = Account(module.check_mode)
    try:
        Firewall(account, []).undo_policies()
    except (CommandFailed, OSError) as error:
        account.problems.append(str(error))
    if account.problems:
        module.fail_json(msg="; ".join(account.problems), changes=account.changes)
    module.exit_json(changed=bool(account.changes), changes=account.changes)


if __name__ == "__main__":
    main()
