"""Pods that are submitted when a verification begins, so that they start while other claims are looked at.

Not on slow hosts: there some sixty pods that start together keep each other from it, since what takes longer than the
kubelet's own limits is given up and begun again. Seen on an emulated machine with one processor, on which for twenty
minutes none started. Theirs are submitted when a claim asks for them, and once those before them have begun.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import pytest

from kubeproof.verify.act.pods import (
    ONLY_PLACED,
    READY_SECONDS,
    Blocked,
    Manifests,
    Pod,
    blame,
    is_only_placed,
    is_ready,
)
from kubeproof.verify.observe.api import Api, ApiError, NotObserved
from kubeproof.verify.observe.objects import Object, core, name, path

Until = Callable[[Object], bool]
_LEAST_SECONDS = 5.0
# So many times slower than usual are hosts that better start pods as claims ask for them.
_SLOW = 4.0
_EARLIER_SECONDS = 15.0
# What stands for pods, and is deleted once no test uses it; what else was submitted stays.
_KINDS_WITH_PODS = ("Pod", "ReplicaSet", "ReplicationController", "Deployment")


@dataclass(frozen=True)
class _Preparation:
    build: Callable[[Manifests], Sequence[Object]]
    until: Until


_PREPARATIONS: dict[str, _Preparation] = {}
EARLY: list[str] = ["workloads"]
"""Fixtures of the session that begin with it, if a selected test uses them: their value takes time to ripen."""
Function = TypeVar("Function", bound=Callable[..., Any])


def ahead(api: Api) -> bool:
    """Whether the hosts can start pods while other claims are looked at."""
    return api.patience < _SLOW


def early(function: Function) -> Any:
    """Make a fixture of the session that begins with it, unless hosts are slow: see ``ahead``."""
    EARLY.append(function.__name__)
    return pytest.fixture(scope="session")(function)


def prepared(until: Until = is_ready) -> Callable[[Callable[[Manifests], Object]], Any]:
    """Make a fixture of a function that returns a pod's manifest: the Pod, once it is as ``until`` says.

    The fixture is of the session. The pod is submitted at its start, if any selected test uses it; on slow hosts when
    the first test asks for it.
    """

    def fixture_of(build: Callable[[Manifests], Object]) -> Any:
        fixture_name = build.__name__
        _PREPARATIONS[fixture_name] = _Preparation(lambda manifests: [build(manifests)], until)

        @pytest.fixture(scope="session", name=fixture_name)
        def fixture(workloads: Workloads) -> Pod:
            return workloads.prepared(fixture_name)[0]

        return fixture

    return fixture_of


def prepared_together(until: Until = is_ready) -> Callable[[Callable[[Manifests], Sequence[Object]]], Any]:
    """The same for several objects, of which those that are pods become the fixture's value."""

    def fixture_of(build: Callable[[Manifests], Sequence[Object]]) -> Any:
        fixture_name = build.__name__
        _PREPARATIONS[fixture_name] = _Preparation(build, until)

        @pytest.fixture(scope="session", name=fixture_name)
        def fixture(workloads: Workloads) -> list[Pod]:
            return workloads.prepared(fixture_name)

        return fixture

    return fixture_of


def last_used(users: Iterable[tuple[str, Collection[str]]]) -> dict[str, list[str]]:
    """By test, which fixtures with pods no later test uses; ``users`` are tests in their order, with their fixtures."""
    last = {name: test for test, names in users for name in names if name in _PREPARATIONS or name in EARLY}
    found: dict[str, list[str]] = {}
    for fixture_name, test in last.items():
        found.setdefault(test, []).append(fixture_name)
    return found


