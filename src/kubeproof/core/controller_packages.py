"""What the controller must have installed besides Python, and how it gets it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import attempt

# QEMU 7.2 ends with an assertion when it emulates two processors.
_QEMU = (8, 0)
_QEMU_PROGRAM = "qemu-system-x86_64"
_QEMU_PACKAGE = "qemu-system-x86"

# Where administrators' programs are, which are not on the PATH of every root shell.
_ADMIN_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Requirement:
    """A program on the PATH, or a file if it begins with a slash, and the Debian package that has it."""

    what: str
    package: str

    @property
    def met(self) -> bool:
        """Whether it is there."""
        return Path(self.what).exists() if self.what.startswith("/") else shutil.which(self.what) is not None


SSH = (
    Requirement("ssh", "openssh-client"),
    Requirement("ssh-keygen", "openssh-client"),
)
LOCAL_HOSTS = (
    Requirement("podman", "podman"),
    Requirement("runc", "runc"),
    Requirement("debootstrap", "debootstrap"),
    Requirement("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    Requirement("ip", "iproute2"),
    Requirement("nft", "nftables"),
    Requirement("sysctl", "procps"),
    Requirement("unshare", "util-linux"),
)
VIRTUAL_MACHINES = (
    Requirement("qemu-img", "qemu-utils"),
    Requirement("mke2fs", "e2fsprogs"),
    Requirement("dpkg-deb", "dpkg"),
    Requirement("openssl", "openssl"),
)
# The seed for an image's own cloud-init is a CD.
CLOUD_IMAGES = (Requirement("genisoimage", "genisoimage"),)
# runc is the one component with C code; libseccomp is found through pkg-config.
C_LIBRARIES = (
    Requirement("/usr/include/errno.h", "libc6-dev"),
    Requirement("pkg-config", "pkg-config"),
    Requirement("/usr/include/seccomp.h", "libseccomp-dev"),
)
BUILDS = (Requirement("go", "golang-go"), Requirement("gcc", "gcc"), *C_LIBRARIES)


def complete_path() -> None:
    """Put administrators' programs on this process's PATH."""
    present = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*present, *(path for path in _ADMIN_PATH if path not in present)])


def demand(needed: Iterable[Requirement]) -> None:
    """Raise an error that names all that is missing at once, if anything is."""
    missing = [each for each in needed if not each.met]
    if missing:
        names = ", ".join(each.what for each in missing)
        raise KubeproofError(f"this machine lacks {names}", hint=_how_to_install(_packages(missing)))


def ensure(needed: Iterable[Requirement], report: Callable[[str], None]) -> None:
    """Install what is missing if that is ours to do, else raise an error that names all of it at once."""
    missing = [each for each in needed if not each.met]
    if not missing:
        return
    packages = _packages(missing)
    if not (os.geteuid() == 0 and _is_debian()):
        demand(missing)
    report(f"installing {', '.join(packages)} with apt-get")
    _install(packages)
    still = [each.what for each in missing if not each.met]
    if still:
        raise KubeproofError(f"{', '.join(still)} did not come with the packages {', '.join(packages)}")


def _packages(missing: Iterable[Requirement]) -> list[str]:
    return sorted({each.package for each in missing})


def _install(packages: list[str], *, options: Sequence[str] = ()) -> None:
    """Install Debian packages. ``options`` are apt-get's own."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Lists that can't be updated may still be good enough; if not, the installation says what is wrong.
    attempt(["apt-get", *options, "update", "--quiet"], env=environment)
    command = ["apt-get", *options, "install", "--quiet", "--yes", "--no-install-recommends", *packages]
    result = attempt(command, env=environment)
    if not result.ok:
        said = "\n    ".join((result.stdout + result.stderr).strip().splitlines()[-8:])
        raise KubeproofError(f"apt-get could not install {', '.join(packages)}:\n    {said}")


def ensure_qemu(report: Callable[[str], None]) -> None:
    """Have what virtual machines need, QEMU in a version that emulates several processors without crashing included.

    Debian 12's own is too old; the one for it in Debian's backports is installed from a list of sources that is used
    for nothing else, so that no other package of this machine comes from there, now or later.
    """
    ensure(VIRTUAL_MACHINES, report)
    found = _qemu_version()
    if found >= _QEMU:
        return
    wanted = f"QEMU {'.'.join(map(str, _QEMU))} or newer"
    if not (os.geteuid() == 0 and _is_debian()):
        hint = f"install it: sudo apt-get install {_QEMU_PACKAGE}" if _is_debian() else "install it"
        raise KubeproofError(f"this machine lacks {wanted}, which virtual machines run in", hint=hint)
    if _candidate(_QEMU_PACKAGE) >= _QEMU:
        report(f"installing {_QEMU_PACKAGE} with apt-get")
        _install([_QEMU_PACKAGE])
    else:
        release = f"{_codename()}-backports"
        report(f"installing {_QEMU_PACKAGE} with apt-get from {release}")
        with _only_source(release) as options:
            _install([_QEMU_PACKAGE], options=options)
    if _qemu_version() < _QEMU:
        raise KubeproofError(f"the package {_QEMU_PACKAGE} does not provide {wanted}")


def _qemu_version() -> tuple[int, ...]:
    """The installed QEMU's version; empty, which is less than any, without one."""
    if shutil.which(_QEMU_PROGRAM) is None:
        return ()
    return _version(attempt([_QEMU_PROGRAM, "--version"]).stdout)


def _candidate(package: str) -> tuple[int, ...]:
    """The version that apt-get would install by itself."""
    attempt(["apt-get", "update", "--quiet"])
    shown = attempt(["apt-cache", "policy", package]).stdout
    return _version("".join(line for line in shown.splitlines() if "Candidate:" in line))


def _version(text: str) -> tuple[int, ...]:
    """The first version number in a text, an epoch aside."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else ()


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_CODENAME=")), "stable")


@contextmanager
def _only_source(release: str) -> Iterator[list[str]]:
    """apt-get's options by which it knows, for one call, another release beside what it knows, and prefers that one."""
    from kubeproof.core import debian

    with tempfile.TemporaryDirectory(prefix="kubeproof-apt-") as name:
        directory = Path(name)
        (directory / "lists" / "partial").mkdir(parents=True)
        parts = directory / "sources.list.d"
        parts.mkdir()
        for path in Path("/etc/apt/sources.list.d").glob("*"):
            shutil.copy(path, parts)
        mirror = debian.mirror()
        if not mirror:
            raise KubeproofError(f"no Debian mirror is known from which {release} could be had")
        (parts / "kubeproof-backports.list").write_text(f"deb [signed-by={debian.KEYRING}] {mirror} {release} main\n")
        yield [
            f"--option=Dir::Etc::SourceParts={parts}",
            f"--option=Dir::State::Lists={directory / 'lists'}",
            # The directory is root's own.
            "--option=APT::Sandbox::User=root",
            f"--target-release={release}",
        ]


def _how_to_install(packages: list[str]) -> str:
    if _is_debian():
        return f"install it: sudo apt-get install {' '.join(packages)}"
    return f"install it with your package manager; on Debian the packages are {', '.join(packages)}"


def _is_debian() -> bool:
    """Whether this is Debian or one of its children, such as Ubuntu."""
    return Path("/etc/debian_version").is_file() and shutil.which("apt-get") is not None
