"""One member makes the backup, another takes over, and what goes wrong is reported."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.backup.conftest import Store
from tests.backup.test_killed import start
from tests.backup.test_save import made, run

from kubeproof.backup.agent import coordination
from kubeproof.backup.agent.programs import Ctl
from kubeproof.backup.agent.records import Records, timestamp


def other_host(store: Store, name: str = "cp2") -> Path:
    """A second host's program, with directories of its own, on the same etcd."""
    directory = store.directory / name
    for part in ("backups", "state"):
        (directory / part).mkdir(parents=True)
    settings = store.settings(host=name, directory=str(directory / "backups"), state=str(directory / "state"))
    (directory / "backup.json").write_text(json.dumps(settings))
    return directory / "backup.json"


def kept(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.startswith("2"))


def set_record(store: Store, seconds_ago: float) -> None:
    record = {"name": "x", "host": "cp9", "finished": timestamp(time.time() - seconds_ago), "revision": 1}
    coordination.note(store.ctl, record)


def test_hosts_whose_timers_run_at_once_make_one_backup(store: Store) -> None:
    configurations = [store.configure(), *(other_host(store, f"cp{number}") for number in range(2, 5))]
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda path: start(path, "schedule").wait(), configurations))
    assert statuses == [0, 0, 0, 0]
    directories = [store.directory / "backups", *(store.directory / f"cp{number}/backups" for number in range(2, 5))]
    assert sum(len(kept(directory)) for directory in directories) == 1
    # All of them know of it.
    (name,) = [name for directory in directories for name in kept(directory)]
    for path in configurations:
        status = Records(Path(json.loads(path.read_text())["state"])).status()
        assert status["cluster"]["name"] == name


@pytest.mark.parametrize(("ago", "makes"), [(10, 0), (0.49, 0), (0.51, 1), (2.0, 1), (-60 / 21600, 0), (-2.0, 1)])
def test_a_record_counts_if_it_is_young_and_not_from_the_future(store: Store, ago: float, makes: int) -> None:
    set_record(store, ago if ago == 10 else ago * 21600)
    assert run(store, "save", "--trigger", "schedule") == 0
    assert len(kept(store.directory / "backups")) == makes


def test_a_record_that_is_none_does_not_keep_backups_from_being_made(store: Store) -> None:
    store.ctl.run("put", coordination.LAST, "{rubbish")
    assert run(store, "save", "--trigger", "schedule") == 0
    assert len(kept(store.directory / "backups")) == 1


