"""The image that local hosts start from: a plain Debian with systemd and sshd, made by debootstrap."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubeproof.errors import KubeproofError
from kubeproof.process import Result, attempt, run

# Debian 12: the systemd of later releases refuses to start on cgroup v1.
SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
REPOSITORY = "localhost/kubeproof-host"

# What a server installed from Debian's own images has, as far as Kubernetes and its operators need it. There is no
# udev: a container has no hardware, and udev would give every host's network interface the same MAC address.
PACKAGES = (
    "ca-certificates",
    "conntrack",
    "curl",
    "dbus",
    "e2fsprogs",
    "ebtables",
    "ethtool",
    "haproxy",
    "iproute2",
    "ipset",
    "iptables",
    "iputils-ping",
    "keepalived",
    "kmod",
    "less",
    "mount",
    "nftables",
    "openssh-server",
    "openssl",
    "procps",
    "python3",
    "rsync",
    "socat",
    "systemd",
    "systemd-sysv",
    "tar",
    "util-linux",
    "xz-utils",
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

# A host as Debian's installer leaves it has its balancer and firewall off, and nothing here may look for packages on
# the network or trim the machine's disk. Packages switch their units on when they are installed; a host's first start
# does so again, by preset.
_OFF = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "haproxy.service",
    "keepalived.service",
    "nftables.service",
)

FILES = {
    # Empty: each host draws its own at its first start.
    "etc/machine-id": "",
    "etc/hostname": "",
    "etc/resolv.conf": "",
    "etc/systemd/system-preset/10-kubeproof.preset": "".join(f"disable {unit}\n" for unit in _OFF),
    "etc/ssh/sshd_config.d/50-kubeproof.conf": _SSHD_SETTINGS,
    "etc/systemd/system/ssh.service.d/50-host-key.conf": _SSHD_UNIT,
}

LINKS = {
    # Were udev installed later, this keeps it from deriving MAC addresses.
    "etc/systemd/network/99-default.link": "/dev/null",
    # A container has no terminal: a getty would fail, and the host would count as degraded.
    "etc/systemd/system/getty.target": "/dev/null",
    "etc/systemd/system/console-getty.service": "/dev/null",
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


def recipe_digest() -> str:
    """What the image is made from, in twelve characters: another recipe is another image."""
    recipe = repr((SUITE, PACKAGES, sorted(FILES.items()), sorted(LINKS.items()), ABSENT, _OFF))
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def reference() -> str:
    """The image's name in podman's storage."""
    return f"{REPOSITORY}:{recipe_digest()}"


def present() -> bool:
    """Whether podman has the image."""
    return attempt(["podman", "image", "exists", reference()]).ok


def build(cache: Path) -> None:
    """Make the image and give it to podman; packages that were downloaded stay in the cache."""
    debs = cache / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    with _scratch(cache) as root:
        _bootstrap(root, debs)
        finish(root)
        _import(root)


@contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """A directory for the image's tree that goes away in the end."""
    root = Path(tempfile.mkdtemp(prefix="host-image-", dir=cache))
    # As the image's root directory it is what users other than root enter every path through.
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _bootstrap(root: Path, debs: Path) -> None:
    """Unpack and configure Debian into a directory."""
    debootstrap = [
        "debootstrap",
        "--variant=minbase",
        f"--keyring={KEYRING}",
        f"--cache-dir={debs}",
        f"--include={','.join(PACKAGES)}",
        SUITE,
        str(root),
        *_mirror(),
    ]
    # In a mount namespace of its own what debootstrap mounts goes away with it, however it ends: otherwise removing
    # the directory of a killed run would reach into the machine's /proc.
    result = attempt(["unshare", "--mount", "--propagation", "private", *debootstrap])
    if not result.ok:
        raise KubeproofError(f"debootstrap could not make the hosts' image:\n    {_last_words(root, result)}")


def _last_words(root: Path, result: Result) -> str:
    """Why debootstrap failed: it says little itself, and the rest to a log of its own."""
    log = root / "debootstrap" / "debootstrap.log"
    text = log.read_text(errors="replace") if log.is_file() else ""
    return "\n    ".join([*result.stdout.splitlines()[-3:], *result.stderr.splitlines()[-3:], *text.splitlines()[-8:]])


def _mirror() -> list[str]:
    """The mirror that this machine itself uses, if it is a Debian; debootstrap's own default otherwise."""
    if shutil.which("apt-get") is None:
        return []
    wanted = ["Created-By: Packages", "Origin: Debian", f"Codename: {SUITE}"]
    sites = attempt(["apt-get", "indextargets", "--format", "$(SITE)", *wanted]).stdout.split()
    return sites[:1]


def finish(root: Path) -> None:
    """Make a host of the freshly unpacked Debian in a directory."""
    for pattern in ABSENT:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for wants in root.glob("etc/systemd/system/*.wants"):
        for unit in _OFF:
            (wants / unit).unlink(missing_ok=True)
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for name, target in LINKS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)


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


def remove_old(cache: Path) -> None:
    """Remove images of earlier recipes that no host uses any more, and trees that killed runs left."""
    names = run(["podman", "images", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY]).split()
    for name in names:
        if name != reference():
            # Refused while a host still uses it: then it goes at a later time.
            attempt(["podman", "rmi", name])
    for leftover in cache.glob("host-image-*"):
        shutil.rmtree(leftover, ignore_errors=True)
