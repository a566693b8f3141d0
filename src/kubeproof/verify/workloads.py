"""Pods that are submitted when a verification begins, so that they start while other claims are looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

from kubeproof.verify.api import Api, NotObserved
from kubeproof.verify.objects import Object, collection, name
from kubeproof.verify.pods import READY_SECONDS, Pod, Setting, blame, is_ready

Build = Callable[[Setting], Object]
Until = Callable[[Object], bool]

_BUILDERS: dict[str, tuple[Build, Until]] = {}


def prepared(until: Until = is_ready) -> Callable[[Build], Any]:
    """Make a fixture of a function that returns a pod's manifest: the Pod, once it is as ``until`` says.

    The fixture is of the session. The pod is submitted at its start, if any selected test uses it.
    """

    def fixture_of(build: Build) -> Any:
        fixture_name = build.__name__
        _BUILDERS[fixture_name] = (build, until)

        @pytest.fixture(scope="session", name=fixture_name)
        def fixture(workloads: Workloads) -> Pod:
            return workloads.pod(fixture_name)

        return fixture

    return fixture_of


class Workloads:
    """The pods of one verification."""

    def __init__(self, api: Api, setting: Setting) -> None:
        """Nothing is submitted yet."""
        self.api = api
        self.setting = setting
        self._submitted: dict[str, Object] = {}

    def submit(self, fixture_names: Collection[str]) -> None:
        """Submit the pods of those of the fixtures that are prepared pods."""
        for fixture_name, (build, _) in _BUILDERS.items():
            if fixture_name in fixture_names:
                self._submitted[fixture_name] = self.api.create(build(self.setting))

    def pod(self, fixture_name: str) -> Pod:
        """A submitted pod, once it is as it should be."""
        return self.run(self._submitted[fixture_name], _BUILDERS[fixture_name][1])

    def run(self, submitted: Object, until: Until = is_ready) -> Pod:
        """A pod that was created, once it is as it should be. Raises Blocked if it does not get there."""
        return self.run_all([submitted], until)[0]

    def run_all(self, submitted: Sequence[Object], until: Until = is_ready) -> list[Pod]:
        """Pods that were created, once all are as they should be. Raises Blocked for one that does not get there."""
        wanted = [name(item) for item in submitted]

        def done(items: list[Object]) -> bool:
            return len(ours(items, wanted)) == len(wanted) and all(map(until, ours(items, wanted)))

        try:
            items = self.api.observe(collection(submitted[0]), done, what="pods", timeout=READY_SECONDS)
        except NotObserved:
            items = self.api.items(collection(submitted[0]))
            raise next(blame(item) for item in ours(items, wanted) if not until(item)) from None
        return [Pod(self.api, item) for item in ours(items, wanted)]


def ours(items: Sequence[Object], wanted: Sequence[str]) -> list[Object]:
    """Those of the objects that have one of the names, in the names' order."""
    by_name = {name(item): item for item in items}
    return [by_name[each] for each in wanted if each in by_name]
