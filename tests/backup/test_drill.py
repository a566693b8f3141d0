"""A drill proves what restores, and nothing else: with a real etcd."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.backup.conftest import Store, agent_environment

from kubeproof.backup.agent import drill, jobs, manifest, save, scratch
from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.errors import BackupError
from kubeproof.backup.agent.records import Records
from kubeproof.core import waiting


@pytest.fixture
def configuration(store: Store) -> Configuration:
    return store.configuration()


def backup(configuration: Configuration) -> Path:
    name = save.save(configuration, "hand").partition(":")[0]
    return configuration.directory / name


def left(configuration: Configuration) -> list[str]:
    return [path.name for path in configuration.directory.glob(scratch.PREFIX + "*")]


def test_a_backup_is_proven(configuration: Configuration) -> None:
    path = backup(configuration)
    said = drill.drill(configuration)
    proven = Records(configuration.state).status()["proven"]
    result = json.loads((configuration.state / drill.RESULTS / f"{path.name}.json").read_text())
    assert said.startswith(f"{path.name} is proven")
    assert proven["name"] == path.name
    assert proven["revision"] == manifest.read(path).revision
    assert set(proven["steps"]) == {"check", "read", "restore", "start", "compare", "read back"}
    assert result["kinds"]["test"] == 500
    assert result["sample"]["objects"] >= 500
    assert not left(configuration)
    assert drill.drill(configuration).startswith("nothing to do: ")
    assert drill.drill(configuration, path.name).startswith(f"{path.name} is proven")


def test_no_backup_is_nothing_to_do(configuration: Configuration) -> None:
    assert drill.drill(configuration) == "nothing to do: there is no backup on this host"
    with pytest.raises(BackupError, match="there is no backup 20260101T000000Z-cp1"):
        drill.drill(configuration, "20260101T000000Z-cp1")


def test_another_ones_snapshot_is_found_out_in_each_comparison(configuration: Configuration, store: Store) -> None:
    """Without ``check``, whose work it is first: the comparisons have to find it by themselves."""
    old = backup(configuration)
    store.fill(300, "other")
    new = backup(configuration)
    expected = manifest.read(new)
    timeout = 60.0
    with scratch.directory(configuration.directory) as where:
        restored = scratch.Restored(configuration.programs, old / manifest.SNAPSHOT, where, timeout)
        with pytest.raises(BackupError, match="the restored data has revision"):
            drill.compare_database(restored.database, expected, configuration.programs.etcdutl, timeout)
        with restored.running() as etcd:
            with pytest.raises(BackupError, match="etcd serves revision"):
                drill.compare_content(etcd, expected, 0)
            with pytest.raises(BackupError, match="have hash"):
                drill.compare_content(etcd, manifest.read(old), 0)
    (new / manifest.SNAPSHOT).write_bytes((old / manifest.SNAPSHOT).read_bytes())
    with pytest.raises(BackupError, match="check: "):
        drill.drill(configuration, new.name)


def test_keys_whose_leases_end_meanwhile_are_read_as_they_were(configuration: Configuration, store: Store) -> None:
    """As API servers' own on a slow host, within 15 seconds."""
    granted = subprocess.run(store.ctl.command("lease", "grant", "5"), capture_output=True, text=True, check=True)
    lease = granted.stdout.split()[1]
    put = store.ctl.command("put", f"--lease={lease}", "/registry/masterleases/192.0.2.1", "here")
    subprocess.run(put, capture_output=True, check=True)
    path = backup(configuration)
    expected = manifest.read(path)
    with scratch.directory(configuration.directory) as where:
        snapshot = path / manifest.SNAPSHOT
        content = scratch.content_hash(configuration.programs.etcdutl, snapshot, where, expected.revision, 60.0)
        with scratch.Restored(configuration.programs, snapshot, where, 60.0).running() as etcd:
            assert waiting.until(lambda: etcd.revision() > expected.revision, 30, pause=0.2)
            proof = drill.Proof(path.name, expected.revision)
            drill.compare_content(etcd, expected, content)
            drill.read_back(etcd, proof, expected.revision)
    assert proof.keys["masterleases"] == 1


def test_a_failed_drill_is_told_and_proves_nothing(
    configuration: Configuration, capsys: pytest.CaptureFixture[str]
) -> None:
    path = backup(configuration)
    with (path / manifest.SNAPSHOT).open("r+b") as stream:
        stream.seek(20000)
        byte = stream.read(1)[0]
        stream.seek(20000)
        stream.write(bytes([byte ^ 4]))
    assert jobs.run(configuration, "drill", lambda: drill.drill(configuration)) == 1
    status = Records(configuration.state).status()
    assert status["proven"] is None
    assert status["attempts"]["drill"]["reason"].startswith(f"{path.name}: check: ")
    assert "SHA-256" in capsys.readouterr().err


def test_a_disk_without_room_is_left_as_it_is(store: Store, configuration: Configuration) -> None:
    backup(configuration)
    keep = {"last": 100, "hourly": 0, "daily": 0, "weekly": 0, "bytes": 0, "free": 1 << 60}
    with pytest.raises(BackupError, match="free disk space"):
        drill.drill(store.configuration(keep=keep))
    assert not left(configuration)


def test_what_a_killed_drill_leaves_goes_with_the_next(store: Store, configuration: Configuration) -> None:
    path = backup(configuration)
    command = [sys.executable, "-m", "kubeproof.backup.agent", "--config", str(store.configure()), "drill"]
    for wait in (0.2, 0.6, 0.9, 1.2, 1.5):
        process = subprocess.Popen(command, env=agent_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert "is proven" in drill.drill(configuration, path.name)
    assert not left(configuration)
    sockets = subprocess.run(["ss", "-xl"], capture_output=True, text=True, check=False).stdout
    assert str(configuration.directory) not in sockets, "a scratch etcd has outlived its drill"
