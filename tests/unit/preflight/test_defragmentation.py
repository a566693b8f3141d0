"""Settings of etcd's defragmentation that mean nothing."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.unit.preflight.test_settings import found, variables

from kubeproof.preflight.defragmentation import problems
from kubeproof.settings import specs

DEFAULTS: dict[str, Any] = yaml.safe_load((specs.ROLES / "etcd/defaults/main.yml").read_text())


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"etcd_defragment_schedule": ""},
        {"etcd_defragment_schedule": "Sun 04:00"},
        {"etcd_defragment_percent": 1, "etcd_defragment_bytes": 0, "etcd_defragment_timeout": 1},
        {"etcd_defragment_percent": 100, "etcd_defragment_timeout": 86400},
    ],
)
def test_what_is_right(given: dict[str, Any]) -> None:
    assert list(problems({**DEFAULTS, **given})) == []


def test_nothing_is_said_without_settings() -> None:
    assert list(problems({})) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("etcd_defragment_schedule", "every night", "for example hourly"),
        # What YAML makes of 03:30 without quotes.
        ("etcd_defragment_schedule", "210", "is not a supported schedule"),
        ("etcd_defragment_percent", 0, "0 is not a percentage from 1 to 100"),
        ("etcd_defragment_percent", 101, "101 is not a percentage from 1 to 100"),
        ("etcd_defragment_bytes", -1, "-1 is not a number of bytes from 0"),
        ("etcd_defragment_timeout", 0, "0 is not a number of seconds from 1"),
        ("etcd_defragment_timeout", 86401, "86401 is not a number of seconds from 1"),
    ],
)
def test_what_means_nothing_is_named(name: str, value: Any, said: str) -> None:
    ((subject, problem),) = problems({**DEFAULTS, name: value})
    assert subject == name
    assert said in problem


def test_a_run_asks_for_it() -> None:
    assert ("invalid-setting", "etcd_defragment_schedule", "h0") in found(
        variables(etcd_defragment_schedule="every night")
    )
