"""Other Pythons than the one that runs this, for the versions of ansible-core that requirements.lock has for them."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from kubeproof.core.process import attempt

# Those that the launcher takes, the newest first.
VERSIONS = ("3.14", "3.13", "3.12", "3.11")
# What a virtual environment takes, and which Python it is: not what its name says, where that is a link or a wrapper.
_ASK = "import ensurepip, sys, venv; print('%d.%d.%d' % sys.version_info[:3])"


@dataclass(frozen=True)
class Core:
    """A version of ansible-core that this Python does not have by the lock, and the newest Python here that does.

    ``takes`` names the Pythons that have it, whether they are here or not; ``python`` is none if none of them is.
    """

    version: str
    takes: Sequence[str]
    python: Path | None


def other_cores(lock: str, here: Mapping[str, Path], own: str = "") -> list[Core]:
    """The lock's versions of ansible-core besides this Python's. ``here``: other Pythons, by version."""
    pins = [Requirement(line) for line in re.findall(r"^ansible-core==[^\\\n]+", lock, re.MULTILINE)]
    own = own or _minor(platform.python_version())
    cores = []
    for pin in pins:
        takes = [version for version in VERSIONS if _has(pin, version)]
        if own not in takes:
            python = next((here[version] for version in takes if version in here), None)
            (specifier,) = pin.specifier
            cores.append(Core(specifier.version, takes, python))
    return cores


def _has(pin: Requirement, python: str) -> bool:
    """Whether a line of the lock holds for a Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    return pin.marker is None or pin.marker.evaluate(environment)


def find(pyenv: Path | None = None) -> dict[str, Path]:
    """Pythons on this machine that can make a virtual environment, by version: on the PATH, or among pyenv's."""
    root = pyenv or Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = {}
    for version in VERSIONS:
        installed = sorted(root.glob(f"versions/{version}.*/bin/python{version}"), key=_release, reverse=True)
        on_path = shutil.which(f"python{version}")
        candidates = [Path(on_path), *installed] if on_path else installed
        # pyenv puts a program on the PATH for each Python that it has, which fails for those that are not chosen.
        usable = next((path for path in candidates if _answer(path) == version), None)
        if usable:
            found[version] = usable
    return found


def _release(path: Path) -> Version:
    """The release by the name of pyenv's directory; what is no plain version counts as the oldest."""
    name = path.parents[1].name
    return Version(name) if re.fullmatch(r"[\d.]+", name) else Version("0")


def _answer(python: Path) -> str:
    """The version that a Python says it is; empty if it can't make a virtual environment."""
    answer = attempt([str(python), "-c", _ASK])
    return _minor(answer.stdout) if answer.ok else ""


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
