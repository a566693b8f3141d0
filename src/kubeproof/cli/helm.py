"""``kubeproof helm …``: Helm with the admin's kubeconfig, fetched or built when it is first asked for."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kubeproof.api.kubectl import environment, kubeconfig
from kubeproof.cli import kubectl
from kubeproof.cli.options import SubParsers
from kubeproof.components import controller_program, pins
from kubeproof.core import controller_packages
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory

NAME = "helm"
# HELM_KUBEAPISERVER, HELM_KUBECONTEXT, HELM_KUBETOKEN, and what else `helm env` lists of these.
_ELSEWHERE = "HELM_KUBE"


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's list; its arguments are not argparse's to read."""
    subparsers.add_parser(NAME, help="Helm as the cluster's administrator; all arguments are passed to helm")


def run(arguments: Sequence[str]) -> int:
    """Become helm: it gets this process's terminal, input and signals."""
    sources, rest = kubectl.split(arguments)
    cluster = inventory.load(sources)
    config = kubeconfig(cluster.state)
    program = _program(cluster)
    # Helm's variables for other servers, contexts and users count more than a kubeconfig.
    kept = {name: value for name, value in environment(config).items() if not name.startswith(_ELSEWHERE)}
    os.execve(program, [NAME, *rest], {**kept, "KUBECONFIG": kubectl.with_proxy(config)})


def _program(cluster: Inventory) -> Path:
    """The helm of a cluster; the first time it takes a while."""
    request, pinned = controller_program.request_of(cluster), pins.load()
    cached = controller_program.cached(NAME, request, pinned, cluster.state)
    if cached:
        return cached
    origin = controller_program.source(request, cluster.state)

    def tell(text: str) -> None:
        # Standard output is helm's.
        print(f"kubeproof: {text}", file=sys.stderr)

    if origin == "go":
        controller_packages.ensure(controller_packages.BUILDS, tell)
        seconds = pinned.components[NAME].go.cold_seconds
        tell(f"building {NAME}, once: about {seconds} s on two cores, and its modules are downloaded before")
    else:
        tell(f"downloading {NAME}, once")
    return controller_program.obtain(NAME, request, pinned, cluster.state)
