#!/usr/bin/python
"""Stop kube-proxy and remove its rules, unless Services are then not served."""

from __future__ import annotations

import ssl
import time
import urllib.error
from typing import Callable, List

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.direct import opener
from ansible.module_utils.uninstall.account import Account, run
from ansible.module_utils.uninstall.firewall import Firewall

DOCUMENTATION = r"""
module: kube_proxy_removal
short_description: Stop kube-proxy and remove its rules, unless Services are then not served
description:
  - For hosts whose pod network replaces kube-proxy. Stops its unit, removes its tables and chains from the kernel, and
    asks at the address of a Service. If nothing answers there in time, kube-proxy is started again, which writes its
    rules again, and the task fails.
  - The unit's file and what else kube-proxy has on the host stay. All other rules stay, those of the kubelet and of
    network policies included.
options:
  unit: {description: "kube-proxy's unit.", type: str, required: true}
  url: {description: "What to ask at the address of a Service, usually that of the API.", type: str, required: true}
  ca: {description: CA that has signed the certificate of what answers., type: path, required: true}
  timeout: {description: Longest time, in seconds, to wait for an answer., type: int, default: 60}
extends_documentation_fragment: [attributes]
attributes:
  check_mode: {support: partial, details: Cannot tell whether anything else serves Services.}
  diff_mode: {support: none}
seealso:
  - module: reset_host
"""

EXAMPLES = r"""
- name: Remove kube-proxy's rules, if something else serves Services
  kube_proxy_removal:
    unit: kube-proxy.service
    url: https://10.96.0.1:443/livez
    ca: /etc/kubernetes/pki/ca.crt
  throttle: 1
"""

RETURN = r"""
changes:
  description: The stopped unit, removed tables and chains; in check mode those that would be removed.
  type: list
  elements: dict
  returned: always
  contains:
    path: {description: "Unit, table or chain, and the program that it was found with.", type: str}
    what: {description: V(stopped) or V(removed)., type: str}
  sample: [{path: kube-proxy.service, what: stopped}, {path: nft table ip kube-proxy, what: removed}]
"""

TRY_SECONDS = 3.0
POLL_SECONDS = 0.5
NOT_REPLACED = (
    "without kube-proxy nothing answers at the address of a Service: %s. The pod network does not replace kube-proxy "
    "on this host, or not yet. Have it do so, or set kube_proxy_form to service"
)


def asked(url: str, ca: str) -> str:
    """What is wrong with the answer to a request on a new connection; empty if nothing is."""
    try:
        with opener(ssl.create_default_context(cafile=ca or None)).open(url, timeout=TRY_SECONDS) as response:
            return "" if response.status == 200 else "%s is answered with %d" % (url, response.status)
    except urllib.error.HTTPError as error:
        return "%s is answered with %d" % (url, error.code)
    except (OSError, ValueError) as error:
        return "%s: %s" % (url, getattr(error, "reason", error))


def unserved(ask: Callable[[], str], timeout: float) -> str:
    """The last of what was wrong until the time was over; empty once nothing is."""
    deadline = time.monotonic() + timeout
    while True:
        problem = ask()
        if not problem or time.monotonic() >= deadline:
            return problem
        time.sleep(POLL_SECONDS)


def removed(account: Account, unit: str, ask: Callable[[], str], timeout: float) -> List[str]:
    """Stop the unit and remove its rules. Returns what is wrong, once it was started again; nothing if all is well."""
    try:
        account.undo(unit, "stopped", lambda: run(["systemctl", "stop", unit]))
        Firewall(account, []).undo_services()
        problem = "" if account.check_mode or account.problems else unserved(ask, timeout)
        problems = [*account.problems, *([NOT_REPLACED % problem] if problem else [])]
    except (CommandFailed, OSError) as error:
        problems = [*account.problems, str(error)]
    if problems and not account.check_mode:
        problems.append("kube-proxy %s" % started(unit))
    return problems


def main() -> None:
    """Ansible's entry."""
    options = {
        "unit": {"type": "str", "required": True},
        "url": {"type": "str", "required": True},
        "ca": {"type": "path", "required": True},
        "timeout": {"type": "int", "default": 60},
    }
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    url, ca = module.params["url"], module.params["ca"]
    account = Account(module.check_mode)
    problems = removed(account, module.params["unit"], lambda: asked(url, ca), module.params["timeout"])
    if problems:
        module.fail_json(msg="; ".join(problems), changes=account.changes)
    module.exit_json(changed=bool(account.changes), changes=account.changes)


def started(unit: str) -> str:
    """What became of the attempt to start it again."""
    try:
        run(["systemctl", "start", unit])
    except CommandFailed as error:
        return "could not be started again: %s" % error
    return "was started again"


if __name__ == "__main__":
    main()
