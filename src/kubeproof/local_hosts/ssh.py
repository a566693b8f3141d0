"""How the controller and local hosts come to trust each other."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from kubeproof.core import files, waiting
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import run
from kubeproof.local_hosts.plan import LocalHost, Plan
from kubeproof.settings import state


def directory(plan: Plan) -> Path:
    """Where an inventory's SSH key and known hosts are."""
    return plan.keys or plan.state / "ssh"


def ensure_key(plan: Plan) -> tuple[str, bool]:
    """The public key that all hosts accept, and whether it had to be made."""
    private = directory(plan) / "id_ed25519"
    _bring_along(plan)
    public = private.with_suffix(".pub")
    if private.is_file() and public.is_file():
        return public.read_text(), False
    state.prepare(private.parent.parent)
    private.parent.mkdir(exist_ok=True, mode=0o700)
    private.unlink(missing_ok=True)
    comment = f"kubeproof {plan.network.name}"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(private)])
    return public.read_text(), True


def _bring_along(plan: Plan) -> None:
    """Take what there is of keys to where the inventory has them now."""
    there, here = plan.state / "ssh", directory(plan)
    if there != here and there.is_dir() and not here.exists():
        state.prepare(here.parent)
        there.rename(here)


def forget(plan: Plan) -> None:
    """Remove the keys, and the directory that was only theirs."""
    shutil.rmtree(directory(plan), ignore_errors=True)
    parent = directory(plan).parent
    if parent != plan.state and {path.name for path in parent.glob("*")} <= {".gitignore"}:
        shutil.rmtree(parent, ignore_errors=True)


def write_known_hosts(plan: Plan, keys: Mapping[str, str]) -> bool:
    """Record the hosts' keys, by host name; returns whether that changed anything.

    The keys were not learned through SSH, so that nothing is taken on trust at the first connection.
    """
    addresses = {host.name: host.address for host in plan.hosts}
    lines = [f"{addresses[name]} {' '.join(key.split()[:2])}\n" for name, key in sorted(keys.items())]
    path = directory(plan) / "known_hosts"
    content = "".join(lines)
    if path.is_file() and path.read_text() == content:
        return False
    files.write(path, content)
    return True


def wait_until_reachable(host: LocalHost, *, timeout: float, look: str) -> None:
    """Wait until a host's sshd greets. ``look``: a command that shows why it does not."""
    if not waiting.until(lambda: _greets(host), timeout, pause=0.05):
        raise KubeproofError(
            f"host {host.name} does not answer on SSH at {host.address} after {timeout:.0f} s",
            hint=f"look into it with `{look}`",
        )


def _greets(host: LocalHost) -> bool:
    try:
        with socket.create_connection((str(host.address), 22), timeout=1.0) as connection:
            connection.settimeout(1.0)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
