"""The action plugin of rolling restarts: what it asks its module for, and when."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from plugins.action.component_service import ActionModule

from kubeproof.core import active_run
from kubeproof.install.look import digest
from kubeproof.install.pending import UNKNOWN, Pending
from kubeproof.install.rolling import Turn, Turns, this_run

ROLLING = {
    "hosts": ["cp1", "cp2"],
    "at_once": 1,
    "gate": [{"url": "https://10.0.0.2/readyz"}],
    "recovers": {"url": "https://n"},
}


class Harness:
    """The plugin with a module that answers as the test says, and remembers what it was asked."""

    check_mode = False

    def __init__(self, variables: dict[str, Any], *answers: dict[str, Any] | Exception) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answers = list(answers)
        self._variables = {"inventory_hostname": "cp1", **variables}
        self.plugin = ActionModule.__new__(ActionModule)
        self.plugin._templar = Templar(loader=DataLoader(), variables=self._variables)
        self.plugin._execute_module = self._execute

    def _execute(self, **call: Any) -> dict[str, Any]:
        self.asked.append(call["module_args"])
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(self, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> dict[str, Any]:
        self.plugin._task = SimpleNamespace(args={"unit": "etcd.service", **arguments}, check_mode=self.check_mode)
        monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
        result: dict[str, Any] = self.plugin.run(task_vars=self._variables)
        return result


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    return {"cluster_rolling": True, "cluster_state_directory": str(tmp_path)}


def test_a_host_alone_is_restarted_at_once(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(variables, {"changed": True, "restart_needed": ""})
    harness.run(monkeypatch, rolling={"hosts": ["cp1"]})
    assert [asked["_restart"] for asked in harness.asked] == [True]


@pytest.mark.parametrize(("facts", "timeout"), [({}, 60), ({"work_seconds": 0.01}, 60), ({"work_seconds": 0.2}, 240)])
def test_a_slow_host_is_given_longer(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], timeout: int
) -> None:
    harness = Harness({**variables, "ansible_facts": {"kubeproof_host": facts}}, {"changed": True})
    harness.run(monkeypatch, timeout=60)
    assert [asked["timeout"] for asked in harness.asked] == [timeout]


def test_a_restart_waits_for_its_turn_and_its_gate(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    harness = Harness(variables, {"restart_needed": "changed"}, {"changed": True, "restart_needed": ""})
    result = harness.run(monkeypatch, rolling=ROLLING)
    first, second = harness.asked
    assert first["_restart"] is False
    assert second["_gate"] == ROLLING["gate"]
    assert ("_recovers" in first, second["_recovers"]) == (False, ROLLING["recovers"])
    assert result["changed"]
    assert (tmp_path / "rolling" / "etcd.service.0.lock").exists()


def test_the_host_is_told_which_run_this_is_and_which_are_over(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    facts = {"kubeproof_host": {"runs": [{"id": "killed"}]}}
    first = Harness({**variables, "ansible_facts": facts}, {"changed": True})
    first.run(monkeypatch)
    run = active_run.claim(tmp_path, "ansible-playbook", os.getppid())
    then = Harness({**variables, "ansible_facts": facts}, {"changed": True})
    then.run(monkeypatch)
    assert [asked["_run"] for asked in (*first.asked, *then.asked)] == [
        None,
        {"record": run.data(), "over": ["killed"]},
    ]


@pytest.mark.parametrize(("slowest", "limit"), [(0.01, 480), (0.2, 1020)])
def test_a_turn_is_waited_for_as_long_as_the_slowest_may_take(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, slowest: float, limit: float
) -> None:
    limits: list[float] = []

    def turn(_turns: Turns, _host: str, _at_once: int, limit: float) -> contextlib.nullcontext[Turn]:
        limits.append(limit)
        return contextlib.nullcontext(Turn())

    monkeypatch.setattr(Turns, "turn", turn)
    hostvars = {"cp2": {"ansible_facts": {"kubeproof_host": {"work_seconds": slowest}}}, "cp1": {}}
    answers = {"restart_needed": "changed"}, {"changed": True, "restart_needed": ""}
    Harness({**variables, "hostvars": hostvars}, *answers).run(monkeypatch, rolling=ROLLING, timeout=60)
    assert limits == [limit]


def test_what_needs_no_restart_is_asked_for_once(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(variables, {"changed": False, "restart_needed": ""})
    harness.run(monkeypatch, rolling=ROLLING)
    assert len(harness.asked) == 1


def test_without_turns_everybody_goes_at_once(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness({**variables, "cluster_rolling": False}, {"changed": True, "restart_needed": ""})
    harness.run(monkeypatch, rolling=ROLLING)
    assert [asked["_restart"] for asked in harness.asked] == [True]


def test_one_that_fails_stops_the_next(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"failed": True, "msg": "etcd.service has failed"}
    assert Harness(variables, {"restart_needed": "changed"}, failed).run(monkeypatch, rolling=ROLLING)["failed"]
    harness = Harness({**variables, "inventory_hostname": "cp2"}, {"restart_needed": "changed"})
    with pytest.raises(Exception, match="not restarted on cp2"):
        harness.run(monkeypatch, rolling=ROLLING)
    assert len(harness.asked) == 1


@pytest.mark.parametrize(
    "failed", [{"failed": True, "msg": "it does not start"}, AnsibleConnectionFailure("no route to host")]
)
def test_one_that_did_not_run_and_does_not_start_stops_the_next(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, failed: dict[str, Any] | Exception
) -> None:
    """It has no turn: nobody misses it."""
    with contextlib.suppress(AnsibleConnectionFailure):
        Harness(variables, failed).run(monkeypatch, rolling=ROLLING)
    harness = Harness({**variables, "inventory_hostname": "cp2"}, {"restart_needed": "changed"})
    with pytest.raises(Exception, match="not restarted on cp2"):
        harness.run(monkeypatch, rolling=ROLLING)


@pytest.mark.parametrize("well", [{"changed": False, "restart_needed": ""}, {"changed": True, "restart_needed": "x"}])
def test_one_that_failed_in_an_earlier_run_is_waited_for_until_it_is_well(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, well: dict[str, Any]
) -> None:
    Turns(tmp_path / "rolling", "etcd.service", "yesterday").halt("cp1", "")
    batch = {**variables, "ansible_play_batch": ["cp2", "cp1"], "ansible_forks": 1}
    second = {**batch, "inventory_hostname": "cp2"}
    with pytest.raises(Exception, match="--limit cp1"):
        Harness(second, {"restart_needed": "changed"}).run(monkeypatch, rolling=ROLLING)
    Harness(batch, well, {"changed": True}).run(monkeypatch, rolling=ROLLING)
    harness = Harness(second, {"restart_needed": "changed"}, {"changed": True})
    harness.run(monkeypatch, rolling=ROLLING)
    assert len(harness.asked) == 2


@pytest.mark.parametrize(
    "lost", [AnsibleConnectionFailure("no route to host"), OSError("disk full"), {"unreachable": True, "msg": "lost"}]
)
def test_one_that_is_lost_in_its_turn_stops_the_next(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, lost: dict[str, Any] | Exception
) -> None:
    with contextlib.suppress(AnsibleConnectionFailure, OSError):
        Harness(variables, {"restart_needed": "changed"}, lost).run(monkeypatch, rolling=ROLLING)
    harness = Harness({**variables, "inventory_hostname": "cp2"}, {"restart_needed": "changed"})
    with pytest.raises(Exception, match="not restarted on cp2"):
        harness.run(monkeypatch, rolling=ROLLING)
    assert len(harness.asked) == 1


class TestAlone:
    """A host that comes to its task alone is asked once: it has nobody to wait for."""

    @pytest.fixture
    def alone(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {**variables, "ansible_play_batch": ["cp1"], "ansible_forks": 2}

    def restarts(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **arguments: Any
    ) -> list[bool | None]:
        """Whether the module might restart, each time it was asked."""
        answer = {"changed": True, "restart_needed": "", "interrupts": True}
        harness = Harness(variables, answer)
        harness.run(monkeypatch, **{"rolling": ROLLING, **arguments})
        return [asked.get("_restart") for asked in harness.asked]

    def test_it_has_its_turn_and_its_gate(
        self, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        Turns(tmp_path / "rolling", "etcd.service", "yesterday").halt("cp1", "")
        harness = Harness(alone, {"changed": True, "restart_needed": "", "interrupts": True})
        assert harness.run(monkeypatch, rolling=ROLLING)["changed"]
        (asked,) = harness.asked
        assert "_restart" not in asked
        assert (asked["_gate"], asked["_recovers"]) == (ROLLING["gate"], ROLLING["recovers"])
        assert (tmp_path / "rolling" / "etcd.service.passed").exists()
        assert not (tmp_path / "rolling" / "etcd.service.cp1.failed").exists(), "it is well"

    def test_if_it_fails_nobody_else_goes(
        self, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert Harness(alone, {"failed": True, "msg": "no"}).run(monkeypatch, rolling=ROLLING)["failed"]
        assert (tmp_path / "rolling" / "etcd.service.cp1.failed").exists()
        other = {**alone, "inventory_hostname": "cp2", "ansible_play_batch": ["cp2"]}
        harness = Harness(other, {"restart_needed": "changed"})
        with pytest.raises(Exception, match="not restarted on cp2"):
            harness.run(monkeypatch, rolling=ROLLING)
        assert [asked["_restart"] for asked in harness.asked] == [False], "one that needs nothing is not refused"

    def test_one_that_needs_nothing_is_no_example_for_the_others(
        self, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        harness = Harness(alone, {"changed": False, "restart_needed": "", "interrupts": False})
        harness.run(monkeypatch, rolling=ROLLING)
        assert len(harness.asked) == 1
        assert not (tmp_path / "rolling" / "etcd.service.passed").exists()

    def test_one_that_needs_nothing_waits_for_no_process_of_an_earlier_run(
        self, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with Turns(tmp_path / "rolling", "etcd.service", "killed").turn("cp2", 1, 1):
            assert self.restarts(alone, monkeypatch) == [False]

    def test_a_leader_and_what_is_removed_are_asked_without_a_turn(
        self, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        led = {**ROLLING, "waits": {"url": "https://leads"}}
        assert self.restarts(alone, monkeypatch, rolling=led) == [False]
        assert self.restarts(alone, monkeypatch, state="absent") == [False]
        assert not list((tmp_path / "rolling").glob("*.lock"))

    @pytest.mark.parametrize("batch", [["cp1", "cp2"], []])
    def test_with_others_it_is_asked_first(
        self, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch, batch: list[str]
    ) -> None:
        assert self.restarts({**alone, "ansible_play_batch": batch}, monkeypatch) == [False]


class TestReported:
    """A host that has reported that a unit needs nothing is not asked again."""

    WANTED = digest({"inputs": ["/etc/x"], "reload_inputs": None, "health": None, "registers": None})

    def harness(self, variables: dict[str, Any], *answers: dict[str, Any], wanted: str = WANTED) -> Harness:
        report = {"settled": {"tasks": {}, "units": {"etcd.service": wanted}}}
        return Harness({**variables, "ansible_facts": {"kubeproof_host": report}}, *answers)

    def test_what_needs_nothing_is_not_asked(self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        harness = self.harness(variables)
        result = harness.run(monkeypatch, inputs=["/etc/x"], rolling=ROLLING, timeout=60)
        assert harness.asked == []
        assert (result["changed"], result["restart_needed"]) == (False, "")

    def test_what_needs_nothing_is_not_waited_for(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        Turns(tmp_path / "rolling", "etcd.service", "yesterday").halt("cp1", "")
        before = sorted(path.name for path in (tmp_path / "rolling").iterdir())
        planned = self.harness(variables)
        planned.check_mode = True
        planned.run(monkeypatch, inputs=["/etc/x"], rolling=ROLLING, timeout=60)
        assert sorted(path.name for path in (tmp_path / "rolling").iterdir()) == before, "a plan changes nothing"
        self.harness(variables).run(monkeypatch, inputs=["/etc/x"], rolling=ROLLING, timeout=60)
        with Turns(tmp_path / "rolling", "etcd.service", "today", ["cp1", "cp2"], 2).turn("cp2", 1, 0.2):
            pass

    def test_what_asks_for_something_else_is_asked(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        harness = self.harness(variables, {"changed": False})
        harness.run(monkeypatch, inputs=["/etc/y"])
        assert len(harness.asked) == 1

    def test_removal_and_static_pods_are_asked(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        harness = self.harness(variables, {"changed": False})
        harness.run(monkeypatch, inputs=["/etc/x"], state="absent")
        assert len(harness.asked) == 1

    def test_after_a_change_everything_is_asked(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.harness(variables, {"changed": True}, wanted="other").run(monkeypatch, inputs=["/etc/x"])
        harness = self.harness(variables, {"changed": False})
        harness.run(monkeypatch, inputs=["/etc/x"])
        assert len(harness.asked) == 1

    def test_check_mode_changes_nothing_that_was_reported(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.harness(variables, {"changed": True, "done": ["enabled"]}, wanted="other")
        first.check_mode = True
        first.run(monkeypatch, inputs=["/etc/x"])
        harness = self.harness(variables)
        harness.run(monkeypatch, inputs=["/etc/x"])
        assert harness.asked == []

    def test_check_mode_asks_once_files_would_have_changed(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        harness = self.harness(variables, {"changed": False})
        harness.check_mode = True
        directory = Path(variables["cluster_state_directory"]) / "rolling" / "pending"
        Pending(directory, "cp1", this_run()).add([{"path": "/etc/x", "what": "content"}])
        harness.run(monkeypatch, inputs=["/etc/x"])
        assert [asked["_pending"] for asked in harness.asked] == [{"/etc/x": UNKNOWN}]


class TestAnnounced:
    """Two plays install the kubelet of a control-plane host with static pods: the run restarts it in the first."""

    RESTARTED: ClassVar[dict[str, Any]] = {"changed": True, "done": ["restarted: x"], "restart_needed": ""}

    def plan(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any]
    ) -> tuple[Harness, dict[str, Any]]:
        harness = Harness(variables, *answers)
        harness.check_mode = True
        return harness, harness.run(monkeypatch, inputs=["/etc/x"], rolling=ROLLING)

    def note(self, variables: dict[str, Any], path: str) -> None:
        directory = Path(variables["cluster_state_directory"]) / "rolling" / "pending"
        Pending(directory, "cp1", this_run()).add([{"path": path, "what": "content"}], {path: path.encode()})

    def test_a_restart_is_announced_once(self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.note(variables, "/etc/x/config")
        assert self.plan(variables, monkeypatch, self.RESTARTED)[1]["changed"]
        self.note(variables, "/etc/y/of-another-component")
        harness, second = self.plan(variables, monkeypatch)
        assert (second["changed"], second["done"], harness.asked) == (False, [], [])

    @pytest.mark.parametrize("path", ["/etc/x/more", "/etc/systemd/system/etcd.service"])
    def test_and_again_if_more_of_its_inputs_would_have_changed(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        self.note(variables, "/etc/x/config")
        self.plan(variables, monkeypatch, self.RESTARTED)
        self.note(variables, path)
        assert self.plan(variables, monkeypatch, self.RESTARTED)[1]["changed"]

    def test_what_nothing_was_announced_of_is_asked_again(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.plan(variables, monkeypatch, {"changed": False, "restart_needed": ""})
        assert self.plan(variables, monkeypatch, self.RESTARTED)[1]["changed"]

    def test_a_leader_is_announced_by_the_task_that_restarts_it(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        led = {"changed": False, "done": [], "restart_needed": "changed", "waits": True}
        harness, first = self.plan(variables, monkeypatch, led)
        assert (first["waits"], first["changed"], len(harness.asked)) == (True, False, 1)
        # No lock of a rolling restart: a plan has no host wait for another.
        assert not list((tmp_path / "rolling").glob("*.lock"))
        assert self.plan(variables, monkeypatch, self.RESTARTED)[1]["changed"]

    def test_a_run_notes_nothing(self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        Harness(variables, self.RESTARTED).run(monkeypatch, inputs=["/etc/x"])
        assert self.plan(variables, monkeypatch, self.RESTARTED)[1]["changed"]


class TestStep:
    """What a plan says of a unit."""

    HEALTH: ClassVar[dict[str, Any]] = {"url": "https://127.0.0.1:2379/health", "expect": "true"}

    def step(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, done: str, *, interrupts: bool, **facts: Any
    ) -> Any:
        answer = {"changed": bool(done), "done": [done] * bool(done), "restart_needed": "", "interrupts": interrupts}
        harness = Harness({**variables, "ansible_facts": {"kubeproof_host": facts}}, answer)
        harness.check_mode = True
        recovers = {"url": "https://127.0.0.1/api/v1/nodes/w1", "condition": "Ready"}
        rolling = {**ROLLING, "hosts": ["cp1", "cp2", "cp3", "cp4"], "at_once": "50%", "recovers": recovers}
        return harness.run(monkeypatch, health=self.HEALTH, rolling=rolling).get("step")

    def test_a_rolling_restart(self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        step = self.step(variables, monkeypatch, "restarted: it was not started by kubeproof", interrupts=True)
        assert step == {
            "reason": {"kind": "foreign", "text": "it was not started by kubeproof"},
            "restarts": ["etcd.service"],
            "gate": {
                "before": ["on 1 other: /readyz answers"],
                "after": [":2379/health says true", "node Ready again, if it was before"],
            },
            "at_once": 2,
        }

    def test_a_restart_of_all_at_once(self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        variables["cluster_rolling"] = False
        step = self.step(variables, monkeypatch, "restarted: it was not started by kubeproof", interrupts=True)
        assert (step["restarts"], step["at_once"]) == (["etcd.service"], 0)
        assert step["gate"] == {"before": [], "after": [":2379/health says true"]}

    def test_a_start_waits_for_no_other_host(self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        step = self.step(variables, monkeypatch, "started: it was inactive", interrupts=False)
        assert (step["restarts"], step["at_once"], step["gate"]["before"]) == ([], 0, [])
        assert step["reason"] == {"kind": "down", "text": "it was inactive"}

    def test_a_new_host(self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        new = {"installed": {"manifest": False}}
        step = self.step(variables, monkeypatch, "started: it was inactive", interrupts=False, **new)
        assert step["reason"]["kind"] == "new-host"

    def test_what_is_not_to_be_done_has_none(self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.step(variables, monkeypatch, "", interrupts=False) is None

    def test_a_run_has_none(self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        assert "step" not in Harness(variables, {"changed": True, "done": ["enabled"]}).run(monkeypatch)
