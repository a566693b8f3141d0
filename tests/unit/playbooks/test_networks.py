"""Which roles and tasks a pod network takes: each plugin, and none of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from tests.unit.roles.test_texts import variables

from kubeproof.core import paths
from kubeproof.settings import specs


def holds(conditions: Any, directory: Path, **given: object) -> bool:
    """Whether a task or role with these conditions is run."""
    listed = conditions if isinstance(conditions, list) else [conditions] if conditions else []
    templar = Templar(loader=DataLoader(), variables={**variables(directory, texts=False), **given})
    # As for a task: what follows one that does not hold is not looked at.
    return all(templar.template(trust_as_template("{{ %s }}" % condition)) for condition in listed)  # noqa: UP031


def run(play: dict[str, Any], directory: Path, **given: object) -> list[str]:
    """The roles that a play does not leave out, with the file of their tasks if it is another than the usual one."""
    found = []
    for each in play["tasks"]:
        called = each.get("ansible.builtin.import_role", {"name": ""})
        name, file = called["name"], called.get("tasks_from", "main")
        if name and holds(each.get("when"), directory, **given) and not ends_first(name, file, directory, **given):
            found.append(name if file == "main" else f"{name}/{file}")
    return found


def ends_first(role: str, file: str, directory: Path, **given: object) -> bool:
    """Whether a role ends before the first of its tasks that do anything."""
    first = yaml.safe_load((specs.ROLES / role / "tasks" / f"{file}.yml").read_text())[0]
    return first.get("ansible.builtin.meta") == "end_role" and holds(first["when"], directory, **given)


def plays(name: str = "") -> list[dict[str, Any]]:
    found = yaml.safe_load((paths.PROJECT / "playbooks" / "parts" / "cluster.yml").read_text())
    return [each for each in found if name in each["name"]]


@pytest.mark.parametrize(
    ("plugin", "roles"),
    [
        ("bridge", ["kubelet", "kube-proxy", "network_policy", "pod_network"]),
        ("flannel", ["kubelet", "kube-proxy", "network_policy", "flannel", "pod_network"]),
        # These enforce policies themselves.
        ("calico", ["kubelet", "kube-proxy", "calico"]),
        ("cilium", ["kubelet", "kube-proxy", "cilium"]),
        ("none", ["kubelet", "kube-proxy", "network_policy"]),
    ],
)
def test_each_network_has_its_roles_in_their_order(plugin: str, roles: list[str], tmp_path: Path) -> None:
    names = [each["name"] for each in plays()]
    of_nodes = plays()[names.index("Install kubelets") : names.index("Install the pod network") + 1]
    assert [role for play in of_nodes for role in run(play, tmp_path, pod_network_plugin=plugin)] == roles
    [access] = plays("role bindings of the pod network")
    assert run(access, tmp_path, pod_network_plugin=plugin) == ["flannel/access"] * ("flannel" in roles)


@pytest.mark.parametrize("runtime", ["containerd", "crio", "docker"])
def test_each_runtime_has_its_role(runtime: str, tmp_path: Path) -> None:
    [play] = plays("container runtimes")
    runtimes = {"containerd", "crio", "docker"}
    assert [each for each in run(play, tmp_path, container_runtime=runtime) if each in runtimes] == [runtime]


@pytest.mark.parametrize(
    ("tags", "skipped", "imported"),
    [(["all"], [], False), (["kubelet"], [], True), (["kubelet"], ["images"], False), (["dns"], ["kubelet"], True)],
)
def test_images_of_chosen_components_are_imported_where_no_other_play_does(
    tags: list[str], skipped: list[str], imported: bool, tmp_path: Path
) -> None:
    [play] = plays("Import the images that chosen components need")
    [at_rest, otherwise, _] = play["tasks"]
    assert "at_rest" in str(at_rest["when"])
    ends = holds(otherwise["when"], tmp_path, ansible_run_tags=tags, ansible_skip_tags=skipped)
    assert (otherwise["ansible.builtin.meta"], ends) == ("end_play", not imported)


@pytest.mark.parametrize(
    ("form", "running", "tasks"),
    [
        ("service", True, ["kube-proxy"]),
        ("daemonset", True, ["kube-proxy"]),
        ("none", True, ["kube-proxy/replaced"]),
        ("none", False, []),
    ],
)
def test_kube_proxy_is_installed_or_removed(form: str, running: bool, tasks: list[str], tmp_path: Path) -> None:
    facts = {"kubeproof_host": {"installed": {"active": ["kube-proxy.service"] * running}}}
    kept = [each for each in plays() if "kube-proxy" in each["name"]]
    found = [each for play in kept for each in run(play, tmp_path, kube_proxy_form=form, ansible_facts=facts)]
    assert [each for each in found if each.startswith("kube-proxy")] == tasks


@pytest.mark.parametrize(
    ("role", "setting", "wanted", "unwanted", "unit"),
    [
        ("network_policy", "network_policy_engine", "kube-router", "none", "kube-network-policy.service"),
        ("keepalived", "cluster_virtual_address", "192.0.2.9", "", "kube-virtual-address.service"),
    ],
)
def test_what_is_switched_off_is_left_out_once_it_is_gone(
    role: str, setting: str, wanted: str, unwanted: str, unit: str, tmp_path: Path
) -> None:
    def left_out(value: str, active: list[str]) -> bool:
        facts = {"kubeproof_host": {"installed": {"active": active}}}
        return ends_first(role, "main", tmp_path, ansible_facts=facts, **{setting: value})

    assert [left_out(wanted, []), left_out(unwanted, [unit]), left_out(unwanted, [])] == [False, False, True]


@pytest.mark.parametrize(
    ("role", "file", "seldom", "most"),
    [
        ("host", "packages", {"__host_missing_packages": ["haproxy"]}, {"__host_missing_packages": []}),
        ("etcd", "leader", {"__etcd_waiting": ["cp1"]}, {"__etcd_waiting": []}),
        ("addons", "wait", {"__addons_applied": {"pending": [1]}}, {"__addons_applied": {"pending": []}}),
        ("addons", "wait", {"__addons_applied": {"pending": [1]}}, {}),
        (
            "addons",
            "wait",
            {"__addons_applied": {"pending": [1]}},
            {"__addons_applied": {"pending": [1]}, "addons_timeout": 0},
        ),
    ],
)
def test_what_most_runs_leave_out_takes_no_process(
    role: str, file: str, seldom: dict[str, Any], most: dict[str, Any], tmp_path: Path
) -> None:
    assert not ends_first(role, file, tmp_path, **seldom)
    assert ends_first(role, file, tmp_path, **most)


def test_no_role_as_a_whole_is_left_out_by_a_condition_at_each_of_its_tasks() -> None:
    """Each would take a process for each host, only to skip it."""
    tasks = [task for play in plays() for task in play["tasks"] if "ansible.builtin.import_role" in task]
    assert [task["name"] for task in tasks if "when" in task] == []


@pytest.mark.parametrize(
    ("plugin", "looked", "names"),
    [
        *(
            (plugin, {}, ["Wait until every node", "Leave it at that"])
            for plugin in ("bridge", "flannel", "calico", "cilium")
        ),
        ("none", {"msg": "not there after 0 s"}, ["Look whether there is", "Name what is missing"]),
        # Somebody has installed one.
        ("none", {"values": {}}, ["Look whether there is"]),
    ],
)
def test_nodes_are_waited_for_unless_others_bring_their_network(
    plugin: str, looked: dict[str, Any], names: list[str], tmp_path: Path
) -> None:
    given = {"pod_network_plugin": plugin, "__nodes_looked": looked}
    tasks = yaml.safe_load((specs.ROLES / "nodes" / "tasks" / "main.yml").read_text())
    found = [each for each in tasks if holds(each.get("when"), tmp_path, **given)][2:]
    ended = next((number + 1 for number, each in enumerate(found) if "ansible.builtin.meta" in each), None)
    assert [each["name"] for each in found[:ended] if not each["name"].startswith(tuple(names))] == []
    assert len(found[:ended]) == len(names)
