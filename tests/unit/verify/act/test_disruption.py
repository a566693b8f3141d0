"""When a cluster has recovered from what a test did to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from kubeproof.verify.act import disruption
from kubeproof.verify.act.pods import Blocked
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.hosts import Host
from kubeproof.verify.observe.objects import Object


class _Nodes:
    """An API that has these nodes, and no patience."""

    def __init__(self, *nodes: Object) -> None:
        self._nodes = list(nodes)

    def observe(self, path: str, until: Callable[[list[Object]], bool], *, what: str, **_: float) -> None:
        assert path == "/api/v1/nodes"
        if not until(self._nodes):
            raise NotObserved(what)


def _node(*taints: str, ready: str = "True") -> Object:
    spec = {"taints": [{"key": key, "effect": "NoSchedule"} for key in taints]}
    return {"spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def _recovers(*nodes: Object) -> None:
    disruption.await_recovery(cast(Api, _Nodes(*nodes)), "all nodes are ready")


def test_nodes_are_back_that_are_ready_and_have_no_taint_of_theirs() -> None:
    _recovers(_node(), _node("node-role.kubernetes.io/control-plane"))


def test_a_node_that_somebody_has_cordoned_is_back() -> None:
    _recovers(_node(), _node("node.kubernetes.io/unschedulable"))


@pytest.mark.parametrize(
    "node",
    [
        _node(ready="False"),
        _node(ready="Unknown"),
        _node("node.kubernetes.io/unreachable"),
        _node("node.kubernetes.io/unschedulable", "node.kubernetes.io/not-ready"),
    ],
)
def test_a_node_that_is_not_ready_or_avoided_for_that_is_not_back(node: Object) -> None:
    with pytest.raises(Blocked, match="all nodes are ready"):
        _recovers(_node(), node)


class _Told:
    """A host that remembers the firewall's rules, and knows of its SSH connection or not."""

    def __init__(self, connection: str, port: int | None = None) -> None:
        self.port = port
        self.rules = ""
        self._connection = connection

    def run(self, command: str, *arguments: str) -> str:
        if "nft -f" in command:
            self.rules = arguments[0]
        return self._connection if "SSH_CONNECTION" in command else ""


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        (_Told("192.0.2.9 50000 192.0.2.1 2222\n"), "ip saddr 192.0.2.9 tcp dport 2222 accept"),
        (_Told("fd00::9 50000 fd00::1 22\n", port=2222), "ip6 saddr fd00::9 tcp dport 22 accept"),
        (_Told("\n", port=2222), "tcp dport { 22, 2222 } accept"),
        (_Told("\n"), "tcp dport { 22 } accept"),
    ],
)
def test_a_host_that_is_cut_off_can_still_be_told_to_come_back(host: _Told, let_in: str) -> None:
    with disruption.cut_off(cast(Host, host)):
        assert f"\n    {let_in}\n" in host.rules
        assert f"\n    {let_in.replace('saddr', 'daddr').replace('dport', 'sport')}\n" in host.rules
        assert host.rules.count("nd-neighbor-solicit, nd-neighbor-advert") == 2
