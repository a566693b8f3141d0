"""The command line of ``kubeproof-pod-network``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from kubeproof.install.pod_network.configuration import KUBE_PROXY, NETWORK_POLICY, PATH, Configuration
from kubeproof.install.pod_network.errors import PodNetworkError
from kubeproof.install.pod_network.state import State, record
from kubeproof.install.pod_network.watch import Watch


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; returns the process's exit status."""
    given = parser().parse_args(arguments)
    try:
        paths = (given.config, given.kube_proxy, given.network_policy)
        if given.command == "check":
            return _check(Configuration.load(*paths))
        Watch(paths, record()).run()
    except (PodNetworkError, OSError) as error:
        print("kubeproof-pod-network: %s" % error, file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    whole = argparse.ArgumentParser(
        prog="kubeproof-pod-network", description="A node's routes and rules for the pod network."
    )
    whole.add_argument("--config", type=Path, default=PATH, help="default: %(default)s")
    whole.add_argument("--kube-proxy", type=Path, default=KUBE_PROXY, help="default: %(default)s")
    whole.add_argument("--network-policy", type=Path, default=NETWORK_POLICY, help="default: %(default)s")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    commands.add_parser("run", help="restore what is missing, and keep restoring it until stopped")
    commands.add_parser("check", help="say what is missing; the exit status is 1 if anything is")
    return whole


def _check(configuration: Configuration) -> int:
    problems = State(configuration, record()).problems()
    print("\n".join(problems) or "nothing is missing")
    return 1 if problems else 0
