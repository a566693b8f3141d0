"""Which runs may take what a host reports as an answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from plugins.action.host_report import ActionModule

from kubeproof.install import look
from kubeproof.install.rolling import this_run
from kubeproof.settings.portable_python import INTERPRETER

ROOT = Path(__file__).resolve().parents[4]


def report(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> dict[str, Any]:
    """The fact of a host that reports everything as settled."""
    plugin = ActionModule.__new__(ActionModule)
    plugin._task = SimpleNamespace(args=arguments, check_mode=False)
    answer = {"ansible_facts": {"kubeproof_host": {"arch": "amd64", "settled": {"tasks": {}, "units": {}}}}}
    plugin._execute_module = lambda **_call: answer
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
    fact: dict[str, Any] = plugin.run(task_vars={})["ansible_facts"]["kubeproof_host"]
    return fact


@pytest.mark.parametrize(("arguments", "trusts"), [({}, False), ({"trusted": False}, False), ({"trusted": True}, True)])
def test_only_a_run_that_trusts_it_has_it(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], trusts: bool
) -> None:
    assert ("settled" in report(monkeypatch, **arguments)) is trusts


def test_what_a_task_says_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it is asked about what the host's settings name."""
    sent: list[dict[str, Any]] = []

    def execute(module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
        sent.append(module_args)
        return {"failed": True}

    variables = {"group_names": ["etcd"], "etcd_data_directory": "/srv/etcd", "inventory_dir": "/inventory"}
    for arguments in ({}, {"etcd_data_directory": "/given", "trusted": True}):
        plugin = ActionModule.__new__(ActionModule)
        plugin._task = SimpleNamespace(args=arguments, check_mode=False)
        plugin._templar = Templar(loader=DataLoader(), variables=variables)
        plugin._execute_module = execute
        monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
        plugin.run(task_vars=variables)
    assert [each["etcd_data_directory"] for each in sent] == ["/srv/etcd", "/given"]
    assert [each["containerd_root_directory"] for each in sent] == ["/var/lib/containerd"] * 2
    assert "/srv/etcd" in sent[0]["paths"]
    assert sent[1]["trusted"]


def again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **answer: Any) -> dict[str, Any]:
    """What is returned for a host that reports for the second time in a run, after a change."""
    fact = {"arch": "amd64", "runs": [{"id": "judged"}], "settled": {"tasks": {"old": {}}, "units": {}}}
    variables = {
        "cluster_state_directory": str(tmp_path),
        "inventory_hostname": "cp1",
        "ansible_facts": {"kubeproof_host": fact},
    }
    plugin = ActionModule.__new__(ActionModule)
    plugin._task = SimpleNamespace(args={"trusted": True, "again": True}, check_mode=False)
    plugin._templar = Templar(loader=DataLoader(), variables=variables)
    plugin._execute_module = lambda **_call: answer
    plugin._variables = variables
    plugin._look.outdate()
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
    found: dict[str, Any] = plugin.run(task_vars=variables)
    return found


def test_again_only_what_is_settled_is_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run of another operator that has begun since was judged by none."""
    now = {"arch": "amd64", "runs": [{"id": "new"}], "settled": {"tasks": {"new": {}}, "units": {}}}
    fact = again(monkeypatch, tmp_path, ansible_facts={"kubeproof_host": now})["ansible_facts"]["kubeproof_host"]
    assert fact["settled"] == now["settled"]
    assert fact["runs"] == [{"id": "judged"}]
    assert look.Look(fact, tmp_path / "rolling", this_run(), "cp1").task("new") is not None


def test_again_a_host_that_does_not_answer_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert again(monkeypatch, tmp_path, unreachable=True, msg="no route") == {"unreachable": True, "msg": "no route"}


def test_restores_and_replacements_of_members_do_not() -> None:
    """They change hosts by modules that tell nobody."""
    tasks = yaml.safe_load((ROOT / "roles" / "preflight" / "tasks" / "report.yml").read_text())
    [given] = [task["host_report"]["trusted"] for task in tasks if "host_report" in task]
    assert given == "{{ __preflight_purpose == 'converge' }}"
    for name in ("restore", "replace-member"):
        plays = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())
        roles = [role for play in plays for role in play.get("roles", []) if isinstance(role, dict)]
        assert [role["vars"]["__preflight_purpose"] for role in roles if role["role"] == "preflight"] == [name]


@pytest.mark.parametrize(
    ("answer", "lacking"),
    [
        ({"failed": True, "rc": 127, "module_stderr": "/bin/sh: /usr/bin/python3: not found"}, "it has no Python"),
        ({"failed": True, "rc": 1, "module_stderr": "sudo: a password is required"}, None),
        ({"unreachable": True, "msg": "/usr/bin/python3: not found"}, None),
    ],
)
def test_it_says_that_a_host_lacks_python(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], lacking: str | None
) -> None:
    assert lacked(monkeypatch, answer, "workers") == lacking


def lacked(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], group: str) -> str | None:
    """What a host of a group is said to lack after such an answer."""
    variables = {"group_names": [group], "inventory_dir": "/inventory"}
    plugin = ActionModule.__new__(ActionModule)
    plugin._task = SimpleNamespace(args={}, check_mode=False)
    plugin._templar = Templar(loader=DataLoader(), variables=variables)
    plugin._execute_module = lambda **_call: answer
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
    found: str | None = plugin.run(task_vars=variables)["ansible_facts"]["kubeproof_host"].get("lacks_python")
    return found


def test_only_hosts_of_the_cluster_are_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is looked at because it may have left the cluster is not."""
    answer = {"failed": True, "rc": 127, "module_stderr": "/bin/sh: /usr/bin/python3: not found"}
    assert lacked(monkeypatch, answer, "workers")
    assert lacked(monkeypatch, answer, "former") is None
    end = yaml.safe_load((ROOT / "roles" / "preflight" / "tasks" / "python.yml").read_text())[0]
    assert end["ansible.builtin.meta"] == "end_role"
    assert end["when"] == "'lacks_python' not in ansible_facts['kubeproof_host']"


def test_ansible_looks_there_first() -> None:
    found = yaml.safe_load((ROOT / "playbooks" / "group_vars" / "all.yml").read_text())
    paths = found["ansible_interpreter_python_fallback"]
    assert paths[0] == INTERPRETER
    assert set(constants.INTERPRETER_PYTHON_FALLBACK) <= set(paths), "all that it would have looked for by itself"
