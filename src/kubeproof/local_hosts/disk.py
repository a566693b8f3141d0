"""The disk images that virtual machines start from: a Debian with a kernel of its own, as a file in the cache."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kubeproof.core import debian
from kubeproof.core.errors import KubeproofError
from kubeproof.core.locking import locked
from kubeproof.core.process import attempt
from kubeproof.local_hosts.plan import System

# A server with a kernel of its own, and whom its operators log in as.
_MACHINE = ("initramfs-tools", "libpam-systemd", "linux-image-cloud-amd64", "sudo", "udev")

# Sparse: it takes the room that is used. A host's own disk is as large as the inventory says.
_BASE_SIZE = "4g"

# The second disk is an archive with what makes the host itself (identity.py). It is taken at the first start, and again
# whenever it is another one.
_SEED = """\
#!/bin/sh
set -eu
taken=/var/lib/local-host/seed
digest=$(sha256sum </dev/vdb)
[ "$(cat "$taken" 2>/dev/null)" != "$digest" ] || exit 0
tar --extract --file=/dev/vdb --directory=/
sh /run/local-host/setup
mkdir -p "${taken%/*}"
printf '%s\\n' "$digest" >"$taken"
"""

_SEED_UNIT = """\
[Unit]
Description=Identity and access from the seed disk
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target network-pre.target systemd-networkd.service systemd-resolved.service
Wants=network-pre.target
ConditionPathExists=/dev/vdb

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/lib/local-host/seed

[Install]
WantedBy=sysinit.target
"""

# The file system is made smaller than the disk that the host gets.
_GROW_UNIT = """\
[Unit]
Description=The root file system takes the whole disk
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/resize2fs /dev/vda

[Install]
WantedBy=sysinit.target
"""

# As cloud-init does, so that whoever made the machine learns its key from its console and takes none on trust.
_TELL_KEY = """\
[Service]
ExecStartPost=/bin/sh -c 'cat /etc/ssh/ssh_host_ed25519_key.pub >/dev/console'
"""

_FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/apt/sources.list": "",
    "etc/systemd/system/local-host-grow.service": _GROW_UNIT,
    "etc/systemd/system/local-host-seed.service": _SEED_UNIT,
    "etc/systemd/system/ssh.service.d/60-tell-host-key.conf": _TELL_KEY,
    "usr/local/lib/local-host/seed": _SEED,
}

_LINKS = {
    f"etc/systemd/system/{target}.wants/{unit}": source
    for target, unit, source in (
        ("sysinit.target", "local-host-grow.service", "/etc/systemd/system/local-host-grow.service"),
        ("sysinit.target", "local-host-seed.service", "/etc/systemd/system/local-host-seed.service"),
        ("multi-user.target", "systemd-networkd.service", "/lib/systemd/system/systemd-networkd.service"),
        ("network-online.target", "systemd-networkd-wait-online.service",
         "/lib/systemd/system/systemd-networkd-wait-online.service"),
    )
}  # fmt: skip

# Debian 13 resolves names by systemd-resolved, whose stub on loopback is of no use to pods; Debian 12 by a plain file.
_RESOLVED = {System.DEBIAN_13}


@dataclass(frozen=True)
class Base:
    """What a virtual machine boots: a disk that nobody writes to, and the kernel and initial RAM disk on it."""

    disk: Path
    kernel: Path
    initrd: Path


def recipe(system: System, *, preinstalled: bool) -> debian.Recipe:
    """What the disk of a system is made of. Unless ``preinstalled`` it lacks what components call."""
    resolved = system in _RESOLVED
    return debian.Recipe(
        suite=system.suite,
        packages=(
            debian.SERVER
            + _MACHINE
            + ("e2fsprogs",)
            + (debian.CALLED if preinstalled else ())
            + (("systemd-resolved",) if resolved else ())
        ),
        off=debian.OFF + (debian.CALLED_OFF if preinstalled else ()),
        files=_FILES,
        links={**_LINKS, **({"etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"} if resolved else {})},
    )


def base(system: System, cache: Path, *, preinstalled: bool) -> Base:
    """Where a system's disk, kernel and initial RAM disk are, or will be."""
    name = f"{system}-{recipe(system, preinstalled=preinstalled).digest}"
    directory = _directory(cache) / name
    return Base(directory / "disk.raw", directory / "vmlinuz", directory / "initrd.img")


def ensure(system: System, cache: Path, *, preinstalled: bool) -> Base:
    """Make a system's disk unless it is there."""
    wanted = base(system, cache, preinstalled=preinstalled)
    directory = wanted.disk.parent
    with locked(cache / f"{directory.name}.lock"):
        if not directory.is_dir():
            _build(recipe(system, preinstalled=preinstalled), directory, cache)
        if not preinstalled:
            # What the installation will ask the package manager for: on an isolated segment it comes from the cache.
            debian.download(system.suite, debian.SERVER + debian.CALLED, cache)
    return wanted


def remove_unused(cache: Path, used: Collection[str]) -> None:
    """Remove disks of earlier recipes, but for those (their directories' names) that a machine's own disk builds on."""
    choices = [(system, preinstalled) for system in System for preinstalled in (True, False)]
    current = {base(system, cache, preinstalled=preinstalled).disk.parent.name for system, preinstalled in choices}
    for path in _directory(cache).glob("*"):
        if path.suffix != ".new" and path.name not in {*current, *used}:
            shutil.rmtree(path, ignore_errors=True)


def packages(system: System, cache: Path) -> Path:
    """Where the packages that a bare host may want are."""
    return debian.packages_directory(cache, system.suite)


def _build(wanted: debian.Recipe, directory: Path, cache: Path) -> None:
    """Make the disk in a directory beside its own and move it into place: a killed run leaves nothing half made."""
    fresh = directory.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    with debian.tree(wanted, cache) as root:
        for pattern, name in (("boot/vmlinuz-*", "vmlinuz"), ("boot/initrd.img-*", "initrd.img")):
            (found,) = root.glob(pattern)
            shutil.copyfile(found, fresh / name)
        made = attempt(["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(fresh / "disk.raw"), _BASE_SIZE])
        if not made.ok:
            raise KubeproofError(f"mke2fs could not make the hosts' disk: {made.stderr.strip()}")
    fresh.rename(directory)


def _directory(cache: Path) -> Path:
    return cache / "vm-disks"
