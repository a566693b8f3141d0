"""Defragmenting the member on this host: when it pays, in its turn, and with nobody else stalled."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Tuple

from kubeproof.install.etcd_defragment import cluster as observed
from kubeproof.install.etcd_defragment.cluster import Cluster, Member, Threshold
from kubeproof.install.etcd_defragment.errors import DefragmentError, EtcdError, TooLong
from kubeproof.install.etcd_defragment.gateway import Etcd
from kubeproof.install.etcd_defragment.lock import Lock

POLL_SECONDS = 3.0
# Until the members have the same log, and again until all follow the new leader.
REST_SECONDS = 3.0
TRANSFER_SECONDS = 10.0
TRANSFER_POLL_SECONDS = 0.05
# Until all members are healthy again after it.
RECOVERY_SECONDS = 120.0
# etcd writes a second database next to the first; what it needs besides, and what has to stay free for the log.
_ROOM = 1.1
_SPARE_BYTES = 256 << 20


@dataclass(frozen=True)
class Settings:
    """``url``: of the member on this host. ``timeout``: of one defragmentation. ``patience``: to wait for others.

    Times are in seconds.
    """

    host: str
    url: str
    data_directory: Path
    threshold: Threshold
    timeout: float
    patience: float


@dataclass(frozen=True)
class Done:
    """What was done. ``before`` and ``after``: bytes of the database; equal if there was nothing to do."""

    text: str
    before: int
    after: int
    seconds: float = 0.0
    defragmented: bool = False


class Job:
    """One scheduled run."""

    def __init__(self, settings: Settings, etcd: Etcd, tell: Callable[[str], None]) -> None:
        """``tell`` is called with a line for the journal."""
        self._settings = settings
        self._etcd = etcd
        self._tell = tell
        self._told = ""
        # The defragmentation, what comes before and after it, and all members' answers in between.
        longest = settings.timeout + REST_SECONDS + TRANSFER_SECONDS + RECOVERY_SECONDS + 60
        self._lock = Lock(etcd, settings.url, settings.host, longest)

    def run(self) -> Done:
        """Defragment, unless there is nothing to do. Raises DefragmentError."""
        deadline = time.monotonic() + self._settings.patience
        while True:
            late = time.monotonic() >= deadline
            cluster, why = self._look(late=late)
            if cluster is not None and not cluster.mine.pays(self._settings.threshold):
                return self._nothing(cluster)
            if cluster is not None and not why:
                done, why = self._locked(cluster, late=late)
                if done is not None:
                    return done
            if late:
                raise DefragmentError("not defragmented within %.0f s: %s" % (self._settings.patience, why))
            self._say("waiting: " + why)
            time.sleep(POLL_SECONDS)

    def _look(self, *, late: bool) -> Tuple[Optional[Cluster], str]:
        """The cluster, if it can be seen, and what has to be waited for. ``late``: others had the time that they need.

        Raises DefragmentError for what waiting does not change.
        """
        try:
            cluster = observed.look(self._etcd, self._settings.url)
        except EtcdError as error:
            return None, str(error)
        if cluster.mine.problem:
            return None, cluster.obstacle()
        if cluster.alarm():
            raise DefragmentError("no member is touched while etcd has the alarm %s" % cluster.alarm())
        if not cluster.mine.pays(self._settings.threshold):
            return cluster, ""
        self._require_space(cluster.mine)
        first = cluster.first(self._settings.threshold)
        why = cluster.obstacle()
        # Without writes there is no lock, and only the order keeps two members from being stalled at once.
        if not why and first is not None and first.id != cluster.me and (cluster.full or not late):
            why = "it is the turn of %s" % first.name
        return cluster, why

    def _nothing(self, cluster: Cluster) -> Done:
        mine = cluster.mine
        unused = "%d of %d bytes are not in use" % (mine.unused, mine.size)
        if cluster.full and cluster.first(self._settings.threshold) is None:
            raise DefragmentError(
                "etcd accepts no writes (alarm NOSPACE), and defragmenting does not help: %s. Raise "
                "etcd_quota_backend_bytes, and disarm the alarm" % unused
            )
        return Done("nothing to do: " + unused, mine.size, mine.size)

    def _require_space(self, mine: Member) -> None:
        needed = int(mine.in_use * _ROOM) + _SPARE_BYTES
        try:
            about = os.statvfs(str(self._settings.data_directory))
        except OSError as error:
            why = "the free space of %s is unknown: %s" % (self._settings.data_directory, error)
            raise DefragmentError(why) from None
        free = about.f_bavail * about.f_frsize
        if free < needed:
            raise DefragmentError(
                "%s has %d bytes free, and defragmenting takes %d: etcd writes a second database first"
                % (self._settings.data_directory, free, needed)
            )

    def _locked(self, cluster: Cluster, *, late: bool) -> Tuple[Optional[Done], str]:
        """Defragment under the lock, where etcd takes writes; or what has to be waited for."""
        try:
            held = "" if cluster.full else self._lock.take()
        except EtcdError as error:
            held = str(error)
        if held:
            return None, held
        try:
            # Whoever had the lock may have come to its end only now.
            now, why = self._look(late=late)
            if now is None or why:
                return None, why
            if not now.mine.pays(self._settings.threshold):
                return self._nothing(now), ""
            return self._defragment(now), ""
        finally:
            problem = self._lock.release()
            if problem:
                self._tell(problem)

    def _defragment(self, cluster: Cluster) -> Done:
        if cluster.leads and cluster.others:
            cluster = self._transfer(cluster)
        mine = cluster.mine
        self._tell("defragmenting: %d of %d bytes are not in use" % (mine.unused, mine.size))
        started = time.monotonic()
        try:
            self._etcd.ask(mine.url, "/v3/maintenance/defragment", {}, self._settings.timeout)
        except TooLong:
            self._lock.keep()
            raise DefragmentError(
                "not finished within %.0f s (etcd_defragment_timeout); etcd continues, and the member responds to "
                "nobody until it has finished" % self._settings.timeout
            ) from None
        seconds = time.monotonic() - started
        after = self._recovered()
        done = "%d bytes given back in %.1f s: %d of %d" % (
            mine.size - after.mine.size, seconds, after.mine.size, mine.size,
        )  # fmt: skip
        if after.mine.size < mine.size:
            done += self._disarm(after)
        return Done(done, mine.size, after.mine.size, seconds, defragmented=True)

    def _transfer(self, cluster: Cluster) -> Cluster:
        """Move leadership to a member that is done: a leader that stalls stalls what all members have to ask it."""
        # Proposals that are on their way at that moment are dropped.
        self._await(self._rests, REST_SECONDS)
        target = max(cluster.others, key=lambda member: member.log)
        self._etcd.ask(self._settings.url, "/v3/maintenance/transfer-leadership", {"targetID": target.id})
        followed: List[Cluster] = []

        def follow() -> bool:
            now = self._seen()
            if now is not None and not now.obstacle() and now.mine.leader == target.id:
                followed.append(now)
            return bool(followed)

        if not self._await(follow, TRANSFER_SECONDS):
            raise DefragmentError("leadership was not transferred to %s; a leader is not defragmented" % target.name)
        self._tell("leadership was transferred to %s" % target.name)
        return followed[-1]

    def _rests(self) -> bool:
        first = self._logs()
        if len(set(first)) != 1 or not first[0]:
            return False
        time.sleep(TRANSFER_POLL_SECONDS)
        return self._logs() == first

    def _logs(self) -> List[int]:
        """How far each member's log goes; 0 for one that has not applied all of it."""
        now = self._seen()
        return [each.log if each.log == each.applied else 0 for each in now.members] if now is not None else [0]

    def _recovered(self) -> Cluster:
        seen: List[Cluster] = []

        def well() -> bool:
            now = self._seen()
            if now is not None and not now.obstacle():
                seen.append(now)
            return bool(seen)

        if not self._await(well, RECOVERY_SECONDS):
            raise DefragmentError("defragmented, but not all members are healthy %.0f s later" % RECOVERY_SECONDS)
        return seen[-1]

    def _disarm(self, after: Cluster) -> str:
        """Let etcd take writes again, once all members have the room; what was done, in words."""
        if not after.full or after.first(self._settings.threshold) is not None:
            return ""
        if not after.roomy():
            return "; the alarm NOSPACE stays, since not all members are well below their quota"
        for alarm in after.full:
            body = {"action": "DEACTIVATE", "memberID": alarm.member, "alarm": alarm.kind}
            self._etcd.ask(self._settings.url, "/v3/maintenance/alarm", body)
        return "; the alarm NOSPACE is disarmed, all members are well below their quota"

    def _seen(self) -> Optional[Cluster]:
        try:
            return observed.look(self._etcd, self._settings.url)
        except EtcdError:
            return None

    @staticmethod
    def _await(holds: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(TRANSFER_POLL_SECONDS)
        return True

    def _say(self, text: str) -> None:
        if text != self._told:
            self._tell(text)
        self._told = text