def test_who_waits_for_the_lock_in_vain_says_so(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with coordination.lock(store.ctl, 30):
        assert run(store, "save", "--trigger", "schedule", timeout=2) == 1
    assert "another host has held the lock" in capsys.readouterr().err
    # A manual run waits for nothing.
    with coordination.lock(store.ctl, 30):
        assert run(store, "save", "--trigger", "restore") == 0


def test_a_lock_whose_holder_was_killed_is_free_at_once(store: Store) -> None:
    configuration = store.configure()
    with coordination.lock(store.ctl, 30):
        process = start(configuration, "schedule")
        time.sleep(2)
        process.kill()
        process.wait()
    began = time.monotonic()
    with coordination.lock(store.ctl, 30):
        assert time.monotonic() - began < 10


@contextmanager
def second_member(store: Store) -> Iterator[None]:
    """One more member, whose end takes the majority away. A client certificate is asked for there as well."""
    other = Store(store.programs, store.directory / "second", name="cp2")
    other.directory.mkdir()
    (other.directory / "pki").symlink_to(store.directory / "pki")
    peer = f"http://127.0.0.1:{other.peer_port}"
    store.ctl.run("member", "add", "cp2", f"--peer-urls={peer}")
    first = f"{store.name}=http://127.0.0.1:{store.peer_port}"
    with ExitStack() as stack:
        log = stack.enter_context((other.directory / "etcd.log").open("wb"))
        command = [word for word in other._command() if not word.startswith("--initial-cluster=")]
        more = [f"--initial-cluster={first},cp2={peer}", "--initial-cluster-state=existing"]
        process = subprocess.Popen([*command, *more], stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.kill)
        other._wait(process)
        yield


def test_without_a_majority_the_member_is_saved_where_it_is(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with second_member(store):
        assert run(store, "save", "--trigger", "schedule", interval=1) == 0
        time.sleep(1)
    # The other one is gone, and with it the majority.
    assert run(store, "save", "--trigger", "schedule", interval=1) == 0
    assert "without quorum" in capsys.readouterr().out
    newest, older = made(store)
    assert newest.manifest is not None
    assert older.manifest is not None
    assert (older.manifest.quorum, newest.manifest.quorum) == (True, False)
    assert newest.problem == ""


def test_an_etcd_that_is_down_is_told_and_nothing_is_lost(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "save") == 0
    dead = {**store.settings()["etcd"], "endpoint": "https://127.0.0.1:1", "endpoints": ["https://127.0.0.1:1"]}
    assert run(store, "save", "--trigger", "schedule", etcd=dead) == 1
    assert "etcd on this host cannot be read" in capsys.readouterr().err
    assert len(kept(store.directory / "backups")) == 1
    # Where only the member on this host is down, the others' backup is enough.
    dead["endpoints"] = [store.url]
    assert run(store, "save", "--trigger", "schedule", etcd=dead) == 0


class TestFailures:
    def test_the_hook_is_told(self, store: Store) -> None:
        told = store.directory / "told"
        hook = ["/bin/sh", "-c", f'echo "$KUBEPROOF_JOB on $KUBEPROOF_HOST: $KUBEPROOF_REASON" > {told}; exit 3']
        assert run(store, "save", on_failure=hook, keep={**store.settings()["keep"], "free": 1 << 60}) == 1
        assert told.read_text().startswith("save on cp1: ")
        assert "bytes free; a backup of" in told.read_text()
        status = Records(store.directory / "state").status()
        assert status["failures"] == {"save": 1}
        assert not status["attempts"]["save"]["ok"]
        metrics = (store.directory / "state/metrics/etcd_backup.prom").read_text()
        assert 'etcd_backup_failures_total{job="save"} 1\n' in metrics
        assert run(store, "status") == 1

    def test_a_disk_that_fills_up_harms_no_older_backup(self, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
        directory = store.directory / "small"
        directory.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(directory)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("only root may mount a small disk")
        try:
            assert run(store, "save", directory=str(directory)) == 0
            store.fill(3000)
            # It says that there is room: the database grew while it was being sent.
            before = kept(directory)
            original = subprocess.run(["du", "-s", str(directory)], capture_output=True, text=True, check=True).stdout
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("kubeproof.backup.agent.save._require_space", lambda *_: None)
                assert run(store, "save", directory=str(directory)) == 1
            assert "space" in capsys.readouterr().err
            assert kept(directory) == before
            assert [path.name for path in directory.iterdir()] == before
            after = subprocess.run(["du", "-s", str(directory)], capture_output=True, text=True, check=True).stdout
            assert after == original
            assert run(store, "check", str(directory / before[0])) == 0
        finally:
            subprocess.run(["umount", str(directory)], check=True)

    def test_keys_that_are_not_there_are_no_backup(self, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(store, "save", keys=str(store.directory / "none")) == 1
        assert "cannot be restored alone" in capsys.readouterr().err
        assert kept(store.directory / "backups") == []

    def test_a_clock_that_was_set_back_does_not_lose_what_was_just_made(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep = {**store.settings()["keep"], "last": 1}
        now = time.time
        assert run(store, "save", keep=keep) == 0
        (before,) = kept(store.directory / "backups")
        monkeypatch.setattr(time, "time", lambda: now() - 400 * 86400)
        assert run(store, "save", keep=keep) == 0
        first = kept(store.directory / "backups")
        assert len(first) == 2
        assert before in first
        monkeypatch.setattr(time, "time", lambda: now() + 3600)
        assert run(store, "save", keep=keep) == 0
        assert len(kept(store.directory / "backups")) == 1


def test_the_lock_is_given_back(store: Store) -> None:
    for _ in range(3):
        with coordination.lock(store.ctl, 10):
            pass
    left = Ctl(str(store.programs / "etcdctl"), store.configuration().etcd).run("get", coordination.LOCK, "--prefix")
    assert left.strip() == ""
