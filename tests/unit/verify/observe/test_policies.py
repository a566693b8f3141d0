"""Which pods policies are for: what other pods send them says nothing of the network."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kubeproof.verify.observe import policies
from kubeproof.verify.observe.api import Answer, Api


def pod(namespace: str = "shop", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "web-0", "namespace": namespace, "labels": labels}}


def policy(*kinds: str, **selector: Any) -> dict[str, Any]:
    return {"metadata": {"name": "default-deny", "namespace": "shop"}, "spec": {"policyTypes": kinds, **selector}}


class Served:
    """An API with these collections, and no others."""

    def __init__(self, **collections: list[dict[str, Any]]) -> None:
        self.collections = {"networkpolicies": [], **collections}

    def request(self, method: str, path: str) -> Answer:
        group, name = path.split("/")[2], path.rpartition("/")[2]
        known = name in self.collections and (name != "networkpolicies" or group == "networking.k8s.io")
        body = {"items": self.collections[name]} if known else {"message": "the server could not find it"}
        return Answer(f"{method} {path}", 200 if known else 404, body)

    def items(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("GET", path).required()["items"]
        return found


def of(**collections: list[dict[str, Any]]) -> policies.Policies:
    return policies.found(cast(Api, Served(**collections)))


def test_a_policy_rules_the_pods_of_its_namespace_in_its_direction() -> None:
    there = of(networkpolicies=[policy("Ingress", podSelector={})])
    assert there.rule(pod(), "Ingress")
    assert not there.rule(pod(), "Egress")
    assert not there.rule(pod("elsewhere"), "Ingress")


def test_a_policy_rules_the_pods_that_it_selects() -> None:
    there = of(networkpolicies=[policy("Egress", podSelector={"matchLabels": {"app": "web"}})])
    assert there.rule(pod(app="web", tier="front"), "Egress")
    assert not there.rule(pod(app="db"), "Egress")


@pytest.mark.parametrize(
    ("expression", "web", "none"),
    [
        ({"key": "app", "operator": "In", "values": ["web", "db"]}, True, False),
        ({"key": "app", "operator": "NotIn", "values": ["web"]}, False, True),
        ({"key": "app", "operator": "Exists"}, True, False),
        ({"key": "app", "operator": "DoesNotExist"}, False, True),
    ],
)
def test_expressions_are_understood(expression: dict[str, Any], web: bool, none: bool) -> None:
    selector = {"matchExpressions": [expression]}
    assert (policies.selects(selector, {"app": "web"}), policies.selects(selector, {})) == (web, none)


def test_policies_of_other_kinds_rule_all_pods_of_their_namespace() -> None:
    there = of(ciliumnetworkpolicies=[policy()])
    assert there.rule(pod(), "Ingress")
    assert there.rule(pod(), "Egress")
    assert not there.rule(pod("elsewhere"), "Ingress")


def test_policies_of_all_namespaces_are_named() -> None:
    assert of().everywhere == ()
    assert of(globalnetworkpolicies=[policy()]).everywhere == ("default-deny",)
