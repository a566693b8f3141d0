"""Three members that are defragmented by their hosts' timers at once: one at a time, and the leader last."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.backup.conftest import Store

from kubeproof.core import zipped
from kubeproof.install.etcd_defragment.cluster import Cluster, look
from kubeproof.install.etcd_defragment.gateway import Gateway
from kubeproof.install.etcd_defragment.lock import KEY

MEBIBYTE = 1 << 20
QUOTA = 16 * MEBIBYTE
_SMALL = 12


@dataclass
class Member(Store):
    """One of several, all with the certificates of the first."""

    initial: str = ""

    @property
    def peer(self) -> str:
        return f"{self.name}=http://127.0.0.1:{self.peer_port}"

    def _command(self) -> list[str]:
        command = [part for part in super()._command() if not part.startswith("--initial-cluster=")]
        timing = ["--heartbeat-interval=500", "--election-timeout=5000"]
        return [*command, f"--initial-cluster={self.initial}", f"--quota-backend-bytes={QUOTA}", *timing]

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Not for this one alone: it is ready once the others have been started."""

    @property
    def gateway(self) -> Gateway:
        pki = self.directory / "pki"
        return Gateway(pki / "etcd.crt", pki / "client.crt", pki / "client.key")

    def look(self) -> Cluster:
        return look(self.gateway, self.url)

    def start(self, program: Path, *more: str) -> subprocess.Popen[str]:
        """The program as its unit has it."""
        pki = self.directory / "pki"
        command = [
            str(program), f"--host={self.name}", f"--url={self.url}", f"--ca={pki / 'etcd.crt'}",
            f"--certificate={pki / 'client.crt'}", f"--key={pki / 'client.key'}", f"--state={self.directory}",
            f"--data-directory={self.directory}", "--percent=50", f"--bytes={MEBIBYTE}", "--timeout=60", *more,
        ]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def defragmented(self) -> list[tuple[datetime, datetime]]:
        """When it was, by etcd's own log: from, until."""
        lines = [json.loads(line) for line in (self.directory / "etcd.log").read_text().splitlines() if line[:1] == "{"]
        times = [
            [datetime.fromisoformat(line["ts"]) for line in lines if line["msg"] == message]
            for message in ("starting defragment", "finished defragment")
        ]
        return list(zip(*times, strict=True))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "kubeproof-etcd-defragment"
    path.write_bytes(zipped.program("kubeproof.install.etcd_defragment"))
    path.chmod(0o755)
    return path


@pytest.fixture
def members(programs: Path, tmp_path: Path) -> Iterator[list[Member]]:
    """Three that run."""
    made = [Member(programs, tmp_path / name, name) for name in ("cp1", "cp2", "cp3")]
    for member in made:
        member.initial = ",".join(each.peer for each in made)
        member.directory.mkdir()
    made[0].make_certificates()
    for member in made[1:]:
        (member.directory / "pki").symlink_to(made[0].directory / "pki")
    with ExitStack() as running:
        for member in made:
            running.enter_context(member.running())
        deadline = time.monotonic() + 60
        while any(member.gateway.health(member.url) for member in made):
            assert time.monotonic() < deadline, (made[0].directory / "etcd.log").read_text()[-2000:]
            time.sleep(0.2)
        yield made


def fill(member: Member, values: int) -> None:
    """Half mebibytes of which each replaces the one before, and small keys for what comes later."""
    for number in range(_SMALL):
        member.gateway.ask(member.url, "/v3/kv/put", {"key": key(number), "value": key(number)}, seconds=60)
    for _ in range(values):
        member.gateway.ask(member.url, "/v3/kv/put", {"key": key(_SMALL), "value": "A" * (1 << 19)}, seconds=60)


def key(number: int) -> str:
    return base64.b64encode(b"%02d" % number).decode()


def settle(members: Sequence[Member]) -> Cluster:
    """Delete what is in the way of nobody, compact, and wait until all have freed it: at a write after that."""
    ask, url = members[0].gateway.ask, members[0].url
    revision = ask(url, "/v3/kv/deleterange", {"key": key(_SMALL)})["header"]["revision"]
    ask(url, "/v3/kv/compaction", {"revision": revision}, seconds=60)
    for number in range(_SMALL):
        time.sleep(1)
        ask(url, "/v3/kv/deleterange", {"key": key(number)}, seconds=60)
        now = members[0].look()
        if all(each.unused > each.size / 2 for each in now.members):
            return now
    raise AssertionError(now)


def lock(member: Member) -> dict[str, Any]:
    return dict(member.ctl.ask("get", KEY))


def test_all_are_defragmented_one_at_a_time_and_the_leader_last(members: list[Member], program: Path) -> None:
    fill(members[0], 16)
    before = settle(members)
    leader = before.mine.leader
    started = [member.start(program, "--patience=120") for member in members]
    said = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    after = members[0].look()
    assert all(each.size < 2 * MEBIBYTE for each in after.members)
    assert after.mine.leader != leader
    spans = sorted(span for member in members for span in member.defragmented())
    assert len(spans) == 3
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    names = {each.id: each.name for each in before.members}
    (last,) = [member for member in members if member.defragmented() == spans[-1:]]
    assert last.name == names[leader]
    assert "leadership was transferred" in said[members.index(last)]
    assert "kvs" not in lock(members[0])
    # A second time there is nothing to do.
    again = members[0].start(program, "--patience=120")
    assert "nothing to do" in again.communicate(timeout=60)[0]
    assert again.returncode == 0


def test_a_full_database_takes_writes_again(members: list[Member], program: Path) -> None:
    with pytest.raises(Exception, match="database space exceeded"):
        fill(members[0], 80)
    full = settle(members)
    assert full.full
    assert not full.alarm()
    started = [member.start(program, "--patience=120") for member in members]
    said = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert sum("the alarm NOSPACE is disarmed" in text for text in said) == 1
    members[0].gateway.ask(members[0].url, "/v3/kv/put", {"key": key(0), "value": key(0)})
    spans = sorted(span for member in members for span in member.defragmented())
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


def test_none_is_touched_while_one_is_away(members: list[Member], program: Path) -> None:
    fill(members[0], 16)
    settle(members)
    gone = members[2]
    (pid,) = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"--name={gone.name}\0" in path.read_text() and str(gone.directory) in path.read_text()
    ]
    subprocess.run(["kill", "-STOP", str(pid)], check=True)
    try:
        started = [member.start(program, "--patience=5") for member in members[:2]]
        said = [process.communicate(timeout=100)[0] for process in started]
        assert [process.returncode for process in started] == [1, 1], said
        assert all("cp3 is not healthy" in text for text in said)
        assert [member.defragmented() for member in members[:2]] == [[], []]
    finally:
        subprocess.run(["kill", "-CONT", str(pid)], check=True)
