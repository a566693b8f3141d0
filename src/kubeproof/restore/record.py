"""A restore in the controller's memory: what was chosen and agreed to, so that a run that died is finished by the next.

``STATE/restore/ID.json``; beside it, in ``STATE/restore/ID/NAME``, the backup, if it had to be fetched. Hosts remember
for themselves which restore their data is of: a file in the data directory.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kubeproof.backup.agent.manifest import File, Manifest
from kubeproof.core import files

DIRECTORY = "restore"


@dataclass(frozen=True)
class Restore:
    """One restore.

    ``request`` is ``restore_from`` as given, ``name`` the backup's, ``path`` where it is on the controller, ``kept``
    where hosts keep the old data, ``members`` the etcd hosts with their peer URLs, ``bump`` by how much revisions are
    raised, ``done`` when it got to its end.
    """

    id: str
    request: str
    name: str
    path: str
    kept: str
    members: Mapping[str, str]
    token: str
    bump: int
    manifest: Mapping[str, Any]
    began: str
    done: str = ""

    @property
    def initial_cluster(self) -> str:
        """The members as etcd wants them."""
        return ",".join(f"{name}={url}" for name, url in sorted(self.members.items()))

    @property
    def first_revision(self) -> int:
        """The one at which the restored etcd begins."""
        return int(self.manifest["revision"]) + self.bump


def manifest_of(kept: Mapping[str, Any]) -> Manifest:
    """A manifest from the dictionary that it was kept as."""
    files = {str(name): File(**file) for name, file in kept["files"].items()}
    return Manifest(**{**kept, "files": files})


def new_id(now: datetime.datetime) -> str:
    """A restore's name: when it was begun."""
    return f"{now:%Y%m%dT%H%M%SZ}"


class Records:
    """The restores of one inventory."""

    def __init__(self, state: Path) -> None:
        """Those under this state directory."""
        self.directory = state / DIRECTORY

    def fetched(self, identity: str, name: str) -> Path:
        """Where the backup of a restore is fetched to; for nobody else's eyes."""
        path = self.directory / identity / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in (self.directory, path.parent, path):
            each.chmod(0o700)
        return path

    def save(self, restore: Restore) -> None:
        """Write it down, in one step."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write_private(self._path(restore.id), json.dumps(asdict(restore), indent=1, sort_keys=True))

    def load(self, identity: str) -> Restore:
        """A restore that was written down."""
        return Restore(**json.loads(self._path(identity).read_text()))

    def all(self) -> list[Restore]:
        """Those that can be read, the oldest first."""
        found = []
        for path in sorted(self.directory.glob("*.json")):
            # One that cannot be read must not keep the cluster from being restored.
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.append(self.load(path.stem))
        return found

    def unfinished(self, request: str, members: Mapping[str, str]) -> Restore | None:
        """The newest restore, if it has not got to its end and is of the same request and members."""
        newest = max(self.directory.glob("*.json"), default=None)
        if newest is None:
            return None
        found = self.load(newest.stem)
        same = found.request == request and dict(found.members) == dict(members)
        return found if same and not found.done and Path(found.path).is_dir() else None

    def finish(self, identity: str, now: datetime.datetime) -> Restore:
        """It got to its end. The fetched copy has done its work; the backup itself is where it was."""
        restore = replace(self.load(identity), done=now.isoformat(timespec="seconds"))
        self.save(restore)
        shutil.rmtree(self.directory / identity, ignore_errors=True)
        return restore

    def close(self, now: datetime.datetime) -> list[Restore]:
        """End those that have not got to their end, since the cluster works without them; returns them."""
        return [self.finish(each.id, now) for each in self.all() if not each.done]

    def drop_leftovers(self, source: str = "") -> None:
        """Remove copies that were fetched for restores that nobody agreed to, or that are over.

        ``source``: a directory that is about to be restored, which may be such a copy.
        """
        if not self.directory.is_dir():
            return
        kept = {each.id for each in self.all() if not each.done}
        for path in self.directory.iterdir():
            if path.is_dir() and path.name not in kept and not Path(source).is_relative_to(path.resolve()):
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, identity: str) -> Path:
        return self.directory / f"{identity}.json"
