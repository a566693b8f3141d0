"""Settings of upgrades that mean nothing."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.preflight.upgrades import problems

TIMEOUTS = {
    "etcd_start_timeout": 90, "apiserver_start_timeout": 120, "controller_manager_start_timeout": 60,
    "scheduler_start_timeout": 60, "containerd_start_timeout": 60, "kubelet_start_timeout": 60,
    "kube_proxy_start_timeout": 60,
}  # fmt: skip


@pytest.mark.parametrize("seconds", [720, 900, 86400])
def test_long_enough(seconds: int) -> None:
    assert list(problems({**TIMEOUTS, "upgrade_confirm_seconds": seconds})) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"upgrade_confirm_seconds": 719}, "719 s are too short: a node's turn may take 720 s by containerd_"),
        ({"apiserver_start_timeout": 400}, "an API server's turn may take 1200 s by apiserver_start_timeout"),
        ({"etcd_start_timeout": 301}, "etcd's turn may take 903 s"),
        ({"scheduler_start_timeout": 300}, "the controllers' turn may take 1080 s"),
        ({"upgrade_confirm_seconds": 86401}, "86401 is not a number of seconds up to 86400"),
    ],
)  # fmt: skip
def test_too_short_or_too_long(changes: dict[str, Any], says: str) -> None:
    ((name, problem),) = problems({**TIMEOUTS, "upgrade_confirm_seconds": 900, **changes})
    assert name == "upgrade_confirm_seconds"
    assert says in problem


def test_what_is_not_known_is_not_compared() -> None:
    assert list(problems({"upgrade_confirm_seconds": 1})) == []
    assert list(problems({})) == []
