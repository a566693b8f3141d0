"""A plain Debian with systemd and sshd, made by debootstrap: what local hosts of every kind start from."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import Result, attempt

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# What every Debian server has.
SERVER = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "mount",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
    "tar",
    "util-linux",
    "xz-utils",
)

# What components and their operators call besides.
CALLED = (
    "conntrack",
    "curl",
    "e2fsprogs",
    "ebtables",
    "ethtool",
    "haproxy",
    "ipset",
    "iptables",
    "keepalived",
    "nftables",
    "openssl",
    "rsync",
    "socat",
    "zstd",
)

# A host makes its own SSH key at its first start, as a cloned machine must. sshd checks its configuration before it
# starts, so the key has to come first.
_SSHD_UNIT = """\
[Service]
Environment=KEY=/etc/ssh/ssh_host_ed25519_key
ExecStartPre=
ExecStartPre=/bin/sh -c 'test -s "$KEY" || ssh-keygen -q -t ed25519 -N "" -f "$KEY"'
ExecStartPre=/usr/sbin/sshd -t
"""

_SSHD_SETTINGS = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
UseDNS no
# The default of 10 refuses connections when an installer with many forks opens them all at once.
MaxStartups 100:30:200
MaxSessions 100
"""

# Nothing here may look for packages on the network or trim the machine's disk.
OFF = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
)
# Units that CALLED brings: a host on which somebody has installed these packages to no end has them off.
CALLED_OFF = (
    "haproxy.service",
    "keepalived.service",
    "nftables.service",
)

_FILES = {
    # Empty: each host draws its own at its first start.
    "etc/machine-id": "",
    "etc/hostname": "",
    "etc/resolv.conf": "",
    "etc/ssh/sshd_config.d/50-kubeproof.conf": _SSHD_SETTINGS,
    "etc/systemd/system/ssh.service.d/50-host-key.conf": _SSHD_UNIT,
}

# Keys and identities that every host must make itself, and what a host that nobody reads manuals on can spare.
ABSENT = (
    "etc/ssh/ssh_host_*",
    "var/lib/dbus/*",
    "var/cache/apt/archives/*.deb",
    "var/lib/apt/lists/*_*",
    "usr/share/doc/*",
    "usr/share/locale/*",
    "usr/share/man/*",
)


@dataclass(frozen=True)
class Recipe:
    """What a tree is made of: a release of Debian with packages, and what is changed in it.

    ``off`` are units that are disabled; ``files`` contents by path from the root, executable if they begin with ``#!``;
    ``links`` targets by path; ``absent`` patterns of what is taken out again.
    """

    suite: str
    packages: tuple[str, ...]
    off: tuple[str, ...] = OFF
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The recipe in twelve characters: another recipe is another image."""
        parts: tuple[object, ...] = (
            self.suite,
            sorted(self.packages),
            sorted(self._files.items()),
            sorted(self.links.items()),
            ABSENT,
            self.off,
        )
        parts += (self.absent,) if self.absent else ()
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]

    @property
    def _files(self) -> Mapping[str, str]:
        # Packages switch their units on when they are installed; a host's first start does so again, by preset.
        presets = "".join(f"disable {unit}\n" for unit in self.off)
        return {**_FILES, "etc/systemd/system-preset/10-kubeproof.preset": presets, **self.files}

    def finish(self, root: Path) -> None:
        """Make a host of the freshly unpacked Debian in a directory."""
        _remove_absent(root, (*ABSENT, *self.absent))
        for wants in root.glob("etc/systemd/system/*.wants"):
            for unit in self.off:
                (wants / unit).unlink(missing_ok=True)
        for name, content in self._files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not through a link, which may lead out of the tree.
            path.unlink(missing_ok=True)
            path.write_text(content)
            if content.startswith("#!"):
                path.chmod(0o755)
        for name, target in self.links.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(target)


def _remove_absent(root: Path, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def packages_directory(cache: Path, suite: str) -> Path:
    """Where a release's downloaded packages are kept."""
    return cache / "debs" / suite


@contextmanager
def tree(recipe: Recipe, cache: Path) -> Iterator[Path]:
    """A directory with a recipe's Debian, which goes away in the end; downloaded packages stay in the cache.

    Whoever makes the same recipe's tree at the same time is to be kept out by the caller.
    """
    with _scratch(cache, recipe.digest) as root:
        bootstrap(recipe.suite, recipe.packages, root, cache)
        recipe.finish(root)
        yield root


def download(suite: str, packages: tuple[str, ...], cache: Path) -> None:
    """Have packages, and all that they need, in the cache without unpacking them; once for each choice of packages."""
    chosen = hashlib.sha256(repr(sorted(packages)).encode()).hexdigest()[:12]
    done = packages_directory(cache, suite) / f".downloaded-{chosen}"
    if done.exists():
        return
    with _scratch(cache, f"download-{suite}") as root:
        bootstrap(suite, packages, root, cache, "--download-only")
    done.touch()


@contextmanager
def _scratch(cache: Path, name: str) -> Iterator[Path]:
    """A directory for a tree that goes away in the end; what a killed run left of it goes first."""
    root = cache / f"host-image-{name}"
    shutil.rmtree(root, ignore_errors=True)
    # As the image's root directory it is what users other than root enter every path through.
    root.mkdir(parents=True, mode=0o755)
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def bootstrap(suite: str, packages: Iterable[str], root: Path, cache: Path, *options: str) -> None:
    """Unpack and configure a release of Debian into a directory; what was downloaded stays in the cache."""
    debs = packages_directory(cache, suite)
    debs.mkdir(parents=True, exist_ok=True)
    debootstrap = [
        "debootstrap",
        "--variant=minbase",
        f"--keyring={KEYRING}",
        f"--cache-dir={debs}",
        f"--include={','.join(sorted(packages))}",
        *options,
        suite,
        str(root),
        *_mirror(),
    ]
    # In a mount namespace of its own what debootstrap mounts goes away with it, however it ends: otherwise removing
    # the directory of a killed run would reach into the machine's /proc.
    result = attempt(["unshare", "--mount", "--propagation", "private", *debootstrap])
    if not result.ok:
        raise KubeproofError(f"debootstrap could not make a Debian {suite}:\n    {_last_words(root, result)}")


def _last_words(root: Path, result: Result) -> str:
    """Why debootstrap failed: it says little itself, and the rest to a log of its own."""
    log = root / "debootstrap" / "debootstrap.log"
    text = log.read_text(errors="replace") if log.is_file() else ""
    return "\n    ".join([*result.stdout.splitlines()[-3:], *result.stderr.splitlines()[-3:], *text.splitlines()[-8:]])


def mirror() -> str:
    """The Debian mirror that this machine itself uses, if it is a Debian and uses one; otherwise empty.

    That of the main archive, which has all releases: the one of security updates has nothing else.
    """
    if shutil.which("apt-get") is None:
        return ""
    sites = attempt(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Origin: Debian", "Label: Debian"]
    )
    return next(iter(sites.stdout.split()), "")


def _mirror() -> list[str]:
    """The mirror as debootstrap's last argument; without one it takes its own default."""
    return [site] if (site := mirror()) else []
