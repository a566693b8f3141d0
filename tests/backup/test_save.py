"""``save`` on a real etcd."""

from __future__ import annotations

import pytest
from tests.backup.conftest import Store

from kubeproof.backup.agent import backups, coordination
from kubeproof.backup.agent.main import main
from kubeproof.backup.agent.records import Records


def run(store: Store, *arguments: str, **settings: object) -> int:
    return main(["--config", str(store.configure(**settings)), *arguments])


def made(store: Store) -> list[backups.Backup]:
    return backups.listing(store.directory / "backups", etcdutl=str(store.programs / "etcdutl"))


def test_a_backup_is_made_verified_and_recorded(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "save", "--trigger", "schedule") == 0
    (backup,) = made(store)
    assert backup.problem == ""
    assert backup.manifest is not None
    assert backup.manifest.keys > 0
    assert backup.manifest.quorum
    assert backup.manifest.trigger == "schedule"
    status = Records(store.directory / "state").status()
    assert status["backup"]["name"] == status["cluster"]["name"] == backup.name
    record = coordination.last_good(store.ctl)
    assert record is not None
    assert record["name"] == backup.name
    assert (
        f"etcd_backup_revision {backup.manifest.revision}\n"
        in (store.directory / "state/metrics/etcd_backup.prom").read_text()
    )
    assert run(store, "check", backup.name) == 0
    # A second run of the schedule finds it done; a manual one makes another.
    assert run(store, "save", "--trigger", "schedule") == 0
    assert len(made(store)) == 1
    assert run(store, "save") == 0
    assert len(made(store)) == 2


def test_modes(store: Store) -> None:
    assert run(store, "save") == 0
    (backup,) = made(store)
    assert {path.stat().st_mode & 0o777 for path in backup.path.iterdir()} == {0o600}
    assert backup.path.stat().st_mode & 0o777 == 0o700
