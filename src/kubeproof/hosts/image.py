"""The image that container hosts start from, in podman's storage."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kubeproof.errors import KubeproofError
from kubeproof.hosts import debian
from kubeproof.process import attempt, run

REPOSITORY = "localhost/kubeproof-host"

# Debian 12: the systemd of later releases refuses to start on cgroup v1. There is no udev: a container has no hardware,
# and udev would give every host's network interface the same MAC address.
RECIPE = debian.Recipe(
    suite="bookworm",
    packages=debian.SERVER + debian.CALLED,
    off=debian.OFF + debian.CALLED_OFF,
    links={
        # Were udev installed later, this keeps it from deriving MAC addresses.
        "etc/systemd/network/99-default.link": "/dev/null",
        # A container has no terminal: a getty would fail, and the host would count as degraded.
        "etc/systemd/system/getty.target": "/dev/null",
        "etc/systemd/system/console-getty.service": "/dev/null",
    },
)


def reference() -> str:
    """The image's name in podman's storage."""
    return f"{REPOSITORY}:{RECIPE.digest}"


def present() -> bool:
    """Whether podman has the image."""
    return attempt(["podman", "image", "exists", reference()]).ok


def build(cache: Path) -> None:
    """Make the image and give it to podman."""
    with debian.tree(RECIPE, cache) as root:
        _import(root)


def _import(root: Path) -> None:
    """Give a directory to podman as an image."""
    tar = subprocess.Popen(
        ["tar", "--create", "--numeric-owner", "--directory", str(root), "."], stdout=subprocess.PIPE
    )
    with tar:
        imported = subprocess.run(
            ["podman", "import", "--quiet", "-", reference()],
            stdin=tar.stdout, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if tar.returncode != 0 or imported.returncode != 0:
        raise KubeproofError(f"podman could not import the hosts' image: {imported.stderr.strip()}")


def remove_old() -> None:
    """Remove images of earlier recipes that no host uses any more."""
    names = run(["podman", "images", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY]).split()
    for name in names:
        if name != reference():
            # Refused while a host still uses it: then it goes at a later time.
            attempt(["podman", "rmi", name])
