"""The record of a turn, ``/var/lib/kubeproof/turn/turn.json``, and what there was before the turn.

``state`` is ``unconfirmed`` from the beginning of a turn; ``putting back`` while that is being done, so that a host
that is rebooted meanwhile does it again; then ``put back``, or ``kept`` if it may not be put back. Of a turn that was
confirmed there is no record. ``programs.json`` next to it has the digests of the programs that the turn has replaced,
as ``distribute_components`` notes each of them before it does that.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import time
from typing import Any, Dict, Iterator, List, Sequence

from kubeproof.upgrade.host_turn import files
from kubeproof.upgrade.host_turn.errors import TurnError

STATE = "/var/lib/kubeproof"
UNITS = "/etc/systemd/system"
MANIFESTS = "/etc/kubernetes/manifests"
UNCONFIRMED, PUTTING_BACK, PUT_BACK, KEPT = "unconfirmed", "putting back", "put back", "kept"
OPEN = (UNCONFIRMED, PUTTING_BACK)
_LOCK_SECONDS = 600.0
_POLL_SECONDS = 0.2

Document = Dict[str, Any]


class Places:
    """Where things are; below another root in tests."""

    def __init__(self, root: str = "") -> None:
        self.root = root
        self.state = root + STATE
        self.units = root + UNITS
        self.manifests = root + MANIFESTS
        self.directory = os.path.join(self.state, "turn")
        self.record = os.path.join(self.directory, "turn.json")
        self.programs = os.path.join(self.directory, "programs.json")
        self.staged = os.path.join(self.state, "staged")
        self.run = os.path.join(self.state, "runs", "put-back.json")

    def of_unit(self, unit: str) -> str:
        """The record of what a unit was started from."""
        return os.path.join(self.state, "units", unit + ".json")

    def manifest(self, unit: str) -> str:
        """The manifest of the static pod that stands for a unit."""
        return os.path.join(self.manifests, os.path.splitext(unit)[0] + ".json")

    def successor(self, unit: str) -> str:
        """The manifest that systemd puts in place of that one, if a run ends between the two."""
        return os.path.join(self.manifests, ".%s.next" % os.path.splitext(unit)[0])


class Record:
    """The record of a host's last turn."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.data: Document = read(places.record)

    @property
    def open(self) -> bool:
        """Whether there is a turn that was neither confirmed nor put back."""
        return self.data.get("state") in OPEN

    def save(self, **changes: Any) -> None:
        """Change the record, in one step."""
        self.data = {**self.data, **changes}
        write(self.places.record, self.data)

    def remove(self) -> None:
        """Forget the turn."""
        for path in (self.places.record, self.places.programs):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.data = {}

    def programs(self) -> Dict[str, Any]:
        """What the turn has replaced: by path ``sha256`` and ``mode`` of what was there, None if nothing was."""
        return read(self.places.programs)


def before(places: Places, units: Sequence[str]) -> Document:
    """Everything small that the given units were started from: ``files`` by path, and ``directories`` they are in."""
    paths: List[str] = []
    directories: List[str] = []
    for unit in units:
        own = os.path.join(places.units, unit)
        paths += [own, *sorted(glob.glob(glob.escape(own) + ".d/*.conf"))]
        paths += [places.of_unit(unit), places.manifest(unit)]
        for name in read(places.of_unit(unit)).get("inputs", {}):
            path = places.root + name
            if os.path.isdir(path):
                directories.append(path)
                paths += files.below(path)
            else:
                paths.append(path)
    found = {path: files.kept(path) for path in paths if not files.is_program(path)}
    return {"files": found, "directories": list(dict.fromkeys(directories))}


@contextlib.contextmanager
def locked(places: Places) -> Iterator[None]:
    """Only one at a time: a run that puts back, and the host that does."""
    os.makedirs(places.directory, mode=0o700, exist_ok=True)
    with open(os.path.join(places.directory, "lock"), "w", encoding="ascii") as stream:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise TurnError("the turn of this host has been busy for %d s" % _LOCK_SECONDS) from None
            time.sleep(_POLL_SECONDS)
        yield


def read(path: str) -> Document:
    """A JSON object; empty if there is none. Raises TurnError for one that is damaged: it is not known what was."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except FileNotFoundError:
        return {}
    except ValueError:
        raise TurnError("%s is damaged" % path) from None
    return found if isinstance(found, dict) else {}


def write(path: str, document: Document) -> None:
    """Replace a file that only root may read: it may have private keys in it."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = path + ".new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(document, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
