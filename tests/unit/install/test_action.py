"""What action plugins have in common: how they fail, run modules and commands, and render."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from plugins.action import host_packages

from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action


class Acts(Action):
    """Does what a test gives it to do, on a host that answers as the test says."""

    def __init__(self, do: Callable[[Acts], dict[str, Any]], **answer: Any) -> None:
        self._do = do
        self.asked: dict[str, Any] = {}
        self._task = SimpleNamespace(args={"unit": "etcd.service"}, check_mode=True)
        self._execute_module = lambda **call: self._answered(call, answer)
        self._low_level_execute_command = lambda command, **call: self._answered({"command": command, **call}, answer)

    def _answered(self, call: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        self.asked = call
        return answer

    def act(self) -> dict[str, Any]:
        return self._do(self)


@pytest.mark.parametrize(
    ("changed", "check_mode", "settled", "outdated"),
    [
        (True, False, {"settled": {}}, True),
        (False, False, {"settled": {}}, False),
        (True, True, {"settled": {}}, False),
        (True, False, {}, False),
    ],
)
def test_a_change_outdates_what_was_reported(
    tmp_path: Path, changed: bool, check_mode: bool, settled: dict[str, Any], outdated: bool
) -> None:
    action = Acts(lambda _: {"changed": changed})
    action._task.check_mode = check_mode
    variables = {
        "cluster_state_directory": str(tmp_path),
        "inventory_hostname": "cp1",
        "ansible_facts": {"kubeproof_host": settled},
    }
    action._templar = Templar(loader=DataLoader(), variables=variables)
    action.run(task_vars=variables)
    assert (tmp_path / "rolling" / "changed").exists() is outdated


def test_packages_that_came_outdate_it_too() -> None:
    """They are installed by a plugin of this class, and not by a module alone."""
    assert issubclass(host_packages.ActionModule, Action)


@pytest.fixture(autouse=True)
def _without_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {"began": True})


def test_what_it_returns_is_added_to_what_ansible_began_with() -> None:
    assert Acts(lambda _: {"changed": False}).run() == {"began": True, "changed": False}


def test_an_error_for_the_operator_fails_the_task_with_its_hint() -> None:
    def fail(_: Acts) -> dict[str, Any]:
        raise KubeproofError("the lock is missing", hint="run it from its start")

    with pytest.raises(AnsibleActionFail, match="the lock is missing\n  run it from its start"):
        Acts(fail).run()


def test_an_error_of_ours_is_not_made_one_of_the_operator() -> None:
    with pytest.raises(ZeroDivisionError):
        Acts(lambda _: {"changed": 1 // 0}).run()


def test_the_module_is_the_one_of_the_same_name_with_the_tasks_options() -> None:
    action = Acts(lambda self: self._module(), changed=True)
    variables = {"inventory_hostname": "cp1"}
    assert action.run(task_vars=variables) == {"began": True, "changed": True}
    # Ansible takes the task's own for both.
    assert action.asked == {"module_name": None, "module_args": None, "task_vars": variables}


def test_another_module_can_be_named() -> None:
    action = Acts(lambda self: self._module({"unit": "x.service"}, "component_processes"), changed=False)
    action.run()
    assert (action.asked["module_name"], action.asked["module_args"]) == ("component_processes", {"unit": "x.service"})


def test_a_command_has_its_input_and_gives_its_output() -> None:
    action = Acts(lambda self: {"said": self._command("cat", b"hello")}, rc=0, stdout="hello", stderr="")
    assert action.run()["said"] == "hello"
    assert action.asked == {"command": "cat", "in_data": b"hello"}


@pytest.mark.parametrize(("code", "data"), [(1, b"x"), (1, None), (0, None)])
def test_a_command_that_fails_is_told_with_its_complaint(code: int, data: bytes | None) -> None:
    action = Acts(
        lambda self: {"said": self._command("dd | base64", data)}, rc=code, stdout="", stderr="no such file\n"
    )
    with pytest.raises(AnsibleActionFail, match=r"`dd \| base64` failed on the host: no such file$"):
        action.run()


def test_host_and_state_directory_are_those_of_the_task() -> None:
    variables = {"inventory_hostname": "cp1", "cluster_state_directory": "/srv/state"}
    action = Acts(lambda self: {"host": self._host, "state": self._state_directory})
    action._templar = Templar(loader=DataLoader(), variables=variables)
    assert action.run(task_vars=variables) == {"began": True, "host": "cp1", "state": Path("/srv/state")}
