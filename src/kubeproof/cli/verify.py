"""``kubeproof verify``: prove that a cluster is what it should be."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from kubeproof.cli.options import NOT_VERIFIED, SubParsers, add_become, add_inventory
from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.engine.claims import Level
from kubeproof.verify.engine.run import Options, verify


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "verify",
        help="verify that a cluster is what it should be",
        description="Looks at a running cluster from outside its components and says, claim by claim, whether it is "
        "what the architecture says. It works in namespaces of its own and removes them; what it has observed goes to "
        "reports/verification.html in the inventory's state, and as JSON and JUnit XML beside it. Exits with 0 if "
        "every claim that was looked at is proven.",
    )
    add_inventory(parser)
    add_become(parser)
    parser.add_argument(
        "--only",
        action="append",
        metavar="COMPONENT|CLAIM",
        help="verify only these claims; may be given several times",
    )
    parser.add_argument(
        "--level",
        choices=Level.names(),
        default=str(Level.STANDARD),
        help="quick: no pods; standard (default): no disruption; disruptive: stops components",
    )
    parser.add_argument("--kubeconfig", help="kubeconfig of the cluster (default: the installation's)")
    parser.add_argument("--connection", choices=("ssh", "paramiko"), help="how to reach the hosts (default: ssh)")
    parser.add_argument("--test-image", help="agnhost image for test pods (default: the installed one)")
    parser.add_argument("--report", help="path of the JSON report; HTML page and JUnit XML are written next to it")
    parser.add_argument(
        "more", nargs="*", metavar="-- PYTEST", help="more arguments of pytest, for example -- -k large"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    _check(arguments.more)
    return 0 if verify(arguments.inventory, Options.of(vars(arguments))) else NOT_VERIFIED


def _check(more: Sequence[str]) -> None:
    """Refuse what pytest would take for a file that there isn't, after the whole list of claims: a claim's name."""
    if not more or more[0].startswith("-") or (paths.PROJECT / more[0].partition("::")[0]).exists():
        return
    raise KubeproofError(
        f"{more[0]} is neither a file of tests nor an option of pytest",
        hint=f"claims and components are given with --only: kubeproof verify --only {more[0]}",
    )
