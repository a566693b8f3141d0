"""Storage that speaks S3 as a target, by rclone. A copy is there when its manifest is, which is put last."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, Mapping

from kubeproof.backup.agent import manifest
from kubeproof.backup.agent.errors import BackupError
from kubeproof.backup.agent.target import Deadline, Found, Target, consume, digests, judge, run

_REMOTE = "target:"
# What rclone says of a directory that is not there.
_ABSENT = 3


class S3Target(Target):
    """``endpoint``, ``region``, ``bucket``, ``prefix``; ``credentials`` and ``ca``, files; ``rclone``, the program."""

    def __init__(self, settings: Mapping[str, Any], cluster: str, deadline: Deadline) -> None:
        """Nobody is asked yet."""
        super().__init__(cluster, deadline)
        parts = [settings["bucket"], str(settings.get("prefix", "")).strip("/"), cluster]
        self._path = _REMOTE + "/".join(part for part in parts if part)
        self._program = str(settings.get("rclone", "rclone"))
        self._environment = _environment(settings)
        self._options = [
            "--config=",
            "--retries=3",
            "--low-level-retries=3",
            "--contimeout=15s",
            "--timeout=60s",
            "--s3-no-check-bucket",
        ]
        if settings.get("ca"):
            self._options.append("--ca-cert=%s" % settings["ca"])

    def open(self) -> None:
        """Buckets are their owner's to make."""

    def listing(self) -> list[Found]:
        """Those that have a manifest: the others nobody has finished."""
        found = {name: sizes for name, sizes in self._sizes().items() if manifest.NAME in sizes}
        if not found:
            return []
        with tempfile.TemporaryDirectory(prefix="etcd-backup-") as scratch:
            self._rclone("copy", "--include=/*/" + manifest.NAME, "--max-size=1M", self._path, scratch)
            return [judge(name, sizes, _content(Path(scratch, name))) for name, sizes in sorted(found.items())]

    def unfinished(self) -> list[str]:
        """Those without a manifest."""
        return [name for name, sizes in self._sizes().items() if manifest.NAME not in sizes]

    def discard(self, name: str) -> None:
        """All that is there of it."""
        self._rclone("purge", "%s/%s" % (self._path, name), absent=_ABSENT)

    def put(self, path: Path) -> None:
        """Each file is sent and read back; the manifest comes last."""
        self.remove(path.name)
        for name, digest in digests(path).items():
            self._send(path, name, digest)

    def get(self, name: str, into: Path) -> None:
        """Fetch the files."""
        self._rclone("copy", "%s/%s" % (self._path, name), str(into))

    def remove(self, name: str) -> None:
        """The manifest goes first."""
        sizes = self._sizes().get(name, {})
        if manifest.NAME in sizes:
            self._rclone("deletefile", "%s/%s/%s" % (self._path, name, manifest.NAME))
        if sizes:
            self.discard(name)

    def _send(self, path: Path, name: str, sha256: str) -> None:
        there = "%s/%s/%s" % (self._path, path.name, name)
        self._rclone("copyto", str(path / name), there)
        digest = hashlib.sha256()
        consume([self._program, "cat", there, *self._options], self.deadline, digest.update, self._environment)
        if digest.hexdigest() != sha256:
            if name == manifest.NAME:
                self._rclone("deletefile", there)
            raise BackupError("%s differs from what was sent when it is read back from %s" % (name, there))

    def _sizes(self) -> dict[str, dict[str, int]]:
        said = self._rclone("lsjson", "--recursive", "--files-only", "--no-modtime", self._path, absent=_ABSENT)
        found: dict[str, dict[str, int]] = {}
        for entry in json.loads(said or b"[]"):
            name, _, file = entry["Path"].partition("/")
            if file and manifest.is_name(name):
                found.setdefault(name, {})[file] = int(entry["Size"])
        return found

    def _rclone(self, *arguments: str, absent: int | None = None) -> bytes:
        command = [self._program, *arguments, *self._options]
        return run(command, self.deadline, environment=self._environment, absent=absent)


def _environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """The remote's settings, which are no arguments: those anybody on the host can read."""
    credentials = settings["credentials"]
    if not isinstance(credentials, Mapping):
        try:
            credentials = json.loads(Path(credentials).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BackupError("%s cannot be read: %s" % (credentials, error)) from None
    values = {
        "type": "s3",
        "provider": "Other",
        "endpoint": settings["endpoint"],
        "region": settings.get("region", ""),
        "access_key_id": credentials["access_key_id"],
        "secret_access_key": credentials["secret_access_key"],
        "env_auth": "false",
        "acl": "private",
    }
    return {"RCLONE_CONFIG_TARGET_%s" % name.upper(): str(value) for name, value in values.items()}


def _content(directory: Path) -> bytes | None:
    try:
        return (directory / manifest.NAME).read_bytes()
    except FileNotFoundError:
        return None
