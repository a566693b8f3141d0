"""Which taints a node keeps, gets and loses."""

from __future__ import annotations

from typing import Any, cast

import pytest
from ansible.module_utils.kube_client import ApiError, Client

import node_taints

KEY, EFFECT = "node-role.kubernetes.io/control-plane", "NoSchedule"
OURS = {"key": KEY, "effect": EFFECT}
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
PARAMETERS = {"taint": KEY, "effect": EFFECT}


@pytest.mark.parametrize(
    ("before", "present", "after"),
    [
        ([], True, [OURS]),
        ([UNREACHABLE], True, [UNREACHABLE, OURS]),
        ([OURS], True, [OURS]),
        ([{**OURS, "value": "kept"}], True, [{**OURS, "value": "kept"}]),
        ([{"key": KEY, "effect": "NoExecute"}], True, [{"key": KEY, "effect": "NoExecute"}, OURS]),
        ([UNREACHABLE, OURS], False, [UNREACHABLE]),
        ([], False, []),
    ],
)
def test_other_taints_stay(before: list[Any], present: bool, after: list[Any]) -> None:
    assert node_taints.wanted_taints(before, KEY, EFFECT, present) == after


class _Server:
    """A node whose taints somebody else writes, too."""

    def __init__(self, taints: list[Any] | None, conflicts: int = 0) -> None:
        self.spec = {"taints": taints} if taints is not None else {}
        self.conflicts = conflicts
        self.writes: list[Any] = []

    def get(self, _path: str) -> dict[str, Any]:
        return {"metadata": {"resourceVersion": str(self.conflicts)}, "spec": self.spec}

    def merge(self, path: str, change: dict[str, Any], manager: str, dry_run: bool) -> None:
        assert manager == "kubeproof"
        self.writes.append((path, change, dry_run))
        if self.conflicts:
            self.conflicts -= 1
            raise ApiError("the object has been modified", 409)


def converge(server: _Server, *, present: bool, dry_run: bool = False) -> bool:
    return node_taints.converge_node(cast(Client, server), "cp1", PARAMETERS, present, dry_run)


def test_a_node_that_is_right_is_not_written() -> None:
    server = _Server(None)
    assert not converge(server, present=False)
    assert server.writes == []


def test_a_write_that_lost_starts_from_the_newer_version() -> None:
    server = _Server([], conflicts=2)
    assert converge(server, present=True)
    versions = [change["metadata"]["resourceVersion"] for _, change, _ in server.writes]
    assert versions == ["2", "1", "0"]


def test_who_always_loses_says_so() -> None:
    with pytest.raises(ApiError, match="modified"):
        converge(_Server([], conflicts=99), present=True)
