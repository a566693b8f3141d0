#!/usr/bin/python
"""Take everything off a host that kubeproof put there, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.transaction import PackagesError, finish_interrupted
from ansible.module_utils.uninstall.account import Account, Unfinished
from ansible.module_utils.uninstall.cluster_network import ClusterNetwork
from ansible.module_utils.uninstall.files import Files, remove_all
from ansible.module_utils.uninstall.firewall import Firewall
from ansible.module_utils.uninstall.mounts import Mounts
from ansible.module_utils.uninstall.network import Network
from ansible.module_utils.uninstall.processes import Pods, Processes
from ansible.module_utils.uninstall.software import Software
from ansible.module_utils.uninstall.units import Units

DOCUMENTATION = r"""
module: reset_host
short_description: Uninstall everything that kubeproof installed on a host, and nothing else
description:
  - Undoes the changes in the install manifest C(/var/lib/kubeproof/manifest.json), and removes what installed
    components created (processes of pods, mounts, network devices, routes, firewall rules). Without an install manifest
    there is nothing to do.
  - Destroys the data of etcd and all data of pods on local disks.
  - Directories to which others have added files are kept, and returned in RV(kept).
  - May be killed at any point and run again. The install manifest is removed last.
  - If some changes cannot be undone, undoes the others, keeps the install manifest, and fails with all problems.
options: {}
extends_documentation_fragment: [attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full, details: Shows the list of RV(changes).}
seealso:
  - module: install_component
"""

EXAMPLES = r"""
- name: Uninstall kubeproof from the host
  reset_host:
"""

RETURN = r"""
changes:
  description: Undone changes, in order; in check mode those that would be undone.
  type: list
  elements: dict
  returned: always
  contains:
    path: {description: "File, unit, user or other object.", type: str}
    what: {description: What was done., type: str}
  sample: [{path: kubelet.service, what: stopped}]
kept:
  description: What kubeproof installed or used, and is kept on the host.
  type: list
  elements: dict
  returned: always
  contains:
    path: {description: File or other object., type: str}
    why: {description: Why it is kept., type: str}
  sample: [{path: /etc/kubernetes, why: "others put something in it: notes.txt"}]
"""

STATE_DIRECTORY = "/var/lib/kubeproof"
# As plugins/modules/upgrade_rehearsal.py has it: what a host that lost power in the middle of one still has.
REHEARSAL = "/var/lib/kubeproof-rehearsal"
# Where none of these was installed, a pod, a bridge or a chain is somebody else's.
NODE_UNITS = {
    "containerd.service", "crio.service", "cri-docker.service", "docker.service", "kubelet.service",
    "kube-proxy.service",
}  # fmt: skip


def read_manifest(directory: str) -> List[Dict[str, Any]]:
    """What was done to this host."""
    try:
        with open(os.path.join(directory, "manifest.json"), encoding="utf-8") as stream:
            document = json.load(stream)
        entries: List[Dict[str, Any]] = document["entries"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        raise Unfinished("%s is damaged; what was done to this host is not known" % stream.name) from None
    if document["version"] != 1:
        raise Unfinished("the manifest is of version %s: reset with the kubeproof that wrote it" % document["version"])
    return entries


def undo(account: Account, entries: List[Dict[str, Any]]) -> None:
    """Everything, each part after what uses it."""
    units, mounts = Units(account, entries), Mounts(account)
    units.stop()
    if NODE_UNITS.intersection(units.names):
        undo_node(account, entries, units, mounts)
    Files(account, entries, mounts.busy).undo()
    if os.path.isdir(REHEARSAL):
        account.undo(REHEARSAL, "removed", lambda: remove_all([REHEARSAL]))
    units.forget()
    Software(account, entries).undo()
    units.bring_back()


def undo_node(account: Account, entries: List[Dict[str, Any]], units: Units, mounts: Mounts) -> None:
    """What the components of a node did on their own, which no manifest has."""
    pods = Pods(account, Processes(), units.cgroups())
    pods.kill()
    network = Network(account, entries)
    network.detach_pods()
    mounts.remove_namespaces()
    ClusterNetwork(account, entries).undo()
    network.remove_devices()
    network.remove_routes()
    Firewall(account, entries).undo()
    mounts.detach([entry["path"] for entry in entries if entry["kind"] == "data"])
    pods.remove_cgroups()


def forget(account: Account, directory: str) -> None:
    """Remove our own memory: only when there is nothing left to remember, and the manifest last."""
    if not os.path.isdir(directory) or account.problems:
        return
    manifest = os.path.join(directory, "manifest.json")
    paths = [path for path in (os.path.join(directory, name) for name in os.listdir(directory)) if path != manifest]

    def remove() -> None:
        remove_all(paths)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(manifest)
        os.rmdir(directory)

    account.undo(directory, "removed", remove)


def reset(account: Account, directory: str = STATE_DIRECTORY) -> None:
    """Reset the host as far as possible."""
    try:
        if not account.check_mode:
            finish_interrupted(directory)
        undo(account, read_manifest(directory))
        forget(account, directory)
    except (Unfinished, CommandFailed, PackagesError, OSError) as error:
        account.problems.append(str(error))


def main() -> None:
    """Reset, and report."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    account = Account(module.check_mode)
    reset(account)
    listed = "".join("%(path)s: %(what)s\n" % change for change in account.changes)
    result = {
        "changed": bool(account.changes),
        "changes": account.changes,
        "kept": account.kept,
        "diff": {"before_header": "what kubeproof put here", "before": listed, "after_header": "nothing", "after": ""},
    }
    if account.problems:
        module.fail_json(msg="; ".join(account.problems), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
