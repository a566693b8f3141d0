"""Running etcd's programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

from kubeproof.backup.agent import running
from kubeproof.backup.agent.configuration import Etcd
from kubeproof.backup.agent.errors import BackupError


class ProgramFailed(BackupError):
    """A program ended with an error, or did not end; the message has its last words."""


def run(command: Sequence[str], timeout: float) -> str:
    """A program's standard output. Raises ProgramFailed."""
    return running.run(command, timeout, ProgramFailed)


@dataclass(frozen=True)
class SnapshotStatus:
    """What ``etcdutl snapshot status`` says of a snapshot."""

    revision: int
    hash: int
    keys: int
    size: int
    storage: str


def snapshot_status(etcdutl: str, snapshot: Path, timeout: float) -> SnapshotStatus:
    """Have etcd's own program read all of a snapshot. Raises ProgramFailed."""
    said = run([etcdutl, "snapshot", "status", str(snapshot), "--write-out=json"], timeout)
    try:
        document = json.loads(said)
        return SnapshotStatus(
            revision=int(document["revision"]),
            hash=int(document["hash"]),
            keys=int(document["totalKey"]),
            size=int(document["totalSize"]),
            storage=str(document.get("version", "")),
        )
    except (ValueError, KeyError, TypeError):
        raise ProgramFailed("etcdutl snapshot status says %r" % said[:200]) from None


def version(program: str) -> str:
    """The version of etcdctl or etcdutl."""
    said = run([program, "version"], 30)
    return said.partition(":")[2].split("\n", 1)[0].strip()


class Ctl:
    """``etcdctl`` with this host's certificate."""

    def __init__(self, etcdctl: str, etcd: Etcd) -> None:
        """Speak to ``etcd`` with this program."""
        self._etcdctl = etcdctl
        self._etcd = etcd

    def command(self, *arguments: str, everywhere: bool = False, timeout: float = 10) -> list[str]:
        """The command line: to the member on this host, or to any."""
        endpoints = ",".join(self._etcd.endpoints) if everywhere else self._etcd.endpoint
        return [
            self._etcdctl,
            "--endpoints=" + endpoints,
            "--cacert=%s" % self._etcd.ca,
            "--cert=%s" % self._etcd.certificate,
            "--key=%s" % self._etcd.key,
            "--dial-timeout=5s",
            "--command-timeout=%ds" % timeout,
            *arguments,
        ]

    def run(self, *arguments: str, everywhere: bool = False, timeout: float = 10) -> str:
        """Standard output. Raises ProgramFailed."""
        # A little more for the program than it has for its command: it has the better last words.
        return run(self.command(*arguments, everywhere=everywhere, timeout=timeout), timeout + 10)

    def ask(self, *arguments: str, everywhere: bool = False, timeout: float = 10) -> Any:
        """The answer as data."""
        said = self.run(*arguments, "--write-out=json", everywhere=everywhere, timeout=timeout)
        try:
            return json.loads(said)
        except ValueError:
            raise ProgramFailed("etcdctl %s says %r" % (arguments[0], said[:200])) from None
