"""The records of runs on a host: one run at a time, whichever controller it is of."""

from __future__ import annotations

import importlib
import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible.module_utils import host_runs

from kubeproof.core import active_run


def run(identity: str, *over: str) -> dict[str, Any]:
    record = {"id": identity, "command": "ansible-playbook x.yml", "user": "me", "machine": {"name": "ctl1"}}
    return {"record": record, "over": list(over)}


def age(state: Path, identity: str, seconds: float) -> None:
    os.utime(host_runs.path(identity, str(state)), (time.time() - seconds,) * 2)


def known(state: Path) -> list[str]:
    return [entry["id"] for entry in host_runs.found(str(state))]


def test_a_host_is_claimed_once_and_each_module_is_a_sign_of_life(tmp_path: Path) -> None:
    assert host_runs.found(str(tmp_path)) == []
    host_runs.claim(run("one"), str(tmp_path))
    age(tmp_path, "one", 600)
    (entry,) = host_runs.found(str(tmp_path))
    assert (entry["id"], entry["record"], round(entry["age"] / 10)) == ("one", run("one")["record"], 60)
    host_runs.claim(run("one"), str(tmp_path))
    assert host_runs.found(str(tmp_path))[0]["age"] < 60
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o700


def test_one_that_has_come_since_the_look_is_refused(tmp_path: Path) -> None:
    host_runs.claim(run("one"), str(tmp_path))
    with pytest.raises(host_runs.OtherRun, match=r"at the same time: `ansible-playbook x.yml` of me on ctl1\. This"):
        host_runs.claim(run("two"), str(tmp_path))
    assert known(tmp_path) == ["one"]


def test_those_that_the_controller_has_judged_make_room(tmp_path: Path) -> None:
    host_runs.claim(run("one"), str(tmp_path))
    host_runs.claim(run("two", "one"), str(tmp_path))
    assert known(tmp_path) == ["two"]
    with pytest.raises(host_runs.OtherRun):
        host_runs.claim(run("one"), str(tmp_path))


def test_one_that_has_been_silent_for_long_makes_room(tmp_path: Path) -> None:
    host_runs.claim(run("one"), str(tmp_path))
    age(tmp_path, "one", host_runs.EXPIRES + 1)
    host_runs.claim(run("two"), str(tmp_path))
    assert known(tmp_path) == ["two"]
    assert host_runs.EXPIRES == active_run.EXPIRES


def test_a_run_that_was_not_claimed_leaves_nothing(tmp_path: Path) -> None:
    host_runs.claim(None, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_what_is_no_record_is_none(tmp_path: Path, content: str) -> None:
    host_runs.claim(run("one"), str(tmp_path))
    (tmp_path / "runs" / "two.json").write_text(content)
    (tmp_path / "runs" / ".kubeproof-abc").write_text(json.dumps(run("three")["record"]))
    assert known(tmp_path) == ["one"]


def test_a_record_that_says_nothing_is_refused_all_the_same(tmp_path: Path) -> None:
    host_runs.claim(run("one"), str(tmp_path))
    (tmp_path / "runs" / "one.json").write_text("{}")
    with pytest.raises(host_runs.OtherRun, match="`unknown` of an unknown user on an unknown controller"):
        host_runs.claim(run("two"), str(tmp_path))


class Ended(Exception):
    """What a module has ended with."""


@pytest.mark.parametrize("name", ["install_component", "distribute_components", "component_service"])
def test_modules_that_change_a_component_refuse_before_they_change_anything(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module:
        check_mode = False
        params: ClassVar[dict[str, Any]] = {
            "_run": run("two"),
            "_payload": "e30=",
            "_files": [],
            "_staging": "",
            "_manifest": None,
            "state": "running",
        }

        def __init__(self, **_: Any) -> None:
            pass

        def fail_json(self, msg: str, **_: Any) -> None:
            raise Ended(msg)

    def refuse(claimed: dict[str, Any]) -> None:
        raise host_runs.OtherRun(f"{claimed['record']['id']} is refused")

    module = importlib.import_module(name)
    monkeypatch.setattr(module, "AnsibleModule", Module)
    monkeypatch.setattr(module.host_runs, "claim", refuse)
    with pytest.raises(Ended, match="two is refused"):
        module.main()
