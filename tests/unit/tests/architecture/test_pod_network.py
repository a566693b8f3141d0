"""Which pods ask each other, wherever they are."""

from __future__ import annotations

from typing import cast

import pytest
from tests.architecture import test_pod_network
from tests.unit.tests.architecture import made

from kubeproof.verify.act.pods import Dialled, Manifests, Pod
from kubeproof.verify.engine import preparations
from kubeproof.verify.engine.evidence import Evidence


class _Pod:
    """A pod that reaches others, unless they are on its node and that keeps them apart."""

    def __init__(self, name: str, node: str, address: str, *, apart: bool = False) -> None:
        self.name, self.node, self.addresses = name, node, (address,)
        self._apart = apart
        self.asked: list[str] = []

    def address_like(self, _address: str) -> str:
        return self.addresses[0]

    def dial(self, address: str, _port: int, request: str, **_: str) -> Dialled:
        self.asked.append(address)
        if self._apart and address.rpartition(".")[0] == self.addresses[0].rpartition(".")[0]:
            return Dialled((), ("no route to host",))
        return Dialled((request.partition("msg=")[2] or f"{self.addresses[0]}:5000",), ())


def _pods(nodes: int, *, apart: bool = False) -> tuple[list[_Pod], _Pod]:
    agents = [_Pod(f"agent-{number}", f"n{number}", f"10.0.{number}.2", apart=apart) for number in range(nodes)]
    return agents, _Pod("neighbour", "n0", "10.0.0.3", apart=apart)


def _ask(agents: list[_Pod], neighbour: _Pod, protocol: str = "http") -> Evidence:
    evidence = Evidence()
    test_pod_network.test_every_pod_reaches_every_pod_under_its_own_address(
        cast(list[Pod], agents), cast(Pod, neighbour), evidence, protocol
    )
    return evidence


@pytest.mark.parametrize(("nodes", "apart"), [(1, 0), (3, 10)])
def test_pods_of_a_node_ask_each_other_as_those_of_several_do(nodes: int, apart: int) -> None:
    evidence = _ask(*_pods(nodes))
    assert evidence.headline == f"http: all see each other's own address, {apart} times between nodes, 2 on one"
    assert "agent-0 on n0 to neighbour on n0 at 10.0.0.3" in evidence


def test_pods_that_a_node_keeps_apart_are_found() -> None:
    with pytest.raises(AssertionError, match=r"to neighbour on n0 at .* nothing passes"):
        _ask(*_pods(3, apart=True))


def test_that_no_two_pods_are_on_one_node_is_not_passed_over() -> None:
    agents, neighbour = _pods(2)
    neighbour.node = "n9"
    with pytest.raises(AssertionError, match="no two of the pods"):
        _ask(agents, neighbour)


def test_large_messages_are_sent_from_pod_to_pod_on_a_single_node() -> None:
    agents, neighbour = _pods(1)
    test_pod_network.test_large_messages_pass_between_nodes(cast(list[Pod], agents), cast(Pod, neighbour), Evidence())
    assert (agents[0].asked, neighbour.asked) == (["10.0.0.3"], ["10.0.0.2"])


def test_a_pod_that_shares_its_neighbours_address_is_found() -> None:
    agents, neighbour = _pods(1)
    neighbour.addresses = agents[0].addresses
    with pytest.raises(AssertionError, match="pods share addresses"):
        test_pod_network.test_pods_have_addresses_of_their_own_from_their_nodes_network(
            made.cluster(pod_network_plugin="none"), cast(list[Pod], agents), cast(Pod, neighbour), Evidence()
        )


def test_the_neighbour_is_on_the_first_node_and_behind_no_service() -> None:
    [pod] = preparations._PREPARATIONS["neighbour"].build(Manifests("ours", "image", ("n0", "n1")))
    assert pod["spec"]["nodeName"] == "n0"
    assert pod["metadata"]["labels"] == {}
    # Saboteurs count pods whose names begin as the agents' do.
    assert not pod["metadata"]["name"].startswith("agent")
