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


@pytest.mark.parametrize(
    ("plugin", "roles"),
    [
        ("bridge", ["kubelet", "kube-proxy", "network_policy", "pod_network"]),
        ("flannel", ["kubelet", "kube-proxy", "network_policy", "flannel", "pod_network"]),
        ("calico", ["kubelet", "kube-proxy", "network_policy", "calico"]),
        ("cilium", ["kubelet", "kube-proxy", "network_policy", "cilium"]),
        ("none", ["kubelet", "kube-proxy", "network_policy"]),
    ],
)
def test_each_network_has_its_roles_in_their_order(plugin: str, roles: list[str], tmp_path: Path) -> None:
    plays = yaml.safe_load((paths.PROJECT / "playbooks" / "parts" / "cluster.yml").read_text())
    [play] = [each for each in plays if "and the pod network" in each["name"]]
    roles_of = [each for each in play["tasks"] if "ansible.builtin.import_role" in each]
    run = [each for each in roles_of if holds(each.get("when"), tmp_path, pod_network_plugin=plugin)]
    assert [each["ansible.builtin.import_role"]["name"] for each in run] == roles


@pytest.mark.parametrize("form", ["service", "daemonset", "none"])
def test_kube_proxy_is_installed_or_removed(form: str, tmp_path: Path) -> None:
    plays = yaml.safe_load((paths.PROJECT / "playbooks" / "parts" / "cluster.yml").read_text())
    run = [
        task["ansible.builtin.import_role"].get("tasks_from", "main")
        for play in plays
        for task in play["tasks"]
        if task.get("ansible.builtin.import_role", {}).get("name") == "kube-proxy"
        and holds(task.get("when"), tmp_path, kube_proxy_form=form)
    ]
    assert run == (["replaced"] if form == "none" else ["main"])


@pytest.mark.parametrize(
    ("plugin", "looked", "names"),
    [
        ("bridge", {"skipped": True}, ["Wait until every node"]),
        ("flannel", {"skipped": True}, ["Wait until every node"]),
        ("calico", {"skipped": True}, ["Wait until every node"]),
        ("cilium", {"skipped": True}, ["Wait until every node"]),
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
    run = [each["name"] for each in tasks if each.get("when") and holds(each["when"], tmp_path, **given)]
    assert [name.startswith(start) for name, start in zip(run, names, strict=True)] == [True] * len(names)
