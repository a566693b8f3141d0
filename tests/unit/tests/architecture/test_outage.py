"""How long a node may be gone before that is held against the cluster: as long as it may be silent, and then some."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.architecture import outage, test_cluster
from tests.architecture.outage import Outage
from tests.needs import NEEDS
from tests.topologies import Topology
from tests.unit.tests.architecture import made

from kubeproof.verify.act.pods import Manifests
from kubeproof.verify.act.traffic import Request, Traffic
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object


def _cluster(grace: int, patience: float = 1.0) -> Cluster:
    nodes = tuple(made.node(made.host(name, "10.0.0.1", "workers")) for name in ("w1", "w2"))
    found = made.cluster(nodes=nodes, controller_manager_node_grace_seconds=grace)
    found.api.patience, found.api.patient = patience, lambda seconds: patience * seconds  # type: ignore[method-assign]
    return found


class _Sent:
    """Requests to an application on a node that is gone: none is answered before so many seconds have passed."""

    def __init__(self, seconds: float) -> None:
        self.requests = [Request(0, seconds, "", "TimeoutError"), Request(seconds + 1, seconds + 2, "survivor", "")]

    def summary(self) -> dict[str, Any]:
        return {}


def _judge(cluster: Cluster, seconds: float) -> None:
    seen = Outage("w2", cast(Traffic, _Sent(seconds)), cut=0.0, lost=["survivor-1"], ended=seconds + 3)
    test_cluster.test_an_application_outlives_a_node(cluster, seen, Evidence())


@pytest.mark.parametrize(
    ("grace", "patience", "seconds"), [(50, 1, 79), (20, 1, 79), (120, 1, 149), (50, 2, 159), (120, 2, 299)]
)
def test_errors_may_last_as_long_as_a_node_may_be_silent(grace: int, patience: float, seconds: float) -> None:
    _judge(_cluster(grace, patience), seconds)
    with pytest.raises(AssertionError, match="still fail"):
        _judge(_cluster(grace, patience), seconds + 2)


class _Api:
    """An API that shows an application on two nodes, and is asked how long it is watched for what."""

    def __init__(self) -> None:
        self.limits: dict[str, float] = {}

    def create(self, manifest: Object) -> Object:
        return {**manifest, "spec": {"ports": [{"nodePort": 30080}]}}

    def observe(
        self, _path: str, _until: Callable[[list[Object]], bool], *, what: str, timeout: float, **_: str
    ) -> Any:
        self.limits[what] = timeout
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        return [
            {"metadata": {"name": f"on-{node}", "uid": node}, "spec": {"nodeName": node}, "status": ready}
            for node in ("w1", "w2")
        ]


@pytest.mark.parametrize(("grace", "limit"), [(50, 100), (10, 100), (120, 170)])
def test_a_node_may_be_silent_as_long_as_is_configured(
    monkeypatch: pytest.MonkeyPatch, grace: int, limit: float
) -> None:
    traffic = SimpleNamespace(await_answer=lambda _: True)
    monkeypatch.setattr(outage, "Traffic", lambda *_, **__: nullcontext(traffic))
    monkeypatch.setattr(outage, "cut_off", nullcontext)
    monkeypatch.setattr(outage, "await_recovery", lambda *_: None)
    monkeypatch.setattr(outage, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: None))
    api = _Api()
    outage.observe(_cluster(grace), cast(Api, api), Manifests("ours", "image", ("w1", "w2")))
    assert api.limits["w2 is not ready"] == limit


def test_what_takes_longer_than_a_disruption_may_last_is_not_looked_at() -> None:
    """The topologies that prove it are those that it says."""
    [need] = [each for each in NEEDS if "controller_manager_node_grace_seconds" in each.text]
    for grace in (50, 140, 141, 600):
        settings = {"controller_manager_node_grace_seconds": grace}
        met = need.met(cast(Topology, SimpleNamespace(settings=settings)))
        if met:
            assert outage.time_until_not_ready(settings) == 50 + grace
        else:
            with pytest.raises(NotObservable, match=f"{need.said[0]} {grace}: "):
                outage.time_until_not_ready(settings)
        assert met == (grace <= 140)
