"""A run that leaves out a node that is dead waits for nothing that would have to come from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from tests.unit.preflight.builders import report
from tests.unit.roles.test_texts import variables

from kubeproof.settings import specs

GROUPS = {"control_plane": ["cp1"], "etcd": ["cp1"], "workers": ["w1", "w2"]}
AWAY = {"kubeproof_host": {"unreachable": True, "problem": "No route to host"}}


def templar(directory: Path, w2: dict[str, Any]) -> Templar:
    """What a role sees on cp1. ``w2``: the facts of that host, which are none if --limit leaves it out."""
    facts: dict[str, dict[str, Any]] = {name: {"kubeproof_host": report()} for name in ("cp1", "w1")}
    hostvars = {name: {"ansible_facts": found} for name, found in {**facts, "w2": w2}.items()}
    return Templar(
        loader=DataLoader(),
        variables={**variables(directory, texts=False), "groups": GROUPS, "hostvars": hostvars},
    )


@pytest.mark.parametrize("w2", [{}, AWAY], ids=["left-out", "unreachable"])
def test_nodes_and_dns_are_waited_for_without_it(tmp_path: Path, w2: dict[str, Any]) -> None:
    rendered = templar(tmp_path, w2)
    known = variables(tmp_path, texts=False)
    assert [each["path"] for each in rendered.template(known["__nodes_ready"])] == [
        "/api/v1/nodes/cp1",
        "/api/v1/nodes/w1",
    ]
    asked = rendered.template(known["__nodes_dns"])
    assert [(each["field"], each.get("nodes_lost", [])) for each in asked] == [
        ("status.updatedReplicas", []),
        ("status.readyReplicas", ["w2"]),
        ("status.replicas", []),
    ]


@pytest.mark.parametrize(("w2", "lost"), [({}, ["w2"]), (AWAY, ["w2"]), ({"kubeproof_host": report()}, [])])
def test_addons_are_given_their_names(tmp_path: Path, w2: dict[str, Any], lost: list[str]) -> None:
    tasks = yaml.safe_load((specs.ROLES / "addons" / "tasks" / "main.yml").read_text())
    [given] = [task["kube_addons"]["nodes_lost"] for task in tasks if "kube_addons" in task]
    assert templar(tmp_path, w2).template(trust_as_template(given)) == lost


@pytest.mark.parametrize(("w2", "lost"), [({}, ["w2"]), (AWAY, ["w2"]), ({"kubeproof_host": report()}, [])])
def test_its_node_may_be_gone_when_taints_are_set(tmp_path: Path, w2: dict[str, Any], lost: list[str]) -> None:
    tasks = yaml.safe_load((specs.ROLES / "nodes" / "tasks" / "main.yml").read_text())
    [given] = [task["node_taints"]["unseen"] for task in tasks if "node_taints" in task]
    assert templar(tmp_path, w2).template(trust_as_template(given)) == lost


def test_every_worker_that_is_no_control_plane_node_is_asked_whether_it_was_one(tmp_path: Path) -> None:
    tasks = yaml.safe_load((specs.ROLES / "nodes" / "tasks" / "main.yml").read_text())
    [given] = [task["node_taints"] for task in tasks if "node_taints" in task]
    rendered = templar(tmp_path, {})
    rendered.available_variables["groups"] = {**GROUPS, "workers": ["cp1", "w1", "w2"]}
    named = {
        name: sorted(rendered.template(trust_as_template(given[name]))) for name in ("present", "absent", "former")
    }
    assert named == {"present": [], "absent": ["cp1"], "former": ["w1", "w2"]}
