"""The image that container hosts start from, in podman's storage."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kubeproof.core import debian
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import attempt, run
from kubeproof.local_hosts.plan import System

REPOSITORY = "localhost/kubeproof-host"

_LINKS = {
    # Were udev installed later, this keeps it from deriving MAC addresses.
    "etc/systemd/network/99-default.link": "/dev/null",
    # A container has no terminal: a getty would fail, and the host would count as degraded.
    "etc/systemd/system/getty.target": "/dev/null",
    "etc/systemd/system/console-getty.service": "/dev/null",
}


def recipe(system: System) -> debian.Recipe:
    """What the image of a system is made of.

    All of them start on cgroup version 1 too: systemd 257, of Debian 13, insists on version 2 on a machine, and takes
    what there is in a container. There is no udev: a container has no hardware, and udev would give all hosts' network
    interfaces the same MAC address.
    """
    return debian.Recipe(
        suite=system.suite,
        packages=debian.SERVER + debian.CALLED,
        off=debian.OFF + debian.CALLED_OFF,
        links=_LINKS,
    )


def reference(system: System) -> str:
    """The image's name in podman's storage."""
    return f"{REPOSITORY}:{recipe(system).digest}"


def present(system: System) -> bool:
    """Whether podman has the image."""
    return attempt(["podman", "image", "exists", reference(system)]).ok


def build(system: System, cache: Path) -> None:
    """Make the image and give it to podman."""
    with debian.tree(recipe(system), cache) as root:
        _import(root, reference(system))


def _import(root: Path, name: str) -> None:
    """Give a directory to podman as an image."""
    tar = subprocess.Popen(
        ["tar", "--create", "--numeric-owner", "--directory", str(root), "."], stdout=subprocess.PIPE
    )
    with tar:
        imported = subprocess.run(
            ["podman", "import", "--quiet", "-", name],
            stdin=tar.stdout, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if tar.returncode != 0 or imported.returncode != 0:
        raise KubeproofError(f"podman could not import the hosts' image: {imported.stderr.strip()}")


def remove_old() -> None:
    """Remove images of earlier recipes that no host uses any more."""
    names = run(["podman", "images", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY]).split()
    current = {reference(system) for system in System}
    for name in names:
        if name not in current:
            # Refused while a host still uses it: then it goes at a later time.
            attempt(["podman", "rmi", name])
