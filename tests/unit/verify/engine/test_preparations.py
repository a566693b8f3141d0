"""Pods that are prepared: what is said of one that does not come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubeproof.verify.act.pods import Blocked, Manifests
from kubeproof.verify.engine.preparations import Workloads
from kubeproof.verify.observe.api import Api, NotObserved

POD = {"kind": "Pod", "metadata": {"name": "late", "uid": "1"}, "spec": {}, "status": {"phase": "Pending"}}


class Slow:
    """An API of a cluster whose hosts take four times as long, and in which no pod gets anywhere."""

    patience = 4.0

    def observe(self, *_: Any, **__: Any) -> Any:
        raise NotObserved("pods")

    def items(self, path: str, **_: Any) -> list[Any]:
        return [] if "events" in path else [POD]


def test_the_time_that_was_waited_is_said() -> None:
    manifests = SimpleNamespace(namespace="here")
    workloads = Workloads(cast(Api, Slow()), cast(Manifests, manifests))
    with pytest.raises(Blocked, match="not bound to a node within 240 s"):
        workloads.await_all([POD], lambda _: False)
