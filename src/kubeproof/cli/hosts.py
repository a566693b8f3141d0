"""``kubeproof hosts``: the local hosts alone, as ``up``, ``down`` and Molecule use them."""

from __future__ import annotations

import argparse

from kubeproof.cli.options import add_inventory
from kubeproof.core import active_run
from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts import lifecycle, machine
from kubeproof.local_hosts.plan import Plan, has_local_hosts, plan
from kubeproof.settings import inventory, state
from kubeproof.settings.inventory import Inventory


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "hosts", help="create, show or remove local hosts: containers and virtual machines on this machine"
    )
    parser.add_argument("action", choices=("create", "destroy", "status"))
    add_inventory(parser)
    parser.add_argument("--replace", action="store_true", help="create: recreate hosts whose definition has changed")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    cluster = inventory.load(arguments.inventory)
    wanted = _plan(cluster)
    machine.require_root()
    if arguments.action == "status":
        for host, word in lifecycle.status(wanted).items():
            print(f"{host.name:<12} {host.address!s:<16} {word}")
        return 0
    if arguments.action == "create":
        machine.require(print)
    with active_run.held(state.prepare(cluster.state), f"kubeproof hosts {arguments.action}"):
        if arguments.action == "create":
            if not lifecycle.create(wanted, print, replace=arguments.replace):
                print("nothing changed")
        elif not lifecycle.destroy(wanted, print):
            print("there are no hosts to remove")
    return 0


def _plan(described: Inventory) -> Plan:
    if not has_local_hosts(described):
        raise KubeproofError(
            f"the hosts of {described.path} are not made on this machine",
            hint="an inventory for local hosts sets local_host_network; see inventory/local/hosts.yml",
        )
    return plan(described)
