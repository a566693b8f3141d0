"""The cluster's own kubectl: where it is, and how kubeproof asks it."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubeproof.api import api_servers
from kubeproof.api import kubeconfig as kubeconfigs
from kubeproof.components.cache import Cache
from kubeproof.components.lock import Lock
from kubeproof.components.pins import MACHINES
from kubeproof.core import fast_yaml
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import attempt


def kubeconfig(state: Path) -> Path:
    """The admin's kubeconfig in a state directory."""
    path = state / "admin.kubeconfig"
    if not path.is_file():
        raise KubeproofError(
            f"there is no cluster yet: {path}", hint="`kubeproof up` or playbooks/cluster.yml installs one"
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
            "this cluster's version of kubectl is not in this machine's cache",
            hint=f"`kubeproof up` fetches it; any kubectl works with {state / 'admin.kubeconfig'}",
        )
    return blob.path


def command(state: Path) -> list[str]:
    """Kubectl as the admin, for kubeproof's own use: with the API server that is ready, if not all are."""
    program, config = binary(state), kubeconfig(state)
    accesses = kubeconfigs.load_all(config)
    chosen = accesses[0].server
    if accesses[1:]:
        chosen = api_servers.choose([each.server for each in accesses], accesses[0].ca)[0] or chosen
    return [str(program), "--kubeconfig", str(config), "--server", chosen]


def query(state: Path, *arguments: str, timeout: float = 20) -> Any:
    """What kubectl says, as data: for kubeproof's own use. None if the cluster can't be asked."""
    result = attempt([*command(state), *arguments, "-o", "json"], timeout=timeout, env=environment(kubeconfig(state)))
    return json.loads(result.stdout) if result.ok else None


def environment(config: Path) -> dict[str, str]:
    """The environment for a kubectl: a proxy that it names is not asked for the cluster of a kubeconfig."""
    clusters = fast_yaml.load(config.read_text(encoding="utf-8"))["clusters"]
    servers = [urlsplit(entry["cluster"]["server"]).hostname or "" for entry in clusters]
    excepted = os.environ.get("NO_PROXY") or os.environ.get("no_proxy", "")
    together = ",".join(filter(None, [excepted, *servers]))
    return {**os.environ, "NO_PROXY": together, "no_proxy": together}
