"""Which pods are under policies, so that what passes to and from them says nothing of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.objects import Object

_POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"
# Of pod networks' own kinds, those of one namespace, and those of all of them.
_OTHERS = ("/apis/crd.projectcalico.org/v1/networkpolicies", "/apis/cilium.io/v2/ciliumnetworkpolicies")
_OF_ALL = (
    "/apis/crd.projectcalico.org/v1/globalnetworkpolicies",
    "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
    "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies",
    "/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies",
    "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
)
_NOT_SERVED = 404


@dataclass(frozen=True)
class Policies:
    """The policies of a cluster. ``foreign``: namespaces with some whose selectors are not Kubernetes' own."""

    own: tuple[Object, ...]
    foreign: frozenset[str]
    everywhere: tuple[str, ...]
    """Names of policies that may be for all namespaces."""

    def rule(self, pod: Object, kind: str) -> bool:
        """Whether a policy says what may come in to a pod (Ingress), or go out of it (Egress)."""
        metadata = pod["metadata"]
        return metadata["namespace"] in self.foreign or any(
            policy["metadata"]["namespace"] == metadata["namespace"]
            and kind in policy["spec"].get("policyTypes", (kind,))
            and selects(policy["spec"].get("podSelector") or {}, metadata.get("labels") or {})
            for policy in self.own
        )


def found(api: Api) -> Policies:
    """Ask for all, of NetworkPolicy and of kinds that pod networks bring."""
    foreign = {str(item["metadata"]["namespace"]) for path in _OTHERS for item in _served(api, path)}
    everywhere = tuple(str(item["metadata"]["name"]) for path in _OF_ALL for item in _served(api, path))
    return Policies(tuple(api.items(_POLICIES)), frozenset(foreign), everywhere)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches labels; an empty one matches all."""
    alike = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return alike and all(_meets(each, labels) for each in selector.get("matchExpressions") or ())


def _meets(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    return {
        "In": key in labels and labels[key] in values,
        "NotIn": key not in labels or labels[key] not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[expression["operator"]]


def _served(api: Api, path: str) -> Iterator[Object]:
    """The objects of a kind that not every API has."""
    answer = api.request("GET", path)
    if answer.status != _NOT_SERVED:
        yield from answer.required()["items"]
