"""Another host as a target, by rsync over SSH. There it takes a POSIX shell, rsync and sha256sum."""

from __future__ import annotations

import re
import shlex
import tempfile
from pathlib import Path
from typing import Any, Mapping

from kubeproof.backup.agent import backups, files, manifest
from kubeproof.backup.agent.target import Deadline, Found, Target, digests, judge, run

# What rsync's list has for a file: mode, size, date, time, name.
_LISTED = re.compile(r"^-\S+\s+(\d+)\s+\S+\s+\S+\s+([^/]+)/([^/]+)$")
_DIRECTORY = re.compile(r"^d\S+\s+\d+\s+\S+\s+\S+\s+([^/]+)$")
_REMOVED = "removed-"
_SILENCE_SECONDS = 60

# Arguments: the cluster's directory, the backup's name. Standard input of sha256sum: what the files have to be.
_FINISH = r"""
set -eu
cd "$1/.partial-$2"
[ "$(ls -A | wc -l)" -eq "$3" ] || { echo "other files than those that were sent" >&2; exit 1; }
sha256sum -c - >/dev/null
# These files alone: without names it is all that the other host has yet to write.
sync -- * . 2>/dev/null || sync
cd ..
if [ -e "$2" ]; then rm -rf ".partial-removed-$2"; mv "$2" ".partial-removed-$2"; fi
mv ".partial-$2" "$2"
sync -- . 2>/dev/null || sync
rm -rf ".partial-removed-$2"
"""
_REMOVE = r"""
set -eu
cd "$1"
rm -rf ".partial-removed-$2"
if [ -e "$2" ]; then mv "$2" ".partial-removed-$2"; fi
rm -rf ".partial-removed-$2"
"""
_DISCARD = r"""
set -eu
cd "$1"
rm -rf ".partial-$2" ".partial-removed-$2"
"""
_OPEN = r"""
set -eu
umask 077
mkdir -p "$1"
"""


def public_key(key: Path) -> str:
    """The public half of this host's SSH key, which is made if there is none yet. Raises BackupError."""
    key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = key.with_name(key.name + ".pub")
    with files.locked(key.with_name(".lock")):
        if not key.exists() or not public.exists():
            for path in (key, public):
                path.unlink(missing_ok=True)
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "etcd-backup", "-f", str(key)]
            run(command, Deadline(60))
    return public.read_text(encoding="ascii").strip()


class RsyncTarget(Target):
    """``host``, ``port``, ``user``, ``path``; ``key`` and ``known_hosts`` are files on this host."""

    def __init__(self, settings: Mapping[str, Any], cluster: str, deadline: Deadline) -> None:
        """Nobody is asked yet."""
        super().__init__(cluster, deadline)
        self._key = Path(settings["key"]) if settings.get("key") else None
        self._login = "%s@%s" % (settings["user"], settings["host"])
        address = "[%s]" % settings["host"] if ":" in str(settings["host"]) else settings["host"]
        self._directory = "%s/%s" % (str(settings["path"]).rstrip("/"), cluster)
        self._remote = "%s@%s:%s" % (settings["user"], address, self._directory)
        self._ssh = self._command(settings)

    def _command(self, settings: Mapping[str, Any]) -> list[str]:
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": settings["known_hosts"],
            "GlobalKnownHostsFile": "/dev/null",
            "ConnectTimeout": "15",
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "4",
            "ClearAllForwardings": "yes",
            "LogLevel": "ERROR",
        }
        if self._key:
            options["IdentitiesOnly"] = "yes"
        words = ["ssh", "-F", "none", "-p", str(settings.get("port", 22))]
        words += ["-i", str(self._key)] if self._key else []
        for name, value in options.items():
            words += ["-o", "%s=%s" % (name, value)]
        return words

    def open(self) -> None:
        """Make the cluster's directory."""
        if self._key:
            public_key(self._key)
        self._there(_OPEN)

    def listing(self) -> list[Found]:
        """Sizes by rsync's own list, and the manifests."""
        sizes = self._sizes()
        if not sizes:
            return []
        with tempfile.TemporaryDirectory(prefix="etcd-backup-") as scratch:
            wanted = ["--recursive", "--include=/*/", "--include=/*/" + manifest.NAME, "--exclude=*"]
            self._rsync([*wanted, "--max-size=1m"], self._remote + "/", scratch + "/")
            return [judge(name, each, _content(Path(scratch, name))) for name, each in sorted(sizes.items())]

    def unfinished(self) -> list[str]:
        """Both what was begun to be brought and to be removed."""
        listed = [match[1] for match in map(_DIRECTORY.match, self._list()) if match]
        begun = [name[len(backups.PARTIAL) :] for name in listed if name.startswith(backups.PARTIAL)]
        names = [name[len(_REMOVED) :] if name.startswith(_REMOVED) else name for name in begun]
        return [name for name in names if manifest.is_name(name)]

    def discard(self, name: str) -> None:
        """Of either kind."""
        self._there(_DISCARD, name)

    def put(self, path: Path) -> None:
        """Send; have the other side read all of it; rename."""
        self.discard(path.name)
        self._rsync(
            ["--recursive", "--times", "--chmod=D700,F600"],
            str(path) + "/",
            "%s/.partial-%s/" % (self._remote, path.name),
        )
        wanted = digests(path)
        lines = "".join("%s  %s\n" % (digest, name) for name, digest in wanted.items())
        self._there(_FINISH, path.name, str(len(wanted)), given=lines.encode())

    def get(self, name: str, into: Path) -> None:
        """Fetch the files."""
        self._rsync(["--recursive"], "%s/%s/" % (self._remote, name), str(into) + "/")

    def remove(self, name: str) -> None:
        """Rename, then remove."""
        self._there(_REMOVE, name)

    def _sizes(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for line in self._list():
            directory, file = _DIRECTORY.match(line), _LISTED.match(line)
            if directory and manifest.is_name(directory[1]):
                found.setdefault(directory[1], {})
            if file and manifest.is_name(file[2]):
                found.setdefault(file[2], {})[file[3]] = int(file[1])
        return found

    def _list(self) -> list[str]:
        said = self._rsync(["--recursive", "--list-only", "--no-human-readable"], self._remote + "/")
        return said.decode(errors="replace").splitlines()

    def _rsync(self, options: list[str], *places: str) -> bytes:
        shell = " ".join(shlex.quote(word) for word in self._ssh)
        return run(["rsync", *options, "--timeout=%d" % _SILENCE_SECONDS, "--rsh=" + shell, *places], self.deadline)

    def _there(self, script: str, *arguments: str, given: bytes = b"") -> None:
        words = ["sh", "-c", script, "sh", self._directory, *arguments]
        run([*self._ssh, self._login, " ".join(shlex.quote(word) for word in words)], self.deadline, script=given)


def _content(directory: Path) -> bytes | None:
    try:
        return (directory / manifest.NAME).read_bytes()
    except FileNotFoundError:
        return None
