"""What backups of a filled cluster cost: a backup, its effect on clients of the API, a drill, a restore.

    .venv/bin/python -m bench.backups --inventory DIR/hosts.yml [--objects 20000] [--rounds 10] [--restore]

Fills a cluster of local hosts that is up with ConfigMaps of about 1 kB, starts the backup's unit again and again while
one client reads through a majority and another one writes, has the newest backup proven by a drill, and with
``--restore`` brings the whole cluster back from it onto the same hosts. Prints a table, and removes at the end what
it has made. Latencies with a backup at work and without are of the same run, alternately.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import secrets
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from bench import ending
from rich.console import Console
from rich.table import Table
from tests import disposable_cluster

from kubeproof.api import kubeconfig
from kubeproof.core import controller_packages
from kubeproof.install import playbook
from kubeproof.settings import inventory
from kubeproof.verify.etcd_backups import drills, survey
from kubeproof.verify.observe.api import MERGE_PATCH, Api, ApiError, connect
from kubeproof.verify.observe.hosts import Host, Hosts

NAMESPACE = "backup-bench"
PATH = f"/api/v1/namespaces/{NAMESPACE}"
WRITERS = 16
# So often a client asks, if it gets its answers in time.
PAUSE_SECONDS = 0.02
QUIET_SECONDS = 3.0
# What is written settles, and etcd's first compaction of it is not what is measured.
SETTLE_SECONDS = 10.0
STATE = "/var/lib/etcd-backup"
# The newest backup's record: without it the unit makes another one, however young the last is.
FORGET = (
    "etcdctl --cacert /etc/etcd/pki/ca.crt --cert /etc/etcd/pki/operator.crt --key /etc/etcd/pki/operator.key"
    " --endpoints https://127.0.0.1:2379 del %s"
)


@dataclass
class Latencies:
    """Milliseconds, by verb, of requests that began with a backup at work and without one."""

    with_backup: dict[str, list[float]] = field(default_factory=lambda: {"read": [], "write": []})
    without: dict[str, list[float]] = field(default_factory=lambda: {"read": [], "write": []})
    failed: int = 0


def main() -> None:
    """Fill, measure, print, empty."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inventory", type=Path, required=True, help="a cluster of local hosts that is up")
    parser.add_argument("--objects", type=int, default=20_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="backups while clients are at work")
    parser.add_argument("--restore", action="store_true", help="bring the cluster back from a backup, too")
    parser.add_argument("--keep", action="store_true", help="leave the objects there, for another run")
    arguments = parser.parse_args()
    controller_packages.complete_path()
    console = Console()
    described = disposable_cluster.load(arguments.inventory, regardless=False)
    accesses = kubeconfig.load_all(described.state / "admin.kubeconfig")
    table = Table("what", "measured", title=f"{arguments.objects} objects; {_machine()}")
    with connect(*accesses) as api, Hosts(described) as hosts:
        hosts.check()
        host = hosts.group("etcd")[0]
        try:
            table.add_row("objects made", f"{_timed(lambda: _fill(api, arguments.objects)):.0f} s")
            time.sleep(SETTLE_SECONDS)
            _backups(table, api, host, arguments.rounds)
            _drill(table, host)
            if arguments.restore:
                _restore(table, api, host, lambda source: _play(described.sources, described.state, source))
        finally:
            console.print(table)
            if not arguments.keep:
                _empty(api)


def _machine() -> str:
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, Linux {platform.release()}, load {load:.1f}"


def _timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def _fill(api: Api, number: int) -> None:
    with contextlib.suppress(ApiError):
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    there = {item["metadata"]["name"] for item in api.items(f"{PATH}/configmaps")}
    missing = [name for name in (f"filled-{each}" for each in range(number)) if name not in there]

    def create(name: str) -> None:
        # Random, so that nothing on the way makes it smaller.
        data = {"content": secrets.token_hex(450)}
        api.create(
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}
        )

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(create, missing))


def _empty(api: Api) -> None:
    api.delete(f"/api/v1/namespaces/{NAMESPACE}")


