"""Times that a verification takes down beside its tests."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.api.kubeconfig import Access, Anonymous
from kubeproof.verify.observe import latency
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.latency import BOUNDS_MS, PodStarts, Stopwatch


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("GET", "/version", "get"),
        ("GET", "/api/v1/nodes", "list"),
        ("GET", "/api/v1/nodes/w1", "get"),
        ("GET", "/api/v1/namespaces", "list"),
        ("GET", "/api/v1/namespaces/x", "get"),
        ("GET", "/api/v1/namespaces/x/pods", "list"),
        ("GET", "/api/v1/namespaces/x/pods/y", "get"),
        ("GET", "/apis/apps/v1/namespaces/x/replicasets", "list"),
        ("GET", "/apis/apps/v1/namespaces/x/replicasets/y", "get"),
        ("GET", "/api/v1/namespaces/x/pods/y:8080/proxy/hostname", "proxy"),
        ("POST", "/api/v1/namespaces/x/pods", "create"),
        ("PUT", "/api/v1/namespaces/x/pods/y", "update"),
        ("PATCH", "/api/v1/namespaces/x/pods/y", "patch"),
        ("DELETE", "/api/v1/namespaces/x", "delete"),
        ("HEAD", "/", "head"),
    ],
)
def test_requests_are_counted_by_what_they_do(method: str, path: str, verb: str) -> None:
    assert latency.verb(method, path) == verb


def test_what_requests_took_is_told_by_verb() -> None:
    stopwatch = Stopwatch()
    for milliseconds in range(1, 101):
        stopwatch.took("GET", "/api/v1/nodes/w1", milliseconds / 1000)
    stopwatch.took("POST", "/api/v1/namespaces", 9.0)
    get, create = stopwatch.as_data()
    assert (get["verb"], get["count"], get["p50_ms"], get["p90_ms"], get["max_ms"]) == ("get", 100, 51.0, 91.0, 100.0)
    assert sum(get["buckets"]) == 100
    assert create["buckets"] == [0] * len(BOUNDS_MS) + [1]


def test_the_longest_request_is_not_forgotten_among_many() -> None:
    stopwatch = Stopwatch()
    stopwatch.took("GET", "/version", 7.0)
    for _ in range(10_000):
        stopwatch.took("GET", "/version", 0.001)
    [told] = stopwatch.as_data()
    assert (told["count"], told["max_ms"]) == (10_001, 7000.0)


def pod(uid: str, *, node: str = "", ready: bool = False) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True"}] if ready else []
    spec = {"nodeName": node} if node else {}
    return {"metadata": {"name": f"pod-{uid}", "uid": uid}, "spec": spec, "status": {"conditions": conditions}}


def test_a_pods_start_is_followed_from_creation_to_ready() -> None:
    now = 0.0
    starts = PodStarts(Api(Access("https://127.0.0.1:1", "", Anonymous())), "x", clock=lambda: now)
    assert not starts.note([pod("a"), pod("placed", node="w1"), pod("never")])
    now = 0.25
    starts.note([pod("a", node="w1"), pod("placed", node="w1")])
    now = 1.5
    starts.note([pod("a", node="w1", ready=True), pod("placed", node="w1", ready=True), pod("never")])
    now = 9.0
    starts.note([pod("a", node="w1"), pod("placed", node="w1", ready=True)])
    starts.end()
    assert starts.note([])
    assert starts.as_data() == [
        {"pod": "pod-a", "scheduled_ms": 250.0, "ready_ms": 1500.0},
        {"pod": "pod-placed", "scheduled_ms": None, "ready_ms": 1500.0},
    ]


def test_rules_of_a_service_come_from_what_tests_observed() -> None:
    rules = [{"node": "w1", "appeared_ms": 160, "gone_ms": 880}, {"node": "w2", "appeared_ms": None, "gone_ms": None}]
    evidence: list[dict[str, Any]] = [{"other": 1}, {"rules": rules}, {"rules": ["of another kind"]}]
    assert latency.service_rules(evidence) == [{"node": "w1", "ms": 160}, {"node": "w2", "ms": None}]
