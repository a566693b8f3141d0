"""The start of a pod, from kubectl to a running container: eleven steps, judged by records of those who took part.

What is observed (pod_records.py) and what follows from it (here) are kept apart. Records come with the time of the
clock that wrote them. Some are of the act itself: an API server's audit log says when a request came, the runtime's log
when it was asked. Others only say that something had happened by then, since the observer learns it later: these carry
a step's time as "not later than", and a wide tolerance, while direct ones are held against each other strictly.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Self, TypeVar

from kubeproof.verify.observe.clocks import CONTROLLER, Clock
from kubeproof.verify.observe.etcd import Change
from kubeproof.verify.observe.runtime import Request

SCHEDULER = "system:kube-scheduler"
SCHEDULER_SELECTOR = "status.phase!=Succeeded,status.phase!=Failed"
"""What the scheduler watches: pods that are not over."""
KUBELET_SELECTOR = "spec.nodeName!="
"""What kubelets watch, all together: pods that have a node."""
_NODE = "system:node:"
_KUBECTL = "kubectl"
# How late a watch of the verification may note an event, on a machine that has much to do.
_LATE_SECONDS = 10.0
_WRITES = frozenset({"create", "update", "patch"})
_MS = 1000.0

Item = TypeVar("Item")

LANES = ("kubectl", "API server", "etcd", "scheduler", "kubelet", "runtime")


@dataclass(frozen=True)
class Stage:
    """A step as the architecture draws it: who acts, and on whom."""

    number: int
    title: str
    lane: str
    to: str


STAGES = tuple(
    Stage(number, *rest)
    for number, rest in enumerate(
        (
            ("kubectl writes the pod to the API server", "kubectl", "API server"),
            ("the API server validates it and stores it", "API server", "etcd"),
            ("etcd notifies the API server", "etcd", "API server"),
            ("the scheduler is notified of a pod without a node", "API server", "scheduler"),
            ("it decides, and binds the pod through the API server", "scheduler", "API server"),
            ("the binding is stored", "API server", "etcd"),
            ("etcd notifies the API server", "etcd", "API server"),
            ("the node's kubelet is notified of its pod", "API server", "kubelet"),
            ("the kubelet has the runtime create the containers", "kubelet", "runtime"),
            ("the kubelet reports that the pod runs", "kubelet", "API server"),
            ("the status is stored", "API server", "etcd"),
        ),
        start=1,
    )
)


@dataclass(frozen=True)
class Notification:
    """The events of the pod on a watch of the verification's own, with a component's selector, and their times."""

    selector: str
    revision: int
    node: str
    phase: str
    at: float


@dataclass
class Recording:
    """All that was recorded of one pod. ``audit`` has records as the API servers write them, by host."""

    namespace: str
    pod: str
    uid: str
    key: str
    etcd_host: str
    node: str = ""
    node_host: str = ""
    clocks: dict[str, Clock] = field(default_factory=dict)
    audit: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    notified: list[Notification] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    runtime_clients: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """It as JSON."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """It from JSON."""
        return cls(
            **{
                **document,
                "clocks": {name: Clock(**clock) for name, clock in document["clocks"].items()},
                "changes": [Change(**change) for change in document["changes"]],
                "notified": [Notification(**each) for each in document["notified"]],
                "requests": [Request(**request) for request in document["requests"]],
            }
        )


@dataclass(frozen=True)
class Step:
    """A step that was seen, ``at`` in seconds on the controller's clock."""

    stage: Stage
    at: float
    clock: str
    uncertainty: float
    inferred: bool
    by: str
    record: str


