"""Shell programs that take a Python to a host that has none, and remove it: nothing else runs there yet.

The archive is written next to its place, compared with its digest, unpacked there, tried, and renamed: what was cut
off anywhere is not used, and the next run sends it again.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from kubeproof.components.pins import MACHINES
from kubeproof.core.errors import KubeproofError
from kubeproof.settings.portable_python import DIRECTORY, OURS

# Programs that unpacking takes.
_NEEDED = ("cut", "gzip", "mkdir", "mv", "rm", "rmdir", "sed", "sha256sum", "tar")
# In the directory: the digest of the archive that it is of, and the directory besides ours that had to be made for it.
_MARK = f"{DIRECTORY}/.kubeproof"
# Modules that need what comes with the interpreter: each of its libraries.
_TRIED = "import bz2, ctypes, hashlib, json, lzma, ssl, uuid, zlib; import xml.parsers.expat; print('works')"
# Ansible's words, and the shell's of the interpreter that it named; 126 and 127 are the shell's.
_TOO_OLD = re.compile(r"requires a minimum of Python version (\S+)\. Current version: (\S+)")
_MISSING = re.compile(
    r"python\S*: (?:command )?(?:not found|No such file or directory|cannot execute)|"
    r"interpreter '\S*python\S*' was not found",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Found:
    """A host as its shell sees it.

    ``digest``: of the archive of the Python that it was given, or empty. ``partial``: whether there is one that was cut
    off. ``python``: whether it has any. ``installed``: whether kubeproof has installed anything there.
    """

    arch: str
    lacking: tuple[str, ...]
    digest: str
    partial: bool
    python: bool
    installed: bool


def lacking(answer: dict[str, object]) -> str:
    """What is wrong with the Python that a module should have run by, by the module's answer; empty if nothing is."""
    said = "\n".join(str(answer.get(key) or "") for key in ("module_stderr", "module_stdout", "msg"))
    old = _TOO_OLD.search(said)
    if old:
        return f"its Python is {old[2]}, and ansible-core needs {old[1]} or newer"
    if answer.get("rc") in (126, 127) and _MISSING.search(said):
        return "it has no Python"
    return ""


def ask() -> str:
    """A program that tells :func:`answered` what there is."""
    return "; ".join(
        [
            "LC_ALL=C",
            'echo "machine $(uname -m)"',
            f'for each in {" ".join(_NEEDED)}; do command -v $each >/dev/null 2>&1 || echo "lacks $each"; done',
            f'! [ -f {_MARK} ] || echo "digest $(sed -n 1p {_MARK})"',
            f"! [ -e {DIRECTORY}.new ] || echo partial",
            f"! [ -e {DIRECTORY}.archive ] || echo partial",
            f"for each in python3 {DIRECTORY}/bin/python3; do ! command -v $each >/dev/null 2>&1 || echo python; done",
            "! [ -e /var/lib/kubeproof/manifest.json ] || echo installed",
        ]
    )


def answered(output: str) -> Found:
    """What ``ask`` said. Raises KubeproofError if that is nothing."""
    words = [line.split() for line in output.splitlines() if line.strip()]
    machine = next((line[1] for line in words if line[0] == "machine" and len(line) == 2), "")
    if not machine:
        raise KubeproofError("the host's shell does not say what machine it is on (`uname -m`)")
    return Found(
        arch=MACHINES.get(machine, machine),
        lacking=tuple(line[1] for line in words if line[0] == "lacks"),
        digest=next((line[1] for line in words if line[0] == "digest" and len(line) == 2), ""),
        partial=["partial"] in words,
        python=["python"] in words,
        installed=["installed"] in words,
    )


def receive(digest: str) -> str:
    """A program that is given the archive on its standard input, and says ``placed``."""
    new, archive, quoted = f"{DIRECTORY}.new", f"{DIRECTORY}.archive", shlex.quote(digest)
    return "; ".join(
        [
            "set -eu",
            "umask 022",
            # Of a Python that this one replaces, as long as it is there.
            f"made=$(sed -n 2p {_MARK} 2>/dev/null || true)",
            "[ -d /opt ] || made=/opt",
            f"mkdir -p {OURS}",
            f"rm -rf {new} {archive}",
            f"cat >{archive}",
            f'got=$(sha256sum <{archive} | cut -d " " -f 1)',
            f'[ "$got" = {quoted} ] || {{ rm -f {archive}; echo "damaged on its way: $got" >&2; exit 1; }}',
            f"mkdir {new}",
            f"gzip -dc <{archive} | tar -xf - -C {new}",
            f"{new}/bin/python3 -I -B -c {shlex.quote(_TRIED)} >/dev/null",
            f"printf '%s\\n' {quoted} \"$made\" >{new}/{_MARK.rpartition('/')[2]}",
            f"rm -rf {DIRECTORY}",
            f"mv {new} {DIRECTORY}",
            f"rm -f {archive}",
            "echo placed",
        ]
    )


def remove() -> str:
    """A program that removes what ``receive`` made, and says ``removed``; what else is in our directory stays."""
    return "; ".join(
        [
            "set -eu",
            f"made=$(sed -n 2p {_MARK} 2>/dev/null || true)",
            f"rm -rf {DIRECTORY} {DIRECTORY}.new {DIRECTORY}.archive",
            f"rmdir {OURS} 2>/dev/null || true",
            '[ "$made" != /opt ] || rmdir /opt 2>/dev/null || true',
            "echo removed",
        ]
    )


def check(found: Found) -> None:
    """Raises KubeproofError if a host cannot unpack an archive."""
    if found.lacking:
        raise KubeproofError(
            f"it lacks {', '.join(found.lacking)}, without which no Python can be unpacked there",
            hint="add these programs to its image, or install Python 3.9 or newer",
        )


def named(interpreter: object) -> str:
    """An interpreter that the inventory names, for which another is no replacement; empty if it names none."""
    text = str(interpreter or "")
    return "" if not text or text.startswith("auto") or text == f"{DIRECTORY}/bin/python3" else text
