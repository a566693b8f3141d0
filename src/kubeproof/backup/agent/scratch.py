"""An etcd of one's own for the time of a drill: on unix sockets only, in a directory that goes away with it."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from kubeproof.backup.agent import check, programs, running
from kubeproof.backup.agent.configuration import Programs
from kubeproof.backup.agent.errors import BackupError

PREFIX = ".drill-"
# What bind(2) takes as a unix socket's path.
_LONGEST_SOCKET = 107
_END_SECONDS = 10.0
_POLL_SECONDS = 0.05
_PAGE = 1000
_PR_SET_PDEATHSIG = 1
# etcd's key after all that begin with "/".
_EVERYTHING = {"key": base64.b64encode(b"\0").decode(), "range_end": base64.b64encode(b"\0").decode()}


@contextlib.contextmanager
def directory(parent: Path) -> Iterator[Path]:
    """A private directory for the time of a ``with`` block, on the disk of ``parent``.

    What a drill that was killed has left there is removed first: the caller holds the lock of all drills of this host.
    """
    remove_leftovers(parent)
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=str(parent)))
    try:
        yield made
    finally:
        shutil.rmtree(str(made), ignore_errors=True)
        if made.exists():
            raise BackupError("%s, the directory of the drill, cannot be removed: remove it manually" % made)


def remove_leftovers(parent: Path) -> None:
    """Remove the directories of drills that were killed."""
    for path in parent.glob(PREFIX + "*"):
        shutil.rmtree(str(path))


@contextlib.contextmanager
def process(command: Sequence[str], log: Path, kept: Sequence[int] = ()) -> Iterator[Process]:
    """A program that runs for the time of a ``with`` block, and never longer than this one.

    ``log`` is what it says; ``kept``, files that it has open as this one has.
    """
    try:
        with log.open("wb") as output:
            started = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=running.environment(),
                pass_fds=kept,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - this program has one thread
            )
    except OSError as error:
        raise BackupError("%s cannot be run: %s" % (command[0], error.strerror)) from None
    try:
        yield Process(started, Path(command[0]).name, log)
    finally:
        started.terminate()
        try:
            started.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True)
class Process:
    """A program at work."""

    process: subprocess.Popen[bytes]
    name: str
    log: Path

    def wait_until(self, ready: Any, timeout: float) -> None:
        """Wait until ``ready()``, which says what is still amiss, says nothing. Raises BackupError."""
        deadline = time.monotonic() + timeout
        while True:
            amiss = ready()
            if not amiss:
                return
            if self.process.poll() is not None:
                raise BackupError(
                    "the scratch %s exited with %d: %s" % (self.name, self.process.returncode, self.said())
                )
            if time.monotonic() > deadline:
                raise BackupError("the scratch %s is not ready after %.0f s: %s" % (self.name, timeout, amiss))
            time.sleep(_POLL_SECONDS)

    def said(self) -> str:
        """Its last words."""
        with self.log.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - (1 << 16)))
            return running.last_words(stream.read())


@dataclass(frozen=True)
class Kv:
    """A key as etcd has it."""

    key: str
    value: bytes


class ScratchEtcd:
    """The scratch etcd, asked by its JSON gateway.

    It begins at its snapshot's revision, and does not stay there: keys with a lease, as of API servers, end with it.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        """``path`` is its socket."""
        self.url = "unix://%s" % path
        self._path = path
        self._timeout = timeout

    def revision(self) -> int:
        """The one that it has come to."""
        return int(self._ask("kv/range", {**_EVERYTHING, "count_only": True})["header"]["revision"])

    def count(self, revision: int) -> int:
        """The number of keys that there were at a revision."""
        answer = self._ask("kv/range", {**_EVERYTHING, "count_only": True, "revision": str(revision)})
        return int(answer.get("count", 0))

    def hash_kv(self, revision: int) -> int:
        """The hash of all keys, and what they were, up to a revision."""
        answer = self._ask("maintenance/hashkv", {"revision": str(revision)})
        return int(answer["hash"])

    def keys(self, revision: int) -> Iterator[str]:
        """All keys that there were at a revision."""
        last = b"\0"
        while True:
            page = {"key": base64.b64encode(last).decode(), "limit": _PAGE, "keys_only": True}
            answer = self._ask("kv/range", {**_EVERYTHING, **page, "revision": str(revision)})
            found = [base64.b64decode(entry["key"]) for entry in answer.get("kvs", [])]
            yield from (key.decode(errors="replace") for key in found)
            if not answer.get("more"):
                return
            last = found[-1] + b"\0"

    def get(self, key: str, revision: int) -> Kv | None:
        """One key as it was at a revision."""
        question = {"key": base64.b64encode(key.encode()).decode(), "revision": str(revision)}
        answer = self._ask("kv/range", question)
        found = answer.get("kvs", [])
        return Kv(key, base64.b64decode(found[0].get("value", ""))) if found else None

    def problem(self) -> str:
        """Why it does not answer; empty if it does."""
        try:
            self.revision()
        except (OSError, BackupError) as error:
            return str(error)
        return ""

    def _ask(self, path: str, question: Mapping[str, Any]) -> Any:
        connection = _UnixConnection(self._path, self._timeout)
        try:
            connection.request("POST", "/v3/" + path, json.dumps(question))
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError("the scratch etcd broke off its answer: %r" % error) from None
        finally:
            connection.close()
        if answer.status != 200:
            raise BackupError("the scratch etcd answers %d: %s" % (answer.status, body[:300].decode(errors="replace")))
        return json.loads(body)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Restored:
    """A snapshot that was restored into a directory, as the data of a cluster of one member."""

    def __init__(self, etcd: Programs, snapshot: Path, where: Path, timeout: float) -> None:
        """Restore it. Raises BackupError."""
        self._etcd, self._timeout = etcd, timeout
        self._socket, peer = where / "client", where / "peer"
        if len(str(self._socket)) > _LONGEST_SOCKET:
            raise BackupError("%s is too long for the path of a unix socket: shorten backup_directory" % self._socket)
        self._data = where / "data"
        self._log = where / "etcd.log"
        self._identity = ["--name=drill", "--initial-cluster-token=%s" % where.name]
        self._identity += ["--initial-cluster=drill=%s" % _ADVERTISED, "--initial-advertise-peer-urls=%s" % _ADVERTISED]
        self._peer = "unix://%s" % peer
        data = "--data-dir=%s" % self._data
        programs.run([etcd.etcdutl, "snapshot", "restore", str(snapshot), data, *self._identity], timeout)

    @property
    def database(self) -> Path:
        """The database, while no etcd runs on it."""
        return self._data / "member" / "snap" / "db"

    @contextlib.contextmanager
    def running(self, program: str = "") -> Iterator[ScratchEtcd]:
        """An etcd on it. Nothing of what it writes has to outlast the drill, so it need not wait for the disk.

        ``program``: another one than that which has restored it.
        """
        quota = max(8 << 30, 2 * self.database.stat().st_size)
        client = "unix://%s" % self._socket
        command = [program or self._etcd.etcd, "--data-dir=%s" % self._data, *self._identity]
        command += ["--listen-client-urls=" + client, "--advertise-client-urls=" + _ADVERTISED]
        command += ["--listen-peer-urls=" + self._peer, "--quota-backend-bytes=%d" % quota]
        command += ["--unsafe-no-fsync", "--log-level=warn"]
        with process(command, self._log) as etcd:
            scratch = ScratchEtcd(self._socket, self._timeout)
            etcd.wait_until(scratch.problem, self._timeout)
            yield scratch


# For members and clients to come to; there are none. etcd 3.6 wants a host and a port of it, for sockets too.
_ADVERTISED = "unix://drill:1"
# Before it, etcdutl hashkv panics at keys with leases (https://github.com/etcd-io/etcd/issues/21105).
_HASHES_FROM = "3.7"


def content_hash(etcdutl: str, snapshot: Path, where: Path, revision: int, timeout: float) -> int | None:
    """The hash of a snapshot's keys up to a revision, by a copy: etcdutl writes into what it looks at.

    ``None`` where etcdutl cannot say it.
    """
    if check.minor(programs.version(etcdutl)) < check.minor(_HASHES_FROM):
        return None
    copy = where / "snapshot.db"
    shutil.copyfile(str(snapshot), str(copy))
    said = programs.run([etcdutl, "hashkv", str(copy), "--rev=%d" % revision, "--write-out=json"], timeout)
    copy.unlink()
    try:
        return int(json.loads(said)["hash"])
    except (ValueError, KeyError, TypeError):
        raise BackupError("etcdutl hashkv says %r" % said[:200]) from None
