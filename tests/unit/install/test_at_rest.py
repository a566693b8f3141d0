"""When nothing is to be done on any host, and what is in the way of knowing that."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.preflight.builders import interface, report

from kubeproof.core import paths
from kubeproof.install import at_rest
from kubeproof.install.at_rest import AtRest

FOUND = {"code": "a", "report of cp1": "b"}
# Modules that ask hosts and have action plugins, which note that they did; and what asks nobody, or not for long.
NOTED = {
    "install_component", "component_service", "distribute_components", "etcd_leadership", "host_packages",
    "runtime_images",
}  # fmt: skip
QUIET = {
    "ansible.builtin.debug",
    "ansible.builtin.import_role",
    "ansible.builtin.import_tasks",
    "ansible.builtin.include_role",
    "ansible.builtin.include_tasks",
    "ansible.builtin.meta",
    "block",
}
# Not noted, and why a run at rest may do without.
ACCOUNTED = {
    # Only after a task that has changed something, which is noted.
    ("calico", "ansible.builtin.systemd_service"),
    ("pod_network", "ansible.builtin.systemd_service"),
    # Only where the report has a unit that is not wanted, and it goes.
    ("network_policy", "ansible.builtin.systemd_service"),
    ("network_policy", "network_policy_rules"),
    # The settings say so: at_rest.ASKED_EACH_TIME.
    ("kube-proxy", "kube_objects"),
    ("kube-proxy", "kube_wait"),
    ("kube-proxy", "kube_proxy_removal"),
    ("local_path", "volume_directories"),
    ("local_volumes", "volume_directories"),
    # For nodes' pod networks, which the reports have.
    ("flannel", "kube_wait"),
    ("pod_network", "kube_wait"),
}


def ended(directory: Path, run: str, found: dict[str, str] = FOUND, *, asked: bool = False) -> bool:
    """A whole run, of which some task had to ask its host or none."""
    rest = AtRest(directory, run)
    rest.begin(found)
    if asked:
        AtRest(directory, run).asks()
    return rest.keep()


def test_after_a_run_that_had_nothing_to_ask_nothing_is_to_be_done(tmp_path: Path) -> None:
    assert AtRest(tmp_path, "1").differences(FOUND) == ["no run was recorded that had nothing to do"]
    assert ended(tmp_path, "1")
    assert AtRest(tmp_path, "2").differences(FOUND) == []


def test_a_run_that_asked_is_not_recorded_and_the_next_one_may_be(tmp_path: Path) -> None:
    assert not ended(tmp_path, "1", asked=True)
    assert AtRest(tmp_path, "2").differences(FOUND)
    assert ended(tmp_path, "2")
    assert not AtRest(tmp_path, "3").differences(FOUND)


def test_whatever_is_not_as_it_was_is_named(tmp_path: Path) -> None:
    ended(tmp_path, "1")
    other = {"code": "a", "report of cp1": "other", "report of w1": "new"}
    assert AtRest(tmp_path, "2").differences(other) == ["report of cp1", "report of w1"]
    assert AtRest(tmp_path, "2").differences({"code": "a"}) == ["report of cp1"]


def test_a_run_that_has_asked_stays_so_whoever_else_does(tmp_path: Path) -> None:
    AtRest(tmp_path, "1").begin(FOUND)
    AtRest(tmp_path, "1").asks()
    AtRest(tmp_path, "another").asks()
    assert not AtRest(tmp_path, "1").keep()


def test_the_end_of_a_run_records_what_that_run_began_from(tmp_path: Path) -> None:
    AtRest(tmp_path, "killed").begin(FOUND)
    assert not AtRest(tmp_path, "of another playbook").keep()
    assert AtRest(tmp_path, "3").differences(FOUND)


def test_settings_alone_are_told_from_all_else() -> None:
    hosts: dict[str, dict[str, Any]] = {"cp1": {"a": 1, "b": [1]}, "w1": {"a": 1}}
    found = at_rest.of_settings(hosts)
    assert list(found) == ["setting a", "setting b"]
    for host, name in (("w1", "a"), ("w1", "b"), ("cp1", "b")):
        other = at_rest.of_settings({**hosts, host: {**hosts[host], name: None}})
        changed = [key for key in found if found[key] != other[key]]
        assert at_rest.only_settings(changed) == [name]
    assert at_rest.only_settings([]) == []
    assert at_rest.only_settings(["setting a", "report of cp1"]) is None


def test_a_run_that_left_plays_out_lasts_as_long_as_the_one_that_asked(tmp_path: Path) -> None:
    ended(tmp_path, "1")
    path = tmp_path / "at-rest.json"
    at = (datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(hours=23)).isoformat()
    path.write_text(json.dumps({**json.loads(path.read_text()), "at": at}))
    rest = AtRest(tmp_path, "2")
    rest.begin({**FOUND, "setting a": "c"}, whole=False)
    assert rest.keep()
    assert json.loads(path.read_text()) == {"at": at, "found": {**FOUND, "setting a": "c"}}
    assert not AtRest(tmp_path, "3").differences({**FOUND, "setting a": "c"})


@pytest.mark.parametrize("hours", [-1, 24, 25])
def test_a_record_is_good_for_a_day(tmp_path: Path, hours: int) -> None:
    ended(tmp_path, "1")
    path = tmp_path / "at-rest.json"
    document = json.loads(path.read_text())
    at = datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(hours=hours)
    path.write_text(json.dumps({**document, "at": at.isoformat()}))
    assert "the last run that asked hosts was at" in AtRest(tmp_path, "2").differences(FOUND)[0]


@pytest.mark.parametrize(
    "text", ['{"at": ', "[]", "{}", '{"at": "now", "found": {}}', '{"at": "2026-11-30", "found": 1}']
)
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "at-rest.json").write_text(text)
    assert AtRest(tmp_path, "2").differences(FOUND)


def trusted(**changes: Any) -> dict[str, Any]:
    node = {"there": True, "networks": ["10.244.0.0/24"], "given": ["10.244.0.0/24"]}
    settled = {"tasks": {"abc": {}}, "units": {"etcd.service": "def"}}
    return {**report(1, **{"node": node, **changes}), "settled": changes.get("settled", settled)}


def running(pid: int = 1, version: str = "1.37.2", age: float = 1.0) -> dict[str, Any]:
    program = {"program": "kubelet", "pid": pid, "version": version, "emulates": "", "age": age, "form": "service"}
    return {"installed": {**report(1)["installed"], "running": [program]}}


def says(revision: int = 1, alarms: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    found = {"cluster": "1", "members": [], "alarms": list(alarms), "size": revision, "in_use": 1}
    return {"etcd": {**report(1)["etcd"], "says": {**found, "revision": revision, "applied": revision}}}


def linked(*addresses: str) -> dict[str, Any]:
    return {"interfaces": {**report(1)["interfaces"], "other0": interface(*addresses)}}


def uplink(mtu: int) -> dict[str, Any]:
    route = {"interface": "uplink", "gateway": "10.0.0.254"}
    links = {**report(1)["interfaces"], "uplink": interface(mtu=mtu)}
    return {"interfaces": links, "default_route": route}


def process(unit: str) -> dict[str, Any]:
    return {"processes": [*report(1)["processes"], {"pid": 7, "name": "other", "unit": unit}]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"memory": {"total": 1, "available": 1}}, {"memory": {"total": 1, "available": 2}}),
        ({"work_seconds": 0.1}, {"work_seconds": 0.2}),
        ({"clock": {"start": 1.0, "end": 2.0}}, {"clock": {"start": 3.0, "end": 4.0}}),
        (running(1), running(2, age=5.0)),
        (says(1), says(2)),
        ({}, linked("fe80::1/64")),
        ({}, process("session-1.scope")),
        ({"settled": {"tasks": {"a": 1}, "units": {}}}, {"settled": {"tasks": {"a": 2}, "units": {}}}),
    ],
)
def test_what_changes_by_itself_does_not_count(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert at_rest.of_report(trusted(**before)) == at_rest.of_report(trusted(**after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"memory": {"total": 1, "available": 1}}, {"memory": {"total": 2, "available": 1}}),
        ({"cpus": 1}, {"cpus": 2}),
        (running(version="1.37.1"), running(version="1.37.2")),
        (says(), says(alarms=({"member": "1", "alarm": "NOSPACE"},))),
        ({}, linked("10.9.9.9/24")),
        ({}, linked("169.254.1.1/16")),
        # The default route's, without an address: pods get its MTU.
        (uplink(1500), uplink(9000)),
        ({}, process("systemd-networkd.service")),
        ({}, {"node": {"there": False, "networks": [], "given": ["10.244.0.0/24"]}}),
        ({"settled": {"tasks": {"a": 1}, "units": {}}}, {"settled": {"tasks": {}, "units": {}}}),
        ({"settled": {"tasks": {}, "units": {"a": "1"}}}, {"settled": {"tasks": {}, "units": {"a": "2"}}}),
    ],
)
def test_what_tasks_may_depend_on_does(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert at_rest.of_report(trusted(**before)) != at_rest.of_report(trusted(**after))


def test_a_field_of_which_nothing_is_known_does() -> None:
    assert at_rest.of_report(trusted()) != at_rest.of_report({**trusted(), "later": 1})


def test_a_report_without_the_api_answer_is_not_enough_of_a_node() -> None:
    assert at_rest.reportable(trusted(), node=True)
    assert not at_rest.reportable(trusted(node=None), node=True)
    assert at_rest.reportable(trusted(node=None), node=False)
    assert not at_rest.reportable({**report(1)}, node=False)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, []),
        ({"kube_proxy_form": "service", "local_path_enabled": False, "local_volumes_directories": []}, []),
        ({"kube_proxy_form": "daemonset"}, ["kube_proxy_form"]),
        ({"cluster_control_plane_form": "static-pods"}, ["cluster_control_plane_form"]),
        ({"local_volumes_directories": ["/srv"]}, ["local_volumes_directories"]),
        ({"cluster_template_overrides": "/srv/templates"}, ["cluster_template_overrides"]),
    ],
)
def test_settings_with_which_tasks_ask_each_time_are_named(values: dict[str, Any], named: list[str]) -> None:
    assert at_rest.asks_each_time(values) == named


def test_files_count_by_name_and_content(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_text("1")
    (tmp_path / "below" / "__pycache__").mkdir()

    def after(change: Callable[[], object]) -> bool:
        before = at_rest.of_files([tmp_path, tmp_path / "missing"])
        change()
        return at_rest.of_files([tmp_path, tmp_path / "missing"]) != before

    assert not after(lambda: (tmp_path / "below" / "__pycache__" / "file.pyc").write_text("2"))
    assert after(lambda: (tmp_path / "below" / "file").write_text("2"))
    assert after(lambda: (tmp_path / "below" / "file").rename(tmp_path / "below" / "renamed"))
    assert after(lambda: (tmp_path / "missing").write_text(""))


def tasks_left_out() -> set[tuple[str, str]]:
    """Roles, or plays, with the modules of their tasks, of plays that a run at rest leaves out."""
    found: set[tuple[str, str]] = set()
    for part in ("components", "cluster"):
        for play in yaml.safe_load((paths.PROJECT / "playbooks" / "parts" / f"{part}.yml").read_text()):
            tasks = play["tasks"]
            if "ansible.builtin.meta" in tasks[0]:
                for task in tasks[1:]:
                    called = task.get("ansible.builtin.import_role")
                    found |= (
                        _modules_of(called["name"], called.get("tasks_from", "main"))
                        if called
                        else {(play["name"], _module(task))}
                    )
    return found


def _modules_of(role: str, file: str) -> set[tuple[str, str]]:
    """Of a file of tasks and of those that it includes; all files of the role where a name is a template."""
    directory = paths.PROJECT / "roles" / role / "tasks"
    found: set[tuple[str, str]] = set()
    todo = [directory / f"{file.removesuffix('.yml')}.yml"]
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        flat = list(yaml.safe_load(path.read_text()) or [])
        while flat:
            task = flat.pop()
            flat += [*task.get("block", []), *task.get("rescue", []), *task.get("always", [])]
            module = _module(task)
            found.add((role, module))
            if module.endswith("_tasks"):
                given = task[module] if isinstance(task[module], str) else task[module]["file"]
                todo += sorted(directory.glob("*.yml")) if "{{" in given else [directory / given]
            if module.endswith("_role"):
                found |= _modules_of(task[module]["name"], task[module].get("tasks_from", "main"))
    return found


def _module(task: dict[str, Any]) -> str:
    return next(name for name in task if name in {*NOTED, *QUIET} or name.count(".") == 2 or _is_ours(name))


def _is_ours(name: str) -> bool:
    return (paths.PROJECT / "plugins" / "modules" / f"{name}.py").is_file()


def test_what_a_run_at_rest_leaves_out_would_have_been_noted() -> None:
    found = tasks_left_out()
    assert {"etcd", "kubelet", "pod_network", "host", "backup", "kube-proxy"} <= {role for role, _ in found}
    loud = {(role, module) for role, module in found if module not in NOTED | QUIET}
    assert loud == ACCOUNTED


def test_what_is_noted_has_action_plugins_that_note_it() -> None:
    for name in NOTED:
        source = (paths.PROJECT / "plugins" / "action" / f"{name}.py").read_text()
        assert "OF_HOSTS = False" not in source, name


def test_units_that_roles_look_for_among_processes_are_known() -> None:
    found = set()
    for path in (paths.PROJECT / "roles").glob("*/vars/main.yml"):
        values = yaml.safe_load(path.read_text()) or {}
        for value in values.values():
            if isinstance(value, dict) and path.read_text().count("processes | map(attribute='unit')"):
                found |= {name for name in value if name.endswith(".service")}
    assert found
    assert found <= at_rest.MANAGERS
