"""What the API answers, and what of it is in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kubeproof.core.versions import Minor
from kubeproof.upgrade import questions
from kubeproof.upgrade.questions import Leaving

METRICS = """\
# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="networking.k8s.io",removed_release="1.37",resource="ipaddresses",\
subresource="",version="v1beta1"} 1
apiserver_requested_deprecated_apis{group="resource.k8s.io",removed_release="1.38",resource="resourceclaims",\
subresource="",version="v1beta1"} 1
apiserver_requested_deprecated_apis{group="",removed_release="",resource="componentstatuses",subresource="",\
version="v1"} 1
apiserver_requested_deprecated_apis{group="storage.k8s.io",removed_release="1.37",resource="volumeattributesclasses",\
subresource="",version="v1beta1"} 0
"""
AUDIT = {
    "kind": "Event",
    "apiVersion": "audit.k8s.io/v1",
    "verb": "update",
    "user": {"username": "system:serviceaccount:shop:operator"},
    "userAgent": "operator/v0.3.1 (linux/amd64) kubernetes/$Format",
    "objectRef": {"resource": "ipaddresses", "apiGroup": "networking.k8s.io", "apiVersion": "v1beta1"},
    "annotations": {"k8s.io/deprecated": "true", "k8s.io/removed-release": "1.37"},
}


class TestRemovedApis:
    def test_that_were_asked_for_and_by_whom(self) -> None:
        (finding,) = questions.removed_apis(METRICS, [AUDIT, {"verb": "get"}], Minor(1, 37))
        assert finding.problem == (
            "ipaddresses of networking.k8s.io/v1beta1 was asked for since API servers were started, by "
            "system:serviceaccount:shop:operator (operator/v0.3.1); 1.37 has it no more"
        )

    def test_of_a_later_version_are_not_in_the_way(self) -> None:
        assert list(questions.removed_apis(METRICS, [AUDIT], Minor(1, 36))) == []
        assert len(list(questions.removed_apis(METRICS, [], Minor(1, 38)))) == 2


def definition(versions: Sequence[Mapping[str, Any]], stored: list[str]) -> dict[str, Any]:
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {"versions": versions},
        "status": {"storedVersions": stored},
    }


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (["v1"], []),
        (["v1beta1", "v1"], ["warning"]),
        (["v1alpha1", "v1"], ["error"]),
    ],
)
def test_stored_versions(stored: list[str], expected: list[str]) -> None:
    versions = [
        {"name": "v1beta1", "served": False, "storage": False},
        {"name": "v1", "served": True, "storage": True},
    ]
    assert [each.severity for each in questions.stored_versions([definition(versions, stored)])] == expected


@pytest.mark.parametrize(
    ("service", "status", "expected"),
    [
        (None, "True", 0),
        ({"namespace": "kube-system", "name": "metrics-server"}, "True", 0),
        ({"namespace": "kube-system", "name": "metrics-server"}, "False", 1),
    ],
)
def test_api_services(service: object, status: str, expected: int) -> None:
    condition = {"type": "Available", "status": status, "reason": "MissingEndpoints", "message": "no endpoints"}
    found = {"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": {}, "status": {"conditions": [condition]}}
    found["spec"] = {"service": service} if service else {}
    assert len(list(questions.api_services([found]))) == expected


class TestWebhooks:
    def configuration(self, **hook: Any) -> dict[str, Any]:
        client = {"service": {"namespace": "policy", "name": "gate", "path": "/validate"}}
        one = {"name": "pods.example.com", "clientConfig": client, "failurePolicy": "Fail", **hook}
        return {"metadata": {"name": "gate"}, "webhooks": [one]}

    def slices(self, *ready: bool | None) -> list[dict[str, Any]]:
        labels = {"kubernetes.io/service-name": "gate"}
        endpoints = [{"conditions": {} if each is None else {"ready": each}} for each in ready]
        return [
            {"metadata": {"namespace": "policy", "name": "gate-x", "labels": labels}, "endpoints": endpoints or None}
        ]

    def test_that_fail_closed_without_an_endpoint(self) -> None:
        (finding,) = questions.webhooks([self.configuration()], self.slices(False))
        assert finding.problem == (
            "the webhook gate/pods.example.com fails closed, and its service policy/gate has no ready endpoint"
        )
        assert len(list(questions.webhooks([self.configuration()], []))) == 1
        assert len(list(questions.webhooks([self.configuration()], self.slices()))) == 1

    def test_that_are_not_in_the_way(self) -> None:
        assert list(questions.webhooks([self.configuration()], self.slices(False, True))) == []
        assert list(questions.webhooks([self.configuration()], self.slices(None))) == []
        assert list(questions.webhooks([self.configuration(failurePolicy="Ignore")], [])) == []
        outside = self.configuration(clientConfig={"url": "https://gate.example.com"})
        assert list(questions.webhooks([outside], [])) == []


class TestArguments:
    def found(self, argument: str, now: str = "1.36", to: str = "1.37") -> list[tuple[str, str]]:
        found = questions.arguments("kube-apiserver", [argument], Minor.of(now), Minor.of(to))
        return [(each.id, each.subject) for each in found]

    @pytest.mark.parametrize(
        ("argument", "expected"),
        [
            ("--v=2", []),
            ("--feature-gates=AllAlpha=false,SELinuxMount=false", []),
            # Of neither version, as far as the table knows.
            ("--made-up=1", []),
            ("--feature-gates=MadeUp=true", []),
            ("--feature-gates=SidecarContainers=true", [("unknown-gate", "kube-apiserver SidecarContainers")]),
        ],
    )
    def test_that_the_target_has_lost(self, argument: str, expected: list[tuple[str, str]]) -> None:
        assert self.found(argument) == expected

    def test_that_were_lost_on_the_way(self) -> None:
        assert self.found("--feature-gates=SELinuxMount=true, MemoryManager=true", "1.35") != []
        assert self.found("--feature-gates=MemoryManager=true", "1.36") == []

    def test_gates_that_are_locked(self) -> None:
        known = questions.known("kubelet", Minor(1, 37))
        assert known is not None
        gate, on = next(iter(known.locked.items()))
        assert list(questions.gates("kubelet", {gate: on}, Minor(1, 36), Minor(1, 37))) == []
        (finding,) = questions.gates("kubelet", {gate: not on}, Minor(1, 36), Minor(1, 37))
        assert finding.problem.endswith(f"locked to {str(on).lower()}")

    def test_flags_that_are_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        table = {
            minor: {"flags": {"kube-apiserver": flags}, "gates": "", "locked": {}}
            for minor, flags in (("1.36", "v gone"), ("1.37", "v"))
        }
        monkeypatch.setattr(questions, "_table", lambda: table)
        assert self.found("--gone=1") == [("unknown-flag", "kube-apiserver --gone")]
        assert self.found("--gone=1", to="1.38") == []


def test_evictions_in_a_dry_run() -> None:
    budget = {
        "kind": "Status",
        "code": 429,
        "reason": "TooManyRequests",
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "details": {
            "causes": [{"reason": "DisruptionBudget", "message": "The disruption budget db needs 1 healthy pods"}]
        },
    }
    answers = {"shop/web-1": (201, {}), "shop/db-0": (429, budget), "shop/gone": (404, {}), "shop/odd": (500, {})}
    found = list(questions.evictions(answers, {"shop/db-0": "w1", "shop/odd": "w2"}))
    assert [(each.id, each.host) for each in found] == [("budget", "w1"), ("eviction", "w2")]
    assert found[0].problem.endswith("The disruption budget db needs 1 healthy pods")
    assert found[0].remediation == (
        "Have its PodDisruptionBudget allow one disruption, or leave its node out: --hosts '!w1'."
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"expectedPods": 2, "currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1}, ""),
        ({"expectedPods": 0, "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0}, ""),
        ({"expectedPods": 1, "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0}, "all of its 1 pods"),
        ({"expectedPods": 3, "currentHealthy": 1, "desiredHealthy": 2, "disruptionsAllowed": 0}, "1 of 2 pods"),
    ],
)
def test_budgets(status: dict[str, int], expected: str) -> None:
    found = list(questions.budgets([{"metadata": {"namespace": "shop", "name": "db"}, "status": status}]))
    assert [expected in each.problem for each in found] == ([True] if expected else [])


class TestPods:
    def pod(self, *, node: str = "w1", owner: str = "ReplicaSet", **more: Any) -> dict[str, Any]:
        owners = [{"kind": owner, "name": "web", "controller": True}] if owner else []
        spec = {"nodeName": node, "volumes": more.pop("volumes", [])}
        metadata = {"namespace": "shop", "name": "web-0", "ownerReferences": owners, **more.pop("metadata", {})}
        return {"metadata": metadata, "spec": spec, "status": {"phase": "Running", **more}}

    def found(self, pod: Mapping[str, Any], **allowed: bool) -> list[str]:
        return [each.id for each in questions.unmovable([pod], Leaving({"w1"}, **allowed))]

    def test_that_move(self) -> None:
        assert self.found(self.pod()) == []
        assert self.found(self.pod(volumes=[{"name": "m", "emptyDir": {"medium": "Memory"}}])) == []

    def test_that_are_lost(self) -> None:
        volumes = [{"name": "scratch", "emptyDir": {}}, {"name": "config", "configMap": {"name": "c"}}]
        assert self.found(self.pod(owner="")) == ["bare-pod"]
        assert self.found(self.pod(owner=""), bare_pods=True) == []
        assert self.found(self.pod(volumes=volumes)) == ["local-data"]
        assert self.found(self.pod(volumes=volumes), local_data=True) == []

    def test_that_stay_or_have_ended(self) -> None:
        mirror = {"annotations": {questions.MIRROR: "x"}}
        assert self.found(self.pod(owner="DaemonSet")) == []
        assert self.found(self.pod(owner="", metadata=mirror)) == []
        assert self.found(self.pod(owner="", phase="Succeeded")) == []
        assert self.found(self.pod(owner="", node="w2")) == []


def test_nodes() -> None:
    def node(name: str, **conditions: str) -> dict[str, Any]:
        found = [{"type": kind, "status": status, "message": "said so"} for kind, status in conditions.items()]
        return {"metadata": {"name": name}, "status": {"conditions": found}}

    nodes = [
        node("w1", Ready="True", DiskPressure="False"),
        node("w2", Ready="Unknown"),
        node("w3", Ready="True", DiskPressure="True"),
        node("w4"),
    ]
    found = list(questions.nodes(nodes, {"w1", "w2", "w3"}))
    assert [(each.id, each.host) for each in found] == [("node-not-ready", "w2"), ("node-pressure", "w3")]


def test_readiness() -> None:
    answers = {
        "cp1": "[+]ping ok\n[+]etcd ok\nreadyz check passed\n",
        "cp2": "[+]ping ok\n[-]etcd failed: reason withheld\n",
    }
    (finding,) = questions.readiness(answers)
    assert (finding.host, finding.problem) == ("cp2", "its API server is not ready: etcd")


def test_space() -> None:
    (finding,) = questions.space({"cp1": 2**31, "cp2": 2**29}, {"cp1": 2**30, "cp2": 2**30, "cp3": 2**30})
    assert (finding.host, finding.problem) == (
        "cp2",
        "versions that are staged and those that are kept take 1.0 GiB in /var/lib/kubeproof, and 512.0 MiB are free",
    )
    assert finding.remediation == "Free some space there, or leave the host out: --hosts '!cp2'."


def test_certificates() -> None:
    day = 86400.0
    ends = [
        questions.Certificate("cp1", "apiserver.crt", 30 * day),
        questions.Certificate("cp1", "front-proxy.crt", 2.5 * day),
        questions.Certificate("w1", "kubelet.crt", -day),
        questions.Certificate("w1", "ca.crt", 0.5 * day, ca=True),
    ]
    found = list(questions.certificates(ends, 0.0))
    assert [(each.host, each.problem) for each in found] == [
        ("cp1", "front-proxy.crt ends within 3 days"),
        ("w1", "kubelet.crt has ended"),
        ("w1", "ca.crt ends within 1 day"),
    ]
    assert {each.severity for each in found} == {"error"}
    assert found[1].remediation == "Renew it first: playbooks/cluster.yml does."
    assert "no run replaces" in found[2].remediation


def test_an_unfinished_upgrade_is_not_kept_from_its_end_by_certificates() -> None:
    """Until then playbooks/cluster.yml is refused, which would renew them."""
    ends = [questions.Certificate("cp1", "a.crt", -1.0), questions.Certificate("cp1", "ca.crt", -1.0, ca=True)]
    found = list(questions.certificates(ends, 0.0, unfinished=True))
    assert [each.severity for each in found] == ["warning", "warning"]
    assert "at its end" in found[0].remediation
    assert "no run replaces" in found[1].remediation