@dataclass(frozen=True)
class PodWay:
    """What became of a pod, step by step, and what was not as it should be."""

    namespace: str
    pod: str
    node: str
    steps: tuple[Step, ...]
    problems: tuple[str, ...]

    @property
    def started(self) -> float:
        """When the first step was seen."""
        return self.steps[0].at if self.steps else 0.0

    @property
    def missing(self) -> tuple[Stage, ...]:
        """The steps of which there is no record."""
        seen = {step.stage for step in self.steps}
        return tuple(stage for stage in STAGES if stage not in seen)

    def document(self) -> dict[str, Any]:
        """It as it is put into a report."""
        started = datetime.datetime.fromtimestamp(self.started, datetime.UTC)
        return {
            "pod": self.pod,
            "namespace": self.namespace,
            "node": self.node,
            "started": started.isoformat(timespec="milliseconds"),
            "steps": [
                {
                    "number": step.stage.number,
                    "title": step.stage.title,
                    "lane": step.stage.lane,
                    "to": step.stage.to,
                    "at_ms": round((step.at - self.started) * _MS, 1),
                    "clock": step.clock,
                    "uncertainty_ms": round(step.uncertainty * _MS, 1),
                    "inferred": step.inferred,
                    "record": step.record,
                    "by": step.by,
                }
                for step in self.steps
            ],
            "problems": list(self.problems),
        }


def trace(recording: Recording) -> PodWay:
    """Find the steps in the records, whatever their order, and judge them."""
    return _Trace(recording).way()


def seconds(timestamp: str) -> float:
    """A time as logs write it."""
    return datetime.datetime.fromisoformat(timestamp).timestamp()


@dataclass(frozen=True)
class _Moment:
    """A time on a host's clock."""

    at: float
    clock: str


@dataclass(frozen=True)
class _Call:
    """A request that was answered, from the audit log of an API server."""

    server: str
    user: str
    agent: str
    verb: str
    subresource: str
    code: int
    received: float
    answered: float

    @property
    def succeeded(self) -> bool:
        return 200 <= self.code < 300


@dataclass(frozen=True)
class _Listener:
    """A component's own watch on pods, from the audit log."""

    server: str
    user: str
    opened: float
    closed: float


@dataclass(frozen=True)
class _Sighting:
    """A step as it was seen. ``inferred``: at that time it had happened, when exactly is not known."""

    stage: Stage
    moment: _Moment
    inferred: bool
    by: str
    record: str


class _Missing(Exception):
    """There is no record of a step."""


