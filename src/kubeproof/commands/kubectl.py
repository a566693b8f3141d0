"""``kubeproof kubectl …``: the cluster's own kubectl with the admin's kubeconfig."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from kubeproof import api_proxy, api_servers, inventory, paths
from kubeproof.commands import common
from kubeproof.commands.common import SubParsers
from kubeproof.components.cache import Cache
from kubeproof.components.lock import Lock
from kubeproof.components.pins import MACHINES
from kubeproof.errors import KubeproofError
from kubeproof.process import attempt
from kubeproof.verify import kubeconfig as kubeconfigs


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's list; its arguments are not argparse's to read."""
    subparsers.add_parser("kubectl", help="kubectl as the cluster's admin; all arguments are kubectl's own")


def run(arguments: Sequence[str]) -> int:
    """Become kubectl: it gets this process's terminal, input and signals."""
    sources, rest = split(arguments)
    state = inventory.find_state(sources)
    program, config = binary(state), kubeconfig(state)
    files = str(config)
    # What changes the kubeconfig is to change nothing else.
    if rest[:1] != ["config"] and hasattr(os, "pidfd_open"):
        files = _with_proxy(config)
    os.execve(program, ["kubectl", *rest], {**environment(config), "KUBECONFIG": files})


def _with_proxy(config: Path) -> str:
    """The kubeconfigs for a kubectl that is to find whichever API server is ready, while there are several."""
    accesses = kubeconfigs.load_all(config)
    if len(accesses) == 1:
        return str(config)
    proxy = api_proxy.Proxy([access.server for access in accesses], accesses[0].authority)
    api_proxy.serve_beside(proxy)
    name, cluster = kubeconfigs.current_cluster(config)
    # Of a cluster that is in two files the first one's counts.
    through = {"name": name, "cluster": {**cluster, "proxy-url": proxy.url}}
    # In memory, for as long as kubectl lasts.
    descriptor = os.memfd_create("kubeconfig", flags=0)
    os.write(descriptor, json.dumps({"apiVersion": "v1", "kind": "Config", "clusters": [through]}).encode())
    return os.pathsep.join((f"/proc/self/fd/{descriptor}", str(config)))


def environment(config: Path) -> dict[str, str]:
    """The environment for a kubectl: a proxy that it names is not asked for the cluster of a kubeconfig."""
    clusters = yaml.safe_load(config.read_text(encoding="utf-8"))["clusters"]
    servers = [urlsplit(entry["cluster"]["server"]).hostname or "" for entry in clusters]
    excepted = os.environ.get("NO_PROXY") or os.environ.get("no_proxy", "")
    together = ",".join(filter(None, [excepted, *servers]))
    return {**os.environ, "NO_PROXY": together, "no_proxy": together}


def split(arguments: Sequence[str]) -> tuple[tuple[Path, ...], list[str]]:
    """The inventory, and what is for kubectl, whose own options none of these are in first place."""
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
        return common.local_inventory(value) if option == "--topology" else Path(value), rest
    except argparse.ArgumentTypeError as error:
        raise KubeproofError(f"--topology: {error}") from error


def kubeconfig(state: Path) -> Path:
    """The admin's kubeconfig in a state directory."""
    path = state / "admin.kubeconfig"
    if not path.is_file():
        raise KubeproofError(
            f"there is no cluster yet: {path}", hint="`kubeproof up` or playbooks/cluster.yml makes it"
        )
    return path


def binary(state: Path) -> Path:
    """The kubectl that belongs to the cluster of a state directory."""
    lock = Lock(state)
    arch = MACHINES.get(platform.machine(), platform.machine())
    entry = lock.component(arch, "kubernetes") or {}
    recorded = entry.get("binaries", {}).get("kubectl")
    with Cache() as cache:
        blob = cache.blob(recorded["sha256"]) if recorded else None
    if blob is None:
        raise KubeproofError(
            "the kubectl of this cluster is not in this machine's cache",
            hint=f"`kubeproof up` fetches it; any kubectl works with {state / 'admin.kubeconfig'}",
        )
    return blob.path


def command(state: Path) -> list[str]:
    """Kubectl as the admin, for kubeproof's own use: with the API server that is ready, if not all are."""
    program, config = binary(state), kubeconfig(state)
    accesses = kubeconfigs.load_all(config)
    chosen = accesses[0].server
    if accesses[1:]:
        chosen = api_servers.choose([each.server for each in accesses], accesses[0].authority)[0] or chosen
    return [str(program), "--kubeconfig", str(config), "--server", chosen]


def query(state: Path, *arguments: str, timeout: float = 20) -> Any:
    """What kubectl says, as data: for kubeproof's own use. None if the cluster can't be asked."""
    result = attempt([*command(state), *arguments, "-o", "json"], timeout=timeout, env=environment(kubeconfig(state)))
    return json.loads(result.stdout) if result.ok else None
