"""The action plugin that transfers leadership: in check mode it asks no host, and says what the run waits for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from plugins.action.etcd_leadership import ActionModule

OF_ETCD = {"url": "https://10.0.0.1:2379", "ca": "/ca.crt", "certificate": "/c.crt", "key": "/c.key"}


def planned(monkeypatch: pytest.MonkeyPatch, host: str, seconds: float) -> dict[str, Any]:
    plugin = ActionModule.__new__(ActionModule)
    given = {"leaders": ["cp1"], "api_servers": ["cp1", "cp2"], "seconds": seconds, **OF_ETCD}
    plugin._task = SimpleNamespace(args=given, check_mode=True, _uuid="1")
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
    result: dict[str, Any] = plugin.run(task_vars={"inventory_hostname": host})
    return result


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "another member of etcd to lead, while API servers are paused for at most 3 s"),
        (0, "another member of etcd to lead"),
    ],
)
def test_a_plan_says_that_leadership_moves_first(monkeypatch: pytest.MonkeyPatch, seconds: float, words: str) -> None:
    result = planned(monkeypatch, "cp1", seconds)
    assert result["changed"] is False
    assert result["step"]["gate"] == {"before": [], "after": [words]}


def test_hosts_that_do_not_lead_have_no_part_in_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    assert planned(monkeypatch, "cp2", 3) == {"changed": False}
