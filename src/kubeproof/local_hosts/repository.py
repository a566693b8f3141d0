"""Debian packages for hosts on a segment from which no mirror can be reached, served from this machine's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from kubeproof.core import files, paths
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import run
from kubeproof.local_hosts import disk, machine
from kubeproof.local_hosts.plan import Network, Plan, System
from kubeproof.settings.urls import in_url

PORT = 3142


def source(network: Network, system: System) -> str:
    """The line of a host's ``sources.list``. Nothing signs the index: the segment is this machine's own."""
    suite = disk.packages(system, Path()).name
    return f"deb [trusted=yes] http://{in_url(str(network.machine_address))}:{PORT}/{suite} ./"


def ensure(plan: Plan) -> None:
    """Serve the packages that the plan's bare hosts may want, if it has any."""
    bare = {host.system for host in plan.hosts if host.vm and not host.vm.preinstalled and not host.vm.image}
    if not bare:
        stop(plan.network)
        return
    for system in bare:
        _index(disk.packages(system, paths.cache_directory()))
    if _process(plan.network) is None:
        _serve(plan.network)


def stop(network: Network) -> None:
    """Serve no longer."""
    process = _process(network)
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    _number(network).unlink(missing_ok=True)


def _serve(network: Network) -> None:
    address = str(network.machine_address)
    command = [sys.executable, "-m", "http.server", "--bind", address, "--directory", str(_root()), str(PORT)]
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    # Long enough to see that the port is somebody else's.
    time.sleep(0.5)
    if server.poll() is not None:
        raise KubeproofError(f"packages cannot be served on {address}:{PORT}", hint="see what listens there: ss -ltnp")
    _number(network).parent.mkdir(parents=True, exist_ok=True)
    _number(network).write_text(f"{server.pid}\n")


def _index(directory: Path) -> None:
    """Write the list that the package manager reads (https://wiki.debian.org/DebianRepository/Format)."""
    packages = sorted(directory.glob("*.deb"))
    known = directory / "Packages"
    if known.exists() and all(package.stat().st_mtime < known.stat().st_mtime for package in packages):
        return
    files.write(known, "\n".join(_entry(package) for package in packages))


def _entry(package: Path) -> str:
    described = run(["dpkg-deb", "--field", str(package)])
    data = package.read_bytes()
    return f"{described}Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"


def _root() -> Path:
    return disk.packages(System.DEBIAN_12, paths.cache_directory()).parent


def _process(network: Network) -> int | None:
    try:
        number = int(_number(network).read_text())
        words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return number if str(network.machine_address).encode() in words else None


def _number(network: Network) -> Path:
    return machine.RUN / "repositories" / f"{network.name}.pid"
