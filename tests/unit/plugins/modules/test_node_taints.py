"""Which taints a node keeps, gets and loses."""

from __future__ import annotations

from typing import Any, cast

import pytest
from ansible.module_utils.kube_client import ApiError, Client

import node_taints

KEY, EFFECT = "node-role.kubernetes.io/control-plane", "NoSchedule"
OURS = {"key": KEY, "effect": EFFECT}
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
PARAMETERS: dict[str, Any] = {"taint": KEY, "effect": EFFECT, "unseen": []}


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

    def __init__(self, taints: list[Any] | None, conflicts: int = 0, labelled_by: Any = None) -> None:
        self.spec = {"taints": taints} if taints is not None else {}
        fields: dict[str, Any] = {"f:metadata": {"f:labels": {f"f:{KEY}": {}}}}
        self.managed = [{**labelled_by, "fieldsV1": fields}] if labelled_by else []
        self.conflicts = conflicts
        self.writes: list[Any] = []

    def get(self, _path: str) -> dict[str, Any]:
        return {
            "metadata": {"resourceVersion": str(self.conflicts), "managedFields": self.managed}, "spec": self.spec
        }  # fmt: skip

    def merge(self, path: str, change: dict[str, Any], manager: str, dry_run: bool) -> None:
        assert manager == "kubeproof"
        self.writes.append((path, change, dry_run))
        if self.conflicts:
            self.conflicts -= 1
            raise ApiError("the object has been modified", 409)


def converge(server: Any, *, present: bool = False, former: bool = False, dry_run: bool = False) -> bool:
    option = "former" if former else "present" if present else "absent"
    return node_taints.converge_node(cast(Client, server), "cp1", PARAMETERS, option, dry_run)


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


US = {"manager": "kubeproof", "operation": "Apply"}


def test_a_control_plane_node_that_is_a_worker_now_loses_what_we_gave_it() -> None:
    server = _Server([UNREACHABLE, OURS], conflicts=1, labelled_by=US)
    assert converge(server, former=True)
    metadata = {"resourceVersion": "0", "labels": {KEY: None}}
    assert server.writes[-1][1] == {"metadata": metadata, "spec": {"taints": [UNREACHABLE]}}
    # It was a worker, too, and has the label only.
    assert converge(_Server(None, labelled_by=US), former=True)


@pytest.mark.parametrize("who", [None, {"manager": "kubectl-label", "operation": "Update"}])
def test_a_worker_keeps_what_somebody_else_gave_it(who: Any) -> None:
    server = _Server([OURS], labelled_by=who)
    assert not converge(server, former=True)
    assert server.writes == []


def test_only_a_former_control_plane_node_may_be_missing() -> None:
    class Nowhere:
        def get(self, path: str) -> None:
            raise ApiError(f"{path}: not found", 404)

    assert not converge(Nowhere(), former=True)
    with pytest.raises(ApiError, match="not found"):
        converge(Nowhere(), present=True)
    # Or one whose host the run has not seen.
    client, unseen = cast(Client, Nowhere()), {**PARAMETERS, "unseen": ["cp1"]}
    for option in ("present", "absent"):
        assert not node_taints.converge_node(client, "cp1", unseen, option, dry_run=False)