class Workloads:
    """The pods of one verification."""

    def __init__(self, api: Api, manifests: Manifests) -> None:
        """Nothing is submitted yet."""
        self.api = api
        self.manifests = manifests
        self._submitted: dict[str, list[Object]] = {}
        self._submitted_at = 0.0

    def submit(self, fixture_names: Collection[str]) -> None:
        """Submit what those of the fixtures stand for that are prepared."""
        if not ahead(self.api):
            self._await_earlier()
        self._submitted_at = time.monotonic()
        for fixture_name, preparation in _PREPARATIONS.items():
            if fixture_name in fixture_names:
                self._submitted[fixture_name] = [self.api.create(each) for each in preparation.build(self.manifests)]

    def prepared(self, fixture_name: str) -> list[Pod]:
        """Submitted pods, once they are as they should be. They are submitted now if they have not been."""
        if fixture_name not in self._submitted:
            self.submit([fixture_name])
        submitted = [item for item in self._submitted[fixture_name] if item["kind"] == "Pod"]
        # All were submitted together: what keeps one from starting is not waited for again with the next.
        passed = (time.monotonic() - self._submitted_at) / self.api.patience
        until = _PREPARATIONS[fixture_name].until
        return self.await_all(submitted, until, max(READY_SECONDS - passed, _LEAST_SECONDS)) if submitted else []

    def release(self, fixture_names: Collection[str]) -> None:
        """Delete the pods that fixtures stand for, and what would replace them: no test uses them any more.

        Dozens that stay cost a node more than those that are looked at: each is probed and counted all the time, and
        for each that waits for a volume its kubelet looks three times a second.
        """
        for fixture_name in fixture_names:
            for item in self._submitted.get(fixture_name, ()):
                if item["kind"] not in _KINDS_WITH_PODS:
                    continue
                # Whatever is left goes with the namespace.
                with contextlib.suppress(httpx.HTTPError, ApiError):
                    self.api.delete(path(item), propagationPolicy="Background")

    def adopt(self, fixture_name: str, created: Sequence[Object]) -> None:
        """Have what an early fixture has created released like what is prepared."""
        self._submitted[fixture_name] = list(created)

    def release_placed(self) -> None:
        """Delete the pods that were only to be placed. Nothing of them ever ran that a kubelet would have to end."""
        pods = core(self.manifests.namespace, "pods")
        with contextlib.suppress(httpx.HTTPError, ApiError):
            self.api.delete(f"{pods}?labelSelector={ONLY_PLACED}", gracePeriodSeconds=0)

    def run(self, manifest: Object, until: Until = is_ready) -> Pod:
        """Create a pod, and wait until it is as it should be. Raises Blocked if it does not get there."""
        return self.await_all([self.api.create(manifest)], until)[0]

    def await_all(self, submitted: Sequence[Object], until: Until, patience: float = READY_SECONDS) -> list[Pod]:
        """Pods that were created, once all are as they should be. Raises Blocked for one that does not get there."""
        wanted = [name(item) for item in submitted]

        def done(items: list[Object]) -> bool:
            present = _named(items, wanted)
            return len(present) == len(wanted) and all(map(until, present))

        pods = core(self.manifests.namespace, "pods")
        try:
            items = self.api.observe(pods, done, what="pods", timeout=patience)
        except NotObserved:
            items = self.api.items(pods)
            late = next((item for item in _named(items, wanted) if not until(item)), None)
            if late:
                raise blame(late, self._warning(late), READY_SECONDS * self.api.patience) from None
            if len(_named(items, wanted)) < len(wanted):
                raise Blocked("controller-manager", f"of the pods {', '.join(wanted)} some are gone") from None
        return [Pod(self.api, item) for item in _named(items, wanted)]

    def _await_earlier(self) -> None:
        """Wait until no pod is on its way, or too long: what waits for a pod of its own says what is wrong."""
        path = core(self.manifests.namespace, "pods")
        with contextlib.suppress(NotObserved):
            self.api.observe(path, lambda items: not any(map(_starts, items)), what="pods", timeout=_EARLIER_SECONDS)

    def _warning(self, pod: Object) -> str:
        """The last warning about a pod; empty if there is none."""
        selected = f"involvedObject.uid={pod['metadata']['uid']},type=Warning"
        events = self.api.items(core(self.manifests.namespace, "events"), fieldSelector=selected)
        return str(events[-1].get("message", "")) if events else ""


def _starts(pod: Object) -> bool:
    """Whether a node has a pod of which it has begun nothing yet, and is going to."""
    states = [
        state
        for kind in ("initContainerStatuses", "containerStatuses")
        for status in pod["status"].get(kind, [])
        for state in (status["state"], status.get("lastState", {}))
    ]
    begun = any(state.get("running") or state.get("terminated") for state in states)
    stays = "deletionTimestamp" not in pod["metadata"] and not is_only_placed(pod)
    return bool(pod["spec"].get("nodeName")) and stays and not begun


def _named(items: Sequence[Object], wanted: Sequence[str]) -> list[Object]:
    """Those of the objects that have one of the names, in the names' order."""
    by_name = {name(item): item for item in items}
    return [by_name[each] for each in wanted if each in by_name]
