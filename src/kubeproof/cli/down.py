"""``kubeproof down``: a local cluster's hosts, and all that was only theirs, go away."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from kubeproof.cli.options import SubParsers, add_inventory, shown
from kubeproof.core import active_run
from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import has_local_hosts, plan
from kubeproof.settings import inventory, state

# What is still worth something without the cluster: what happened, what was found, and which bytes were used.
_KEPT = {".gitignore", active_run.NAME, "logs", "reports", "components.lock.json"}


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "down",
        help="remove a local cluster",
        description="Removes the local hosts, their network, and the cluster's CAs, keys and kubeconfig. "
        "Logs, reports and the component lock are kept. The next `up` makes a new cluster.",
    )
    add_inventory(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    cluster = inventory.load(arguments.inventory)
    if not has_local_hosts(cluster):
        raise KubeproofError(
            "`down` removes local hosts, and these are not local hosts",
            hint=f"to uninstall kubeproof from them: ansible-playbook {shown(arguments.inventory)} playbooks/reset.yml",
        )
    with active_run.held(state.prepare(cluster.state), "kubeproof down"):
        removed = lifecycle.destroy(plan(cluster), print)
        forget(cluster.state)
    print("the cluster was removed" if removed else "there was no cluster")
    return 0


def forget(directory: Path) -> None:
    """Remove what belongs to the cluster that is gone: a new one makes its own."""
    for path in directory.iterdir():
        if path.name in _KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
