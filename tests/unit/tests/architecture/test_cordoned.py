"""A node that somebody has cordoned says nothing of how workloads are placed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.architecture import test_cluster, test_scheduler
from tests.unit.tests.architecture import made

from kubeproof.verify.act.pods import Manifests
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Node
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object

_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


class _Scheduler:
    """An API that binds a pod unless a taint keeps it from the node that it selects."""

    def __init__(self, *nodes: Node) -> None:
        self._nodes = {node.name: node for node in nodes}
        self.created: list[str] = []

    def create(self, manifest: Object) -> Object:
        self.created.append(objects.name(manifest))
        return manifest

    def observe_one(self, manifest: Object, until: Callable[[Object], Any], **_: Any) -> Object:
        wanted = self._nodes[manifest["spec"]["nodeSelector"]["kubernetes.io/hostname"]]
        condition = {"type": "PodScheduled", "status": "True"}
        if not wanted.schedulable:
            condition |= {"status": "False", "message": f"untolerated taint(s): {wanted.repelled_by}"}
        judged = {**manifest, "status": {"conditions": [condition]}}
        assert until(judged)
        return judged


def _judge(*nodes: Node) -> tuple[Evidence, _Scheduler]:
    evidence, api = Evidence(), _Scheduler(*nodes)
    manifests = Manifests("ours", "image", tuple(node.name for node in nodes))
    test_cluster.test_control_plane_hosts_take_no_workloads_unless_configured_to(
        made.cluster(nodes=nodes), cast(Api, api), manifests, evidence
    )
    return evidence, api


def _node(name: str, *groups: str, cordoned: bool = False, taints: tuple[str, ...] = ()) -> Node:
    return made.node(made.host(name, "10.0.0.1", *groups), cordoned=cordoned, taints=taints)


def test_a_host_that_is_both_may_be_cordoned() -> None:
    evidence, api = _judge(
        _node("both", "control_plane", "workers", cordoned=True),
        _node("cp", "control_plane", taints=(_CONTROL_PLANE,)),
    )
    assert evidence.headline == "1 of 1 control-plane nodes kept free, by a taint"
    assert api.created == ["workload-for-cp"]


def test_a_control_plane_that_is_cordoned_tells_nothing() -> None:
    with pytest.raises(NotObservable, match="is cordoned"):
        _judge(_node("cp", "control_plane", cordoned=True), _node("w", "workers"))


def test_a_host_that_is_not_cordoned_is_judged() -> None:
    with pytest.raises(AssertionError, match="cp is of the control plane and not of the workers"):
        _judge(_node("cp", "control_plane"))


def test_taints_are_looked_at_on_nodes_that_have_others() -> None:
    nodes = _node("w", cordoned=True), _node("cp", taints=(_CONTROL_PLANE,)), _node("free")
    assert test_scheduler._tainted(made.cluster(nodes=nodes)) == [nodes[1]]
