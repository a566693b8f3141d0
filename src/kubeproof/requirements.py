"""What the controller must have installed besides Python, and how it gets it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kubeproof.errors import KubeproofError
from kubeproof.process import attempt

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
# runc is the one component with C code; libseccomp is found through pkg-config.
BUILDS = (
    Requirement("go", "golang-go"),
    Requirement("gcc", "gcc"),
    Requirement("/usr/include/errno.h", "libc6-dev"),
    Requirement("pkg-config", "pkg-config"),
    Requirement("/usr/include/seccomp.h", "libseccomp-dev"),
)


def complete_path() -> None:
    """Put administrators' programs on this process's PATH."""
    present = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*present, *(path for path in _ADMIN_PATH if path not in present)])


def ensure(needed: Iterable[Requirement], report: Callable[[str], None]) -> None:
    """Install what is missing if that is ours to do, else raise an error that names all of it at once."""
    missing = [each for each in needed if not each.met]
    if not missing:
        return
    packages = sorted({each.package for each in missing})
    if not (os.geteuid() == 0 and _is_debian()):
        names = ", ".join(each.what for each in missing)
        raise KubeproofError(f"this machine lacks {names}", hint=_how_to_install(packages))
    report(f"installing {', '.join(packages)} with apt-get")
    _install(packages)
    still = [each.what for each in missing if not each.met]
    if still:
        raise KubeproofError(f"{', '.join(still)} did not come with the packages {', '.join(packages)}")


def _install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Lists that can't be updated may still be good enough; if not, the installation says what is wrong.
    attempt(["apt-get", "update", "--quiet"], env=environment)
    command = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *packages]
    result = attempt(command, env=environment)
    if not result.ok:
        said = "\n    ".join((result.stdout + result.stderr).strip().splitlines()[-8:])
        raise KubeproofError(f"apt-get could not install {', '.join(packages)}:\n    {said}")


def _how_to_install(packages: list[str]) -> str:
    if _is_debian():
        return f"install it: sudo apt-get install {' '.join(packages)}"
    return f"install it with your package manager; on Debian the packages are {', '.join(packages)}"


def _is_debian() -> bool:
    """Whether this is Debian or one of its children, such as Ubuntu."""
    return Path("/etc/debian_version").is_file() and shutil.which("apt-get") is not None
