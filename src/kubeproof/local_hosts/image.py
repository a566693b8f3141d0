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


# Everything else that runs here is started after that. What is mounted below /usr stays (--rbind).
_READ_ONLY_UNIT = """\
[Unit]
Description=/usr cannot be changed
DefaultDependencies=no
Before=sysinit.target
ConditionPathIsReadWrite=/usr

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount --rbind /usr /usr
ExecStart=/bin/mount -o remount,bind,ro /usr

[Install]
WantedBy=sysinit.target
"""
_READ_ONLY = "etc/systemd/system/local-host-read-only.service"
# What a container OS has not, of what Debian is made with.
_NO_PACKAGES = ("usr/bin/apt*", "usr/bin/dpkg*", "usr/lib/apt", "usr/bin/perl*", "usr/bin/python*")


def recipe(system: System) -> debian.Recipe:
    """What the image of a system is made of.

    All of them start on cgroup version 1 too: systemd 257, of Debian 13, insists on version 2 on a machine, and takes
    what there is in a container. There is no udev: a container has no hardware, and udev would give all hosts' network
    interfaces the same MAC address.
    """
    if system is System.CONTAINER_OS:
        return debian.Recipe(
            suite=system.suite,
            packages=tuple(name for name in debian.SERVER + debian.CALLED if name != "python3"),
            off=debian.OFF + debian.CALLED_OFF,
            files={_READ_ONLY: _READ_ONLY_UNIT},
            links={**_LINKS, f"etc/systemd/system/sysinit.target.wants/{Path(_READ_ONLY).name}": f"/{_READ_ONLY}"},
            absent=_NO_PACKAGES,
        )
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
