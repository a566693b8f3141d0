"""Which host makes a scheduled backup, where etcd answers in an unusual way. Its programs are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.backup import made

from kubeproof.backup.agent import save
from kubeproof.backup.agent.configuration import Configuration

FULL = "etcdserver: mvcc: database space exceeded"
# There is no record of a backup, and who asks for the lock is refused, as by an etcd that is full.
ETCDCTL = f"""#!/bin/sh
case "$*" in
*" lock "*) echo "Error: {FULL}" >&2; exit 1;;
*" get "*) ANSWER;;
esac
"""


@pytest.mark.parametrize("quorum", [True, False])
def test_an_etcd_that_grants_no_lock_is_backed_up_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, quorum: bool
) -> None:
    etcdctl, asked = tmp_path / "etcdctl", tmp_path / "asked"
    # It is asked for the record, for the majority, and for that once more after the lock.
    lost = f"echo >> {asked}; test $(wc -l < {asked}) -lt 3"
    etcdctl.write_text(ETCDCTL.replace("ANSWER", "exit 0" if quorum else lost))
    etcdctl.chmod(0o755)
    calls: list[dict[str, Any]] = []

    def saved(_: Configuration, __: object, trigger: str, **about: Any) -> str:
        calls.append({"trigger": trigger, **about})
        return "20261121T200000Z-cp1: revision 7"

    monkeypatch.setattr(save, "_save", saved)
    said = save.save(made.configuration(tmp_path, programs={"etcdctl": str(etcdctl)}), save.SCHEDULE)
    assert calls == [{"trigger": "schedule", "quorum": quorum}]
    assert said.startswith("20261121T200000Z-cp1: revision 7; without the lock, so that other hosts make one too: ")
    assert FULL in said
