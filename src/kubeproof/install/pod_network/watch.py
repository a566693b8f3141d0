"""The loop: asleep until something changes, then a look, then back to sleep."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from kubeproof.install.pod_network import routes, ruleset
from kubeproof.install.pod_network.configuration import Configuration
from kubeproof.install.pod_network.errors import PodNetworkError
from kubeproof.install.pod_network.netlink import NETFILTER, ROUTE, Events
from kubeproof.install.pod_network.state import Record, State

# After an event: who takes something away may be about to put it back, and never comes alone.
QUIET_SECONDS = 0.1
# Between two looks, so that a host on which much changes is not busy with looking.
PAUSE_SECONDS = 1.0
# Also when nothing is heard: sysctls and the older iptables change without a word, and kube-proxy may come back late.
INTERVAL_SECONDS = 10.0


class Watch:
    """Keeps the kernel's state as configured, until it is stopped."""

    def __init__(self, paths: Tuple[Path, Path, Path], record: Record) -> None:
        """``paths``: the files that ``Configuration.load`` reads."""
        self._paths = paths
        self._record = record
        self._read: Tuple[object, ...] = ()
        self._state: Optional[State] = None
        self._told: List[str] = []
        self._looked = False
        self._over = False

    def run(self) -> None:
        """Until SIGTERM. SIGHUP: look at once."""
        with _wakeups() as wakeup:
            signal.signal(signal.SIGTERM, self._end)
            signal.signal(signal.SIGINT, self._end)
            # Heard from before the first look on, so that nothing is missed between that and the next.
            events = selectors.DefaultSelector()
            for heard in (Events(ROUTE, routes.GROUPS), Events(NETFILTER, ruleset.GROUPS)):
                events.register(heard, selectors.EVENT_READ, heard.drain)
            events.register(wakeup, selectors.EVENT_READ, lambda: wakeup.recv(1 << 12))
            while not self._over:
                wrong = self.look()
                # Whatever it has come to: what is to be started after this one does not wait for a network.
                notify("READY=1\nWATCHDOG=1")
                self._sleep(events, PAUSE_SECONDS if wrong else INTERVAL_SECONDS)

    def _sleep(self, events: selectors.BaseSelector, interval: float) -> None:
        """Until it is time to look again."""
        looked = time.monotonic()
        due = looked + interval
        while not self._over and time.monotonic() < due:
            ready = events.select(max(0.0, due - time.monotonic()))
            for each, _ in ready:
                each.data()
            if ready:
                due = min(due, max(time.monotonic() + QUIET_SECONDS, looked + PAUSE_SECONDS))

    def look(self) -> bool:
        """Look, put back what is missing, and say so; whether something could not be."""
        try:
            done, failed = self._current().put_back()
        except (PodNetworkError, OSError) as error:
            done, failed = [], [str(error)]
        for told in done:
            say("%s: %s" % ("put back" if self._looked else "set", told))
        self._looked = True
        if failed != self._told:
            for told in failed or ["all is well again"]:
                say(told)
            notify("STATUS=" + ("; ".join(failed) or "all is there"))
            self._told = failed
        return bool(failed)

    def _current(self) -> State:
        """The state by the configuration that is there now."""
        read = tuple(_version(path) for path in self._paths)
        if self._state is None or read != self._read:
            self._state = State(Configuration.load(*self._paths), self._record)
            self._read = read
        return self._state

    def _end(self, *_: object) -> None:
        self._over = True


def _version(path: Path) -> object:
    """What a change of a file shows in: it is replaced as a whole."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_mtime_ns, status.st_ino, status.st_size
    return None


@contextlib.contextmanager
def _wakeups() -> Iterator[socket.socket]:
    """A socket on which signals are heard."""
    reader, writer = socket.socketpair()
    for each in (reader, writer):
        each.setblocking(False)
    signal.signal(signal.SIGHUP, lambda *_: None)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        reader.close()
        writer.close()


NOTIFY_SECONDS = 1.0


def notify(message: str) -> None:
    """Tell systemd (sd_notify(3)), if it has started us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        if address.startswith("@"):
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection, contextlib.suppress(OSError):
            # Routes matter more than words: whoever does not read them must not keep us from our work.
            connection.settimeout(NOTIFY_SECONDS)
            connection.sendto(message.encode(), address)


def say(message: str) -> None:
    """A line for the journal."""
    print(message, file=sys.stderr, flush=True)
