"""``kubeproof down``: a local cluster's hosts, and all that was only theirs, go away."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from kubeproof.backup import keys
from kubeproof.cli.options import SubParsers, add_inventory, shown
from kubeproof.core import active_run
from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts import lifecycle, machine
from kubeproof.local_hosts.plan import has_local_hosts, plan
from kubeproof.settings import inventory, state

# What is only the cluster's, and of no use without it. Whatever else is in the state directory stays: what happened,
# what was found, which bytes were used, the key that opens copies of backups, and what others put there.
FORGOTTEN = (
    "pki", "admin.kubeconfig", "backup-keys", "rolling", "restore", state.UPGRADE, state.REHEARSED, state.REHEARSAL,
    "ssh",
)  # fmt: skip


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "down",
        help="remove a local cluster",
        description="Removes the local hosts, their network, and the cluster's CAs, keys and kubeconfig. "
        "Logs, reports, the component lock and the key of backups are kept. The next `up` makes a new cluster.",
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
    machine.require_root()
    with active_run.held(state.prepare(cluster.state), "kubeproof down"):
        removed = lifecycle.destroy(plan(cluster), print)
        forget(cluster.state)
    identity = cluster.state / keys.IDENTITY
    if identity.exists():
        print(f"kept: {identity}, without which copies of this cluster's backups cannot be opened")
    print("the cluster was removed" if removed else "there was no cluster")
    return 0


def forget(directory: Path) -> None:
    """Remove what belongs to the cluster that is gone: a new one makes its own."""
    for path in (directory / name for name in FORGOTTEN):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