def _backups(table: Table, api: Api, host: Host, rounds: int) -> None:
    """Backups alternate with quiet, while clients are at work."""
    found, seconds = Latencies(), []
    at_work, over = threading.Event(), threading.Event()
    clients = [threading.Thread(target=_client, args=(api, verb, found, at_work, over)) for verb in ("read", "write")]
    for client in clients:
        client.start()
    try:
        for _ in range(rounds):
            time.sleep(QUIET_SECONDS)
            host.run(FORGET, survey.LAST)
            at_work.set()
            seconds.append(_timed(lambda: host.run("systemctl start %s", survey.SERVICE)))
            at_work.clear()
    finally:
        over.set()
        for client in clients:
            client.join()
    made = _status(host)["backup"]
    table.add_row("a backup's size", f"{made['size'] / 1e6:.1f} MB, {made['keys']} keys")
    table.add_row("a backup, by its unit", f"{_spread(seconds)} s, {len(seconds)} of them")
    for verb in ("read", "write"):
        quiet, busy = found.without[verb], found.with_backup[verb]
        for name, of in (("median", statistics.median), ("p99", _p99)):
            table.add_row(
                f"{verb}s, {name}: with a backup / without",
                f"{of(busy):.1f} ms / {of(quiet):.1f} ms = {of(busy) / of(quiet):.2f}",
            )
        table.add_row(f"{verb}s: how many", f"{len(busy)} / {len(quiet)}")
    table.add_row("requests that failed", str(found.failed))


def _client(api: Api, verb: str, found: Latencies, at_work: threading.Event, over: threading.Event) -> None:
    """Ask again and again. A read without a resourceVersion is answered by etcd's majority."""
    turn = 0
    while not over.is_set():
        busy, started = at_work.is_set(), time.monotonic()
        path = f"{PATH}/configmaps/filled-{turn % 100}"
        try:
            if verb == "read":
                api.get(path)
            else:
                api.patch(path, {"metadata": {"annotations": {"turn": str(turn)}}}, MERGE_PATCH)
        except (ApiError, httpx.HTTPError):
            found.failed += 1
        # One that a backup began or ended in belongs to neither.
        if busy == at_work.is_set():
            of = found.with_backup if busy else found.without
            of[verb].append(1000 * (time.monotonic() - started))
        turn += 1
        time.sleep(PAUSE_SECONDS)


def _drill(table: Table, host: Host) -> None:
    host.run("systemctl start %s", drills.DRILL)
    proven = _status(host)["proven"]
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in proven["steps"].items())
    table.add_row("a drill", f"{proven['seconds']:.1f} s ({steps}); {proven['objects']} objects")


def _restore(table: Table, api: Api, host: Host, play: Callable[[str], playbook.Run]) -> None:
    """Onto the same hosts: all of the playbook, and how long nobody was answered meanwhile."""
    before = _uids(api)
    name = _status(host)["backup"]["name"]
    with _absence(api) as absent:
        seconds = _timed(lambda: play(f"{host}:{name}"))
    table.add_row(
        "a restore, onto the same hosts", f"{seconds:.0f} s, of which the API was down {max(absent, default=0):.0f} s"
    )
    after = _uids(api)
    same = sum(after.get(name) == uid for name, uid in before.items())
    table.add_row("objects with the UID that they had", f"{same} of {len(before)}")


def _play(sources: inventory.Sources, state: Path, source: str) -> playbook.Run:
    given = {"restore_from": source, "restore_confirmed": True, "restore_verify": "none"}
    ended = playbook.run("restore", sources, state, ["--extra-vars", json.dumps(given)])
    if not ended.ok:
        raise SystemExit(f"the restore failed: {ended.log}")
    return ended


@contextlib.contextmanager
def _absence(api: Api) -> Iterator[list[float]]:
    """How long each time was in which no request was answered, in seconds."""
    found: list[float] = []
    over = threading.Event()

    def ask() -> None:
        since = None
        while not over.is_set():
            try:
                api.get(f"{PATH}/configmaps/filled-0")
                if since is not None:
                    found.append(time.monotonic() - since)
                since = None
            except (ApiError, httpx.HTTPError):
                since = since or time.monotonic()
            time.sleep(0.2)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _uids(api: Api) -> dict[str, str]:
    found: dict[str, str] = {}
    rest = ""
    while True:
        page = api.get(f"{PATH}/configmaps", limit=2000, **({"continue": rest} if rest else {}))
        found |= {item["metadata"]["name"]: item["metadata"]["uid"] for item in page["items"]}
        rest = page["metadata"].get("continue", "")
        if not rest:
            return found


def _status(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run(f"cat {STATE}/status.json"))
    return found


def _p99(numbers: list[float]) -> float:
    return statistics.quantiles(numbers, n=100)[98]


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


if __name__ == "__main__":
    ending.cleans_up()
    main()
