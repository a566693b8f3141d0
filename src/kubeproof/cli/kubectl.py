"""``kubeproof kubectl …``: the cluster's own kubectl with the admin's kubeconfig."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from kubeproof.api import api_proxy
from kubeproof.api import kubeconfig as kubeconfigs
from kubeproof.api.kubectl import binary, environment, kubeconfig
from kubeproof.cli import options
from kubeproof.cli.options import SubParsers
from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.settings import inventory


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's list; its arguments are not argparse's to read."""
    subparsers.add_parser("kubectl", help="kubectl as the cluster's administrator; all arguments are passed to kubectl")


def run(arguments: Sequence[str]) -> int:
    """Become kubectl: it gets this process's terminal, input and signals."""
    sources, rest = split(arguments)
    state = inventory.find_state(sources)
    program, config = binary(state), kubeconfig(state)
    # What changes the kubeconfig is to change nothing else.
    files = str(config) if rest[:1] == ["config"] else with_proxy(config)
    os.execve(program, ["kubectl", *rest], {**environment(config), "KUBECONFIG": files})


def with_proxy(config: Path) -> str:
    """The kubeconfigs for a program that is to find whichever API server is ready, while there are several.

    It takes the place of this process.
    """
    if not hasattr(os, "pidfd_open"):
        return str(config)
    accesses = kubeconfigs.load_all(config)
    if len(accesses) == 1:
        return str(config)
    proxy = api_proxy.Proxy([access.server for access in accesses], accesses[0].ca)
    api_proxy.serve_beside(proxy)
    name, cluster = kubeconfigs.current_cluster(config)
    # Of a cluster that is in two files the first one's counts.
    through = {"name": name, "cluster": {**cluster, "proxy-url": proxy.url}}
    # In memory, for as long as the program lasts.
    descriptor = os.memfd_create("kubeconfig", flags=0)
    os.write(descriptor, json.dumps({"apiVersion": "v1", "kind": "Config", "clusters": [through]}).encode())
    return os.pathsep.join((f"/proc/self/fd/{descriptor}", str(config)))


def split(arguments: Sequence[str]) -> tuple[tuple[Path, ...], list[str]]:
    """The inventory, and what is for kubectl or helm, whose own options none of these are in first place."""
    sources: list[Path] = []
    rest = list(arguments)
    while rest and (taken := _source(rest)):
        source, rest = taken
        sources.append(source)
    # What some put between a program's options and what it is to run.
    return tuple(sources) or (paths.DEFAULT_INVENTORY,), rest[1:] if rest[:1] == ["--"] else rest


def _source(arguments: list[str]) -> tuple[Path, list[str]] | None:
    """What of an inventory is in first place, and what follows it; None if something else is."""
    option, given, value = arguments[0].partition("=")
    if option not in ("-i", "--inventory", "--topology") or not (given or arguments[1:]):
        return None
    value, rest = (value, arguments[1:]) if given else (arguments[1], arguments[2:])
    try:
        return options.local_inventory(value) if option == "--topology" else Path(value), rest
    except argparse.ArgumentTypeError as error:
        raise KubeproofError(f"--topology: {error}") from error
