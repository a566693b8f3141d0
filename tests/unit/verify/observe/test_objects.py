"""Questions about objects whose answers may not be there yet."""

from __future__ import annotations

import ast
from typing import Any, TypeGuard

import pytest

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.observe import objects


@pytest.mark.parametrize("item", [{}, {"status": {}}, {"status": {"conditions": None}}, {"status": {"conditions": []}}])
def test_an_object_without_conditions_has_none(item: dict[str, Any]) -> None:
    # A new kind of objects is answered with conditions that are null.
    assert objects.condition(item, "Established") == {}
    assert not objects.holds(item, "Established")


def test_a_condition_holds_or_not() -> None:
    item = {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Full", "status": "False"}]}}
    assert objects.holds(item, "Ready")
    assert not objects.holds(item, "Full")


def test_a_cordon_is_no_trouble_of_a_node() -> None:
    keys = ("node.kubernetes.io/unschedulable", "node.kubernetes.io/not-ready", "example.com/mine")
    assert objects.troubles({"spec": {"taints": [{"key": key} for key in keys]}}) == ["node.kubernetes.io/not-ready"]
    assert objects.troubles({"spec": {}}) == []


def test_the_resource_of_each_kind_that_the_verification_creates_is_known() -> None:
    """Some are created by faults and upgrades only, an hour after they began."""
    written = {}
    for path in (paths.PROJECT / "src" / "kubeproof" / "verify").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict):
                fields = {
                    each.value: value for each, value in zip(node.keys, node.values, strict=True) if literal(each)
                }
                kind = fields.get("kind")
                if {"apiVersion", "metadata"} <= fields.keys() and isinstance(kind, ast.Constant):
                    written[str(kind.value)] = f"{path.name}:{node.lineno}"
    assert "PodDisruptionBudget" in written
    # Of a definition that the verification makes itself, with its path.
    del written["Greeting"]
    unknown = {}
    for name, where in written.items():
        try:
            objects.collection({"apiVersion": "v1", "kind": name, "metadata": {}})
        except KubeproofError:
            unknown[name] = where
    assert unknown == {}


def literal(node: ast.expr | None) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant)
