"""The plan of an upgrade in a real play, on made reports and answers. No host is touched."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from plugins.action.upgrade_plan import _backing_up
from tests.unit.ansible_program import ansible
from tests.unit.upgrade.test_survey import answered, control_plane, pod, worker

from kubeproof.components.lock import Lock
from kubeproof.core import paths

RECORD = Path(".kubeproof") / "upgrade.json"
LOCAL_DATA = pod("web", volumes=[{"name": "cache", "emptyDir": {}}])


def plan(directory: Path, *options: str, ended: bool = False, **objects: Any) -> subprocess.CompletedProcess[str]:
    """The role's task on two hosts that have reported, or the one that ends an upgrade."""
    hosts = {
        "host1": {"report": control_plane().report, "__upgrade_look": answered(objects=objects)},
        "host2": {"report": worker().report, "__upgrade_look": {}},
    }
    children = {
        "etcd": {"hosts": {"host1": hosts["host1"]}},
        "control_plane": {"hosts": {"host1": None}},
        "workers": {"hosts": {"host2": hosts["host2"]}},
    }
    role = paths.PROJECT / "roles" / "upgrade"
    variables = {
        "ansible_connection": "local",
        "cluster_name": "prod",
        "cluster_nodes_at_once": 1,
        "cluster_state_directory": str(directory / ".kubeproof"),
        "component_versions": {"kubernetes": "1.37.2", "etcd": "3.7.3"},
        **yaml.safe_load((role / "defaults" / "main.yml").read_text()),
    }
    inventory = {"all": {"vars": variables, "children": children}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(json.loads(json.dumps(inventory))))
    tasks = yaml.safe_load((role / "tasks" / ("end.yml" if ended else "main.yml")).read_text())
    report = {"ansible.builtin.set_fact": {"kubeproof_host": "{{ report }}", "cacheable": True}}
    show = {"ansible.builtin.debug": {"msg": "{{ ansible_facts['kubeproof_upgrade'].acts | map(attribute='kind') }}"}}
    chosen = [task for task in tasks if "upgrade_plan" in task]
    play = {"hosts": "all", "gather_facts": False, "tasks": chosen if ended else [report, *chosen, show]}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    return ansible("playbook", "--inventory", str(directory / "hosts.yml"), str(directory / "play.yml"), *options)


def document(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / ".kubeproof" / "reports" / "upgrade-plan.json").read_text())
    return found


def test_a_plan_is_shown_and_carried_out(tmp_path: Path) -> None:
    done = plan(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "prod: Kubernetes 1.36.3 -> 1.37.2" in done.stdout
    assert "api-servers" in done.stdout
    assert [act["kind"] for act in document(tmp_path)["acts"]][:4] == [
        "stage",
        "backup",
        "rehearsal",
        "api-servers",
    ]
    assert json.loads((tmp_path / RECORD).read_text())["versions"]["kubernetes"] == "1.37.2"
    lock = Lock((tmp_path / RECORD).parent)
    lock.record_component("amd64", "kubernetes", {"version": "1.36.3"})
    lock.settle()
    lock.record_component("amd64", "kubernetes", {"version": "1.37.2"})
    lock.save()
    assert plan(tmp_path, ended=True).returncode == 0
    assert not (tmp_path / RECORD).exists()
    lock = Lock((tmp_path / RECORD).parent)
    assert [lock.versions(each)["kubernetes"] for each in ("current", "previous")] == ["1.37.2", "1.36.3"]


def test_a_second_way_back_is_to_the_same(tmp_path: Path) -> None:
    state = (tmp_path / RECORD).parent
    lock = Lock(state)
    for version in ("1.36.3", "1.37.2", "1.36.3"):
        lock.record_component("amd64", "kubernetes", {"version": version, "binaries": {}})
        lock.settle()
    lock.save()
    assert lock.versions("previous") == {"kubernetes": "1.37.2"}
    (tmp_path / RECORD).write_text(json.dumps({"versions": {"kubernetes": "1.36.3"}, "direction": "back", "began": 0}))
    assert plan(tmp_path, ended=True).returncode == 0
    lock = Lock(state)
    assert [lock.versions(each)["kubernetes"] for each in ("current", "previous")] == ["1.36.3", "1.36.3"]
    done = plan(tmp_path, "--extra-vars", "upgrade_direction=back", "--check")
    assert done.returncode == 0, done.stdout
    assert "api-servers" not in [act["kind"] for act in document(tmp_path)["acts"]]


def test_a_rehearsal_alone_begins_nothing(tmp_path: Path) -> None:
    done = plan(tmp_path, "--extra-vars", "upgrade_until=rehearsal")
    assert done.returncode == 0, done.stdout
    assert [act["kind"] for act in document(tmp_path)["acts"]] == ["stage", "backup", "rehearsal"]
    assert not (tmp_path / RECORD).exists()


def test_the_backup_that_is_noted_is_looked_for_on_the_host_that_makes_it() -> None:
    both, apart = control_plane(), dataclasses.replace(worker(), name="e1", groups=frozenset({"etcd"}))
    server = dataclasses.replace(control_plane(), name="cp1", groups=frozenset({"control_plane"}))
    gone = dataclasses.replace(apart, name="e0", report=None)
    assert _backing_up([apart, both]) == both.name
    assert _backing_up([server, gone, apart]) == "e1"
    assert _backing_up([server]) == ""


@pytest.mark.parametrize("value", ["false", "no"])
def test_a_rehearsal_can_be_left_out(tmp_path: Path, value: str) -> None:
    plan(tmp_path, "--extra-vars", f"upgrade_rehearsal={value}")
    assert "rehearsal" not in [act["kind"] for act in document(tmp_path)["acts"]]


@pytest.mark.parametrize(("only", "refused"), [("kubernetes", True), ("network", False)])
def test_without_backups_nothing_begins_that_needs_one(tmp_path: Path, only: str, refused: bool) -> None:
    done = plan(tmp_path, "--extra-vars", json.dumps({"backup_enabled": "false", "upgrade_only": [only]}))
    assert ("backup_enabled is false" in done.stdout) is refused
    assert (done.returncode != 0) is refused
    assert not (tmp_path / RECORD).exists()


def test_what_the_inventory_ignores_is_not_in_the_way(tmp_path: Path) -> None:
    ignored = json.dumps({"preflight_ignore": ["local-data:default/web"]})
    done = plan(tmp_path, "--extra-vars", ignored, "--check", pods=[LOCAL_DATA])
    assert done.returncode == 0, done.stdout


def test_check_mode_begins_nothing(tmp_path: Path) -> None:
    done = plan(tmp_path, "--check")
    assert done.returncode == 0, done.stdout
    assert "prod: Kubernetes 1.36.3 -> 1.37.2" in done.stdout
    assert '"msg": []' in done.stdout
    assert not (tmp_path / RECORD).exists()
    assert document(tmp_path)["exit_code"] == 2


# On a command line all values are text.
@pytest.mark.parametrize(("value", "refused"), [("true", False), ("false", True), ("no", True)])
def test_local_data_is_evicted_if_that_is_allowed(tmp_path: Path, value: str, refused: bool) -> None:
    done = plan(tmp_path, "--extra-vars", f"upgrade_delete_local_data={value}", pods=[LOCAL_DATA])
    assert ("loses what it has in emptyDir volumes" in done.stdout) is refused
    assert (done.returncode != 0) is refused
    assert (tmp_path / RECORD).exists() is not refused