class _Trace:
    """The records of one pod, sorted by what they are about."""

    def __init__(self, recording: Recording) -> None:
        self.given = recording
        self.problems: list[str] = []
        self.calls = sorted(_calls(recording), key=lambda call: self._true(_Moment(call.received, call.server)))
        self.listeners = list(_listeners(recording))
        mine = [change for change in recording.changes if change.key == recording.key and not change.deleted]
        # Notified twice, the first time counts.
        self.changes = _first({change.revision: change for change in sorted(mine, key=lambda each: -each.at)})
        notified = {
            (each.selector, each.revision): each for each in sorted(recording.notified, key=lambda each: -each.at)
        }
        self.notified = sorted(notified.values(), key=lambda each: each.revision)
        self.requests = sorted(set(recording.requests), key=lambda request: seconds(request.at))
        revisions = [change.revision for change in self.changes] + [each.revision for each in self.notified]
        self.created = min(revisions, default=0)
        self.bound = min((each.revision for each in self.notified if each.node), default=0)
        self.running = min((each.revision for each in self.notified if each.phase == "Running"), default=0)

    def way(self) -> PodWay:
        finders: Sequence[Callable[[Stage], _Sighting]] = (
            self._written,
            lambda stage: self._stored(stage, self._creation(), self.created),
            lambda stage: self._notified(stage, self.created),
            self._scheduler_notified,
            self._decided,
            lambda stage: self._stored(stage, self._binding(), self.bound),
            lambda stage: self._notified(stage, self.bound),
            self._kubelet_notified,
            self._runtime_asked,
            self._reported,
            lambda stage: self._stored(stage, self._report(), self.running),
        )
        seen = []
        for stage, find in zip(STAGES, finders, strict=True):
            try:
                seen.append(find(stage))
            except _Missing as missing:
                self.problems.append(f"step {stage.number} ({stage.title}) is missing: {missing}")
        self._check_writes()
        self._check_order(seen)
        steps = tuple(self._steps(seen))
        return PodWay(self.given.namespace, self.given.pod, self.given.node, steps, tuple(self.problems))

    def _written(self, stage: Stage) -> _Sighting:
        call = _required(self._creation(), "the audit log has no successful creation of it")
        if call.agent != _KUBECTL:
            self.problems.append(f"step 1: the pod was created with {call.agent or 'nothing known'}, not with kubectl")
        return self._asked(stage, call, "create pods")

    def _stored(self, stage: Stage, call: _Call | None, revision: int) -> _Sighting:
        change = _required(self._change(revision), f"etcd has reported no such change of {self.given.key}")
        moments = [_Moment(change.at, self.given.etcd_host)]
        answered = ""
        if call:
            moments.append(_Moment(call.answered, call.server))
            answered = f"; the request was answered {call.code}"
        record = f"etcd: revision {revision} of the pod's key{answered}; no later than the first of both"
        by = f"API server on {call.server}" if call else "API server"
        return _Sighting(stage, min(moments, key=self._true), True, by, record)

    def _notified(self, stage: Stage, revision: int) -> _Sighting:
        change = _required(self._change(revision), f"a watch on {self.given.key} was not notified of it")
        passed_on = _required(
            next((each for each in self.notified if each.revision == revision), None),
            f"the API server has notified no watch of revision {revision}",
        )
        here, there = _Moment(change.at, self.given.etcd_host), _Moment(passed_on.at, CONTROLLER)
        late = self._true(there) - self._true(here)
        when = f"{late * _MS:.0f} ms later" if late > self._slack(here, there) else "by then, as far as clocks can tell"
        record = f"watch at etcd: notified of revision {revision}; the API server's watchers had it {when}"
        return _Sighting(stage, here, True, f"etcd on {here.clock}", record)

    def _scheduler_notified(self, stage: Stage) -> _Sighting:
        notified = self._notification(SCHEDULER_SELECTOR, self.created)
        binding = self._binding()
        acted = "it bound the pod" if binding and binding.user == SCHEDULER else ""
        return self._delivered(stage, notified, SCHEDULER, acted)

    def _kubelet_notified(self, stage: Stage) -> _Sighting:
        notified = self._notification(KUBELET_SELECTOR, self.bound)
        acted = "its node's runtime was asked for it" if self.requests else ""
        return self._delivered(stage, notified, _NODE + notified.node, acted)

    def _delivered(self, stage: Stage, notified: Notification, user: str, acted: str) -> _Sighting:
        moment = _Moment(notified.at, CONTROLLER)
        listener = self._listener(user, moment)
        since = f"{user} listens since {_clock_time(listener.opened)}" if listener else f"inferred for {user}"
        then = f", and {acted}" if acted else ""
        record = f"{since}; a watch at the API server for {notified.selector!r} was notified by then{then}"
        return _Sighting(stage, moment, True, f"API server{f' on {listener.server}' if listener else ''}", record)

    def _decided(self, stage: Stage) -> _Sighting:
        call = _required(self._binding(), "the audit log has no successful binding of it")
        if call.user != SCHEDULER:
            self.problems.append(f"step 5: the pod was bound by {call.user}, not by {SCHEDULER}")
        tried = sum(each.subresource == "binding" and not each.succeeded for each in self.calls)
        return self._asked(stage, call, f"create pods/binding{f', after {tried} that were refused' if tried else ''}")

    def _runtime_asked(self, stage: Stage) -> _Sighting:
        first = _required(next(iter(self.requests), None), "the node's runtime knows of no request for this pod")
        if "kubelet" not in self.given.runtime_clients:
            others = ", ".join(self.given.runtime_clients) or "nobody"
            self.problems.append(
                f"step 9: the kubelet of {self.given.node} is not connected to the runtime's socket, {others} is"
            )
        start = seconds(first.at)
        asked = [f"{each.asked} +{(seconds(each.at) - start) * _MS:.0f} ms" for each in self.requests[1:]]
        record = f"{first.source}: {', '.join([first.asked, *asked])}"
        return _Sighting(stage, _Moment(start, self.given.node_host), False, f"kubelet of {self.given.node}", record)

    def _reported(self, stage: Stage) -> _Sighting:
        call = _required(self._report(), "the audit log has no report of its status that etcd has stored as Running")
        expected = _NODE + self.given.node
        if call.user != expected:
            self.problems.append(f"step 10: the pod's status was written by {call.user}, not by {expected}")
        return self._asked(stage, call, f"{call.verb} pods/status")

    def _creation(self) -> _Call | None:
        return self._successful("create", "")

    def _binding(self) -> _Call | None:
        return self._successful("create", "binding")

    def _report(self) -> _Call | None:
        """The status report that is stored as Running: the last one that came before etcd's notification of that."""
        change = self._change(self.running)
        if not change:
            return None
        stored = _Moment(change.at, self.given.etcd_host)
        before = [
            call
            for call in self.calls
            if call.succeeded
            and call.subresource == "status"
            and call.verb in _WRITES
            and not self._surely_after(_Moment(call.received, call.server), stored)
        ]
        return before[-1] if before else None

    def _successful(self, verb: str, subresource: str) -> _Call | None:
        wanted = (verb, subresource)
        return next((call for call in self.calls if (call.verb, call.subresource) == wanted and call.succeeded), None)

    def _change(self, revision: int) -> Change | None:
        return next((change for change in self.changes if change.revision == revision), None)

    def _notification(self, selector: str, revision: int) -> Notification:
        found = (each for each in self.notified if each.selector == selector and each.revision == revision)
        return _required(next(found, None), f"the API server has notified no watch for {selector!r} of it")

    def _listener(self, user: str, moment: _Moment) -> _Listener | None:
        """A component's own watch that was open at a time."""
        at = self._true(moment)
        for each in self.listeners:
            opened, closed = (self._true(_Moment(when, each.server)) for when in (each.opened, each.closed))
            if each.user == user and opened <= at <= closed:
                return each
        return None

    def _asked(self, stage: Stage, call: _Call, what: str) -> _Sighting:
        record = f"audit log of {call.server}: {what}, answered {call.code}"
        return _Sighting(stage, _Moment(call.received, call.server), False, call.user, record)

    def _check_writes(self) -> None:
        """Each change in etcd needs a request that came before it: what has none was written past the API servers."""
        writes = [call for call in self.calls if call.succeeded and call.verb in _WRITES]
        last = self.running or self.bound or self.created
        for number, change in enumerate(change for change in self.changes if change.revision <= last):
            stored = _Moment(change.at, self.given.etcd_host)
            came = sum(not self._surely_after(_Moment(call.received, call.server), stored) for call in writes)
            if came <= number:
                self.problems.append(
                    f"etcd reported {number + 1} changes of the pod's key up to revision {change.revision}, the API "
                    f"servers had {came} requests for them by then: the pod was written past them"
                )
                return

    def _check_order(self, seen: Sequence[_Sighting]) -> None:
        blamed: set[int] = set()
        # Neighbours first: what is out of order with many is said once.
        for before, after in sorted(combinations(seen, 2), key=_distance):
            pair = {before.stage.number, after.stage.number}
            late = self._earliest(before) - self._true(after.moment)
            slack = self._slack(before.moment, after.moment)
            if late > slack and not pair & blamed:
                blamed |= pair
                gap = (self._true(before.moment) - self._true(after.moment)) * _MS
                self.problems.append(
                    f"step {after.stage.number} ({after.stage.title}) is recorded {gap:.0f} ms before step "
                    f"{before.stage.number} ({before.stage.title}); the clocks of {after.moment.clock} and "
                    f"{before.moment.clock} are known to ±{slack * _MS:.0f} ms"
                )

    def _steps(self, seen: Sequence[_Sighting]) -> Iterator[Step]:
        """The steps with times for a reader: one that had happened by a time had done so when the next one began."""
        for index, sighting in enumerate(seen):
            at = self._true(sighting.moment)
            if sighting.inferred:
                at = min([at, *(self._true(later.moment) for later in seen[index + 1 :])])
                at = max([at, *(self._true(earlier.moment) for earlier in seen[:index] if not earlier.inferred)])
            uncertainty = self._slack(seen[0].moment, sighting.moment)
            clock = sighting.moment.clock
            yield Step(sighting.stage, at, clock, uncertainty, sighting.inferred, sighting.by, sighting.record)

    def _earliest(self, sighting: _Sighting) -> float:
        return self._true(sighting.moment) - (_LATE_SECONDS if sighting.inferred else 0.0)

    def _surely_after(self, one: _Moment, other: _Moment) -> bool:
        return self._true(one) - self._true(other) > self._slack(one, other)

    def _slack(self, one: _Moment, other: _Moment) -> float:
        """How far two times may seem apart without being so. One clock agrees with itself."""
        if one.clock == other.clock:
            return 0.0
        return sum(self.given.clocks[moment.clock].uncertainty for moment in (one, other))

    def _true(self, moment: _Moment) -> float:
        return moment.at - self.given.clocks[moment.clock].ahead


