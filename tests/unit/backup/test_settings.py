from __future__ import annotations

from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml

from kubeproof.backup.settings import problems

DEFAULTS: dict[str, Any] = yaml.safe_load((Path(__file__).parents[3] / "roles/backup/defaults/main.yml").read_text())


def test_the_defaults_are_right() -> None:
    assert problems({**DEFAULTS, "etcd_data_directory": "/var/lib/etcd"}) == []
    assert problems({}) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("backup_schedule", "every day", "for example hourly"),
        ("backup_schedule", "2027-01-01 00:00", "a schedule must not end"),
        ("backup_schedule", "", "not a supported schedule"),
        ("backup_random_delay", 1800, "less than half of the 3600 s"),
        ("backup_random_delay", -1, "less than 0"),
        ("backup_keep_last", 0, "the newest backup is always kept"),
        ("backup_keep_daily", -7, "less than 0"),
        ("backup_keep_bytes", -1, "less than 0"),
        ("backup_timeout", 0, "not a number of seconds"),
        ("backup_recipients", ["age1no"], "not an age public key"),
        ("backup_recipients", [str(pyrage.x25519.Identity.generate())], "not an age public key"),
        ("backup_directory", "/var/lib/etcd/member/backups", "etcd's own data directory"),
        ("backup_on_failure", ["mail", "ops"], "not the absolute path"),
    ],
)
def test_what_means_nothing_is_named(name: str, value: Any, said: str) -> None:
    ((subject, problem),) = problems({**DEFAULTS, name: value})
    assert subject == name
    assert said in problem
    assert "AGE-SECRET" not in problem


def test_a_quick_schedule_wants_a_small_delay() -> None:
    assert problems({**DEFAULTS, "backup_schedule": "*:0/10", "backup_random_delay": 60}) == []
    assert problems({**DEFAULTS, "backup_schedule": "*:0/10"})
