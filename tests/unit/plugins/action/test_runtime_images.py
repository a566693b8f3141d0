"""The action plugin that imports images: in check mode two plays announce an import once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from plugins.action.runtime_images import ActionModule

PAUSE = "localhost/kubeproof/pause:3.10.2"
IMAGES = [{"reference": PAUSE, "archive": "/var/lib/kubeproof/images/pause.tar", "digest": "sha256:1"}]


def run(
    state: Path, monkeypatch: pytest.MonkeyPatch, *changes: dict[str, str], check_mode: bool = True
) -> dict[str, Any]:
    variables = {"inventory_hostname": "cp1", "cluster_state_directory": str(state), "ansible_facts": {}}
    plugin = ActionModule.__new__(ActionModule)
    plugin._templar = Templar(loader=DataLoader(), variables=variables)
    plugin._execute_module = lambda **_: {"changed": bool(changes), "changes": list(changes)}
    plugin._task = SimpleNamespace(args={"images": IMAGES}, check_mode=check_mode, name="Import images", _role=None)
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
    result: dict[str, Any] = plugin.run(task_vars=variables)
    return result


@pytest.mark.parametrize("what", ["imported", "pinned"])
def test_a_plan_has_an_import_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    change = {"path": PAUSE, "what": what}
    assert run(tmp_path, monkeypatch, change) == {"changed": True, "changes": [change]}
    assert run(tmp_path, monkeypatch, change) == {"changed": False, "changes": []}


def test_what_a_run_did_is_what_the_host_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change = {"path": PAUSE, "what": "imported"}
    for _ in range(2):
        assert run(tmp_path, monkeypatch, change, check_mode=False)["changes"] == [change]