def _calls(recording: Recording) -> Iterator[_Call]:
    """The answered requests for the pod, each once."""
    for server, record in _records(recording):
        reference = record.get("objectRef", {})
        place = (reference.get("resource"), reference.get("namespace"), reference.get("name"))
        # A binding names the pod's uid, a creation can't; those that do must mean this one.
        same = reference.get("uid", recording.uid) == recording.uid
        if record["stage"] == "ResponseComplete" and place == ("pods", recording.namespace, recording.pod) and same:
            yield _Call(
                server=server,
                user=record["user"]["username"],
                agent=record.get("userAgent", "").partition("/")[0],
                verb=record["verb"],
                subresource=reference.get("subresource", ""),
                code=record.get("responseStatus", {}).get("code", 0),
                received=seconds(record["requestReceivedTimestamp"]),
                answered=seconds(record["stageTimestamp"]),
            )


def _listeners(recording: Recording) -> Iterator[_Listener]:
    """The scheduler's and the kubelets' own watches on pods of the whole cluster, as far as the audit log has them."""
    closed = {
        record["auditID"]: seconds(record["stageTimestamp"])
        for _, record in _records(recording)
        if record["verb"] == "watch" and record["stage"] == "ResponseComplete"
    }
    for server, record in _records(recording):
        user, uri = record["user"]["username"], record.get("requestURI", "")
        own = user == SCHEDULER or f"spec.nodeName%3D{user.removeprefix(_NODE)}" in uri
        started = record["verb"] == "watch" and record["stage"] == "ResponseStarted"
        if started and own and uri.startswith("/api/v1/pods?"):
            ended = closed.get(record["auditID"], float("inf"))
            yield _Listener(server, user, seconds(record["stageTimestamp"]), ended)


def _records(recording: Recording) -> Iterator[tuple[str, dict[str, Any]]]:
    found = {
        (record["auditID"], record["stage"]): (server, record)
        for server, records in recording.audit.items()
        for record in records
    }
    yield from found.values()


def _first(changes: Mapping[int, Change]) -> list[Change]:
    return [changes[revision] for revision in sorted(changes)]


def _required(found: Item | None, missing: str) -> Item:
    if found is None:
        raise _Missing(missing)
    return found


def _distance(pair: Iterable[_Sighting]) -> int:
    before, after = pair
    return after.stage.number - before.stage.number


def _clock_time(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%H:%M:%S")
