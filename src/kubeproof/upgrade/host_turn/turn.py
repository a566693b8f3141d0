"""Beginning a turn, confirming it, and putting it back."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from kubeproof.upgrade.host_turn import files
from kubeproof.upgrade.host_turn.errors import TurnError
from kubeproof.upgrade.host_turn.record import (
    KEPT,
    PUT_BACK,
    PUTTING_BACK,
    UNCONFIRMED,
    Document,
    Places,
    Record,
    before,
    locked,
    read,
    write,
)
from kubeproof.upgrade.host_turn.units import Systemd

ETCD = "etcd.service"
START_SECONDS = 120
# Of the record: what is needed only as long as it may be put back, private keys among it.
_SECRET = ("files", "directories")

Series = Callable[[], str]
Tell = Callable[[str], None]


class Wanted(NamedTuple):
    """A turn that is to begin.

    ``act``: for people. ``what``: what there is before, for people; ``former``: the same by program, as versions, which
    a plan reads. ``seconds``: until it is put back. ``start_seconds``: for each unit to start, when it is.
    """

    act: str
    what: str
    former: Dict[str, Any]
    units: Sequence[str]
    seconds: int
    start_seconds: int = START_SECONDS


class Turn:
    """The turn of this host. ``series``: the minor version of etcd's cluster, empty if etcd does not say."""

    def __init__(self, places: Places, systemd: Systemd, series: Series, tell: Tell) -> None:
        self._places = places
        self._systemd = systemd
        self._series = series
        self._tell = tell

    def begin(self, wanted: Wanted) -> None:
        """Keep what there is, and let the time run. Raises TurnError if another turn is not over."""
        with locked(self._places):
            record = Record(self._places)
            if record.open:
                raise TurnError(
                    "an earlier turn of this host (%s) was not confirmed, and was not put back: run the upgrade again, "
                    "which does either" % record.data.get("act", "unknown")
                )
            units = self._systemd.show_all(wanted.units)
            record.remove()
            record.data = {}
            record.save(
                version=1,
                state=UNCONFIRMED,
                act=wanted.act,
                what=wanted.what,
                former=wanted.former,
                began=round(time.time(), 1),
                seconds=wanted.seconds,
                start_seconds=wanted.start_seconds,
                units=units,
                **before(self._places, wanted.units),
            )
            self._systemd.start_timer(wanted.seconds)
        self._tell("%s: put back in %d s unless it is confirmed" % (wanted.act, wanted.seconds))

    def confirm(self) -> None:
        """The turn went well. Raises TurnError if the host has put it back, or is about to."""
        with locked(self._places):
            record = Record(self._places)
            state = record.data.get("state", "")
            if state == UNCONFIRMED:
                # The record first: were it there, the next boot would begin to count again.
                record.remove()
                self._systemd.stop_timer()
                self._tell("confirmed")
            elif state in (PUTTING_BACK, PUT_BACK):
                raise TurnError(
                    "the host has put back %s, since it was not confirmed within %s s"
                    % (record.data.get("act", "this turn"), record.data.get("seconds", "?"))
                )

    def put_back(self, by: str, reason: str) -> bool:
        """Have what there was before, if the turn was not confirmed; returns whether all of it could be done."""
        with locked(self._places):
            record = Record(self._places)
            if not record.open:
                self._tell("there is nothing to put back")
                with contextlib.suppress(TurnError):
                    self._systemd.stop_timer()
                return True
            moved = self._moved(record)
            if moved:
                self._tell(moved)
                self._over(record, state=KEPT, by=by, reason=moved, problems=[])
                return True
            self._tell("%s: %s; it is put back to %s" % (record.data["act"], reason, record.data["what"]))
            record.save(state=PUTTING_BACK)
            with self._claimed(record):
                problems = self._restore(record)
            for problem in problems:
                self._tell(problem)
            if problems:
                # It stays open: systemd tries it again, and so does the next run.
                record.save(problems=problems, reason=reason, by=by)
                return False
            self._over(record, state=PUT_BACK, by=by, reason=reason, problems=[])
            self._tell("%s is put back to %s" % (record.data["act"], record.data["what"]))
            return True

    def _over(self, record: Record, **changes: Any) -> None:
        record.data = {name: value for name, value in record.data.items() if name not in _SECRET}
        record.save(at=round(time.time(), 1), **changes)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._places.programs)
        self._systemd.stop_timer()

    def _moved(self, record: Record) -> str:
        """Why etcd's old program must not be started: its cluster is of a newer version. Empty if it may be."""
        former = str(record.data.get("former", {}).get("etcd", ""))
        if ETCD not in record.data["units"] or not former:
            return ""
        series = self._series()
        if series and numbers(series)[:2] > numbers(former)[:2]:
            return "etcd is not put back to %s: its cluster is of version %s by now" % (former, series)
        return ""

    @contextlib.contextmanager
    def _claimed(self, record: Record) -> Any:
        """A run that is still at work on this host, slow as it may be, does nothing more here meanwhile."""
        claim = {
            "id": "put-back",
            "command": "kubeproof-turn put-back",
            "user": "root",
            "machine": {"name": os.uname().nodename},
            "act": record.data["act"],
        }
        write(self._places.run, claim)
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._places.run)

    def _restore(self, record: Record) -> List[str]:
        """Programs, then files, then units; returns what could not be done."""
        problems: List[str] = []
        for unit in record.data["units"]:
            if self._is_pod(record, unit):
                self._disinherit(unit)
        self._programs(record, problems)
        changed = self._files(record, problems)
        if any(path.startswith(self._places.units + "/") for path in changed):
            self._systemd.reload()
        if problems:
            # Half of what was there is not what was there.
            return problems
        for unit, was in record.data["units"].items():
            if self._is_pod(record, unit):
                continue  # The kubelet does it.
            if was.get("ActiveState") == "active" and self._differs(unit, was):
                problem = self._restart(record, unit)
                self._tell(problem or "%s is restarted" % unit)
                problems += [problem] if problem else []
            if not problems:
                self._settle(unit)
        return problems

    def _restart(self, record: Record, unit: str) -> str:
        """Restart a unit; returns what is wrong, empty if nothing is.

        One that an earlier try has restarted is waited for: a member that reads much data would never get to its end.
        """
        seconds = record.data.get("start_seconds", START_SECONDS)
        restarts = record.data.get("restarts", {})
        now = self._systemd.show(unit)
        ours = bool(now.get("InvocationID")) and now.get("InvocationID") == restarts.get(unit)
        if ours and now.get("ActiveState") in ("active", "activating"):
            return self._systemd.wait(unit, seconds)
        return self._systemd.restart(
            unit, seconds, lambda invocation: record.save(restarts={**restarts, unit: invocation})
        )

    def _is_pod(self, record: Record, unit: str) -> bool:
        return record.data["files"].get(self._places.manifest(unit)) is not None

    def _disinherit(self, unit: str) -> None:
        """Have systemd not put the new manifest in place of the old one, as it does for a run that was killed between.

        See plugins/module_utils/static_pod.py. After a reboot there is no timer, and its file lies there.
        """
        self._systemd.stop("kubeproof-next-%s.timer" % os.path.splitext(unit)[0])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._places.successor(unit))

    def _programs(self, record: Record, problems: List[str]) -> None:
        problems += filter(None, [self._program(path, was) for path, was in record.programs().items()])

    def _program(self, path: str, was: Optional[Dict[str, Any]]) -> str:
        """Put a program back; returns what is wrong, empty if nothing is."""
        try:
            if was is None:
                files.put(path, None)
            else:
                staged = os.path.join(self._places.staged, was["sha256"])
                files.place(staged, was["sha256"], int(was["mode"], 8), path)
        except (OSError, ValueError) as error:
            return "%s cannot be put back: %s" % (path, error)
        return ""

    def _files(self, record: Record, problems: List[str]) -> List[str]:
        changed = []
        wanted: Dict[str, Optional[files.Entry]] = dict(record.data["files"])
        ours = self._ours()
        for directory in record.data["directories"]:
            for path in files.below(directory):
                # What somebody else has put there meanwhile is not ours to remove.
                if path not in wanted and path in ours and not files.is_program(path):
                    wanted[path] = None
        for path, entry in wanted.items():
            if entry is None and files.is_program(path):
                continue
            try:
                changed += [path] if files.put(path, entry) else []
            except OSError as error:
                problems.append("%s cannot be put back: %s" % (path, error))
        return changed

    def _ours(self) -> List[str]:
        """Files that kubeproof has made on this host, by its manifest."""
        entries = read(os.path.join(self._places.state, "manifest.json")).get("entries", [])
        return [self._places.root + str(entry["path"]) for entry in entries if entry.get("kind") == "file"]

    def _differs(self, unit: str, was: Document) -> bool:
        """Whether a unit's process is not the one of before.

        If it is, it was started from what there is again. Turns of members begin together: one that still waits for its
        restart must not be away at the same time as the one for which all of them are put back.
        """
        now = self._systemd.show(unit)
        return now.get("ActiveState") != "active" or now.get("InvocationID") != was.get("InvocationID")

    def _settle(self, unit: str) -> None:
        """Note that the unit was started from what is there now, so that the next run does not restart it for that."""
        path = self._places.of_unit(unit)
        noted = read(path)
        if "inputs" in noted and "invocation" in noted:
            noted["inputs"] = {each: files.fingerprint(self._places.root + each) for each in noted["inputs"]}
            noted["invocation"] = self._systemd.show(unit).get("InvocationID", "")
            write(path, noted)


def numbers(version: str) -> List[int]:
    """A version's numbers: ``3.7.3`` and ``3.7`` alike begin with three and seven."""
    return [int(part) for part in version.lstrip("v").split("-")[0].split(".") if part.isdigit()]


def summary(places: Places) -> str:
    """The record without what is secret, as JSON."""
    data = Record(places).data
    return json.dumps({name: value for name, value in data.items() if name not in _SECRET})
