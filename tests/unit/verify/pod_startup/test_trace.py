"""The start of a pod, judged by records: those of a real one, and the same with something wrong."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from kubeproof.core import paths
from kubeproof.verify.observe import runtime
from kubeproof.verify.observe.clocks import Clock
from kubeproof.verify.pod_startup.drawing import can_show, draw
from kubeproof.verify.pod_startup.trace import KUBELET_SELECTOR, SCHEDULER_SELECTOR, STAGES, Recording, trace

RECORDED = json.loads((Path(__file__).parent / "data" / "pod_way.json").read_text())
# Of one real pod: the revisions of its creation, binding, two reports on the way, and the one that says it runs.
CREATED, BOUND, RUNNING = 1074, 1077, 1087
API_HOST, NODE = "cp1", "w2"

Spoil = Callable[[Recording], None]


@pytest.fixture
def recording() -> Recording:
    return Recording.of(copy.deepcopy(RECORDED))


def requests_for(recording: Recording, verb: str, subresource: str = "") -> list[dict[str, Any]]:
    return [
        record
        for record in recording.audit[API_HOST]
        if record["verb"] == verb and record["objectRef"].get("subresource", "") == subresource
    ]


def without_request(verb: str, subresource: str = "") -> Spoil:
    def spoil(recording: Recording) -> None:
        unwanted = requests_for(recording, verb, subresource)
        recording.audit[API_HOST] = [record for record in recording.audit[API_HOST] if record not in unwanted]

    return spoil


def without_change(revision: int) -> Spoil:
    def spoil(recording: Recording) -> None:
        recording.changes = [change for change in recording.changes if change.revision != revision]

    return spoil


def without_notification(selector: str) -> Spoil:
    def spoil(recording: Recording) -> None:
        recording.notified = [notified for notified in recording.notified if notified.selector != selector]

    return spoil


def without_requests_to_the_runtime(recording: Recording) -> None:
    recording.requests = []


def never_running(recording: Recording) -> None:
    recording.notified = [notified for notified in recording.notified if notified.revision != RUNNING]


def test_a_real_pods_way_is_found(recording: Recording) -> None:
    way = trace(recording)
    assert way.problems == ()
    assert [step.stage for step in way.steps] == list(STAGES)
    by = {step.stage.number: step.by for step in way.steps}
    assert (by[1], by[5], by[9], by[10]) == (
        "kubeproof-admin",
        "system:kube-scheduler",
        f"kubelet of {NODE}",
        f"system:node:{NODE}",
    )
    times = [step.at for step in way.steps]
    assert times == sorted(times)


def test_what_is_only_inferred_says_so(recording: Recording) -> None:
    steps = trace(recording).steps
    assert [step.stage.number for step in steps if not step.inferred] == [1, 5, 9, 10]
    notified = [step.record for step in steps if step.stage.number in {4, 8}]
    assert notified[0].startswith("system:kube-scheduler listens since 14:46:46")
    assert notified[1].startswith("system:node:w2 listens since 14:41:41")


def test_a_component_whose_watch_is_not_in_the_audit_log_is_not_said_to_listen(recording: Recording) -> None:
    without_request("watch")(recording)
    way = trace(recording)
    assert way.problems == ()
    assert [step.record[:12] for step in way.steps if step.stage.number in {4, 8}] == ["inferred for"] * 2


def test_the_order_of_records_and_records_that_come_twice_change_nothing(recording: Recording) -> None:
    expected = trace(recording).document()
    shuffle = random.Random(7).shuffle  # noqa: S311 - the same at each run is what is wanted
    kinds: list[list[Any]] = [*recording.audit.values(), recording.changes, recording.notified, recording.requests]
    for records in kinds:
        records.extend(copy.deepcopy(records))
        shuffle(records)
    assert trace(recording).document() == expected


@pytest.mark.parametrize(
    ("spoil", "missing"),
    [
        (without_request("create"), {1}),
        (without_change(CREATED), {2, 3}),
        (without_notification(SCHEDULER_SELECTOR), {3, 4}),
        (without_request("create", "binding"), {5}),
        (without_change(BOUND), {6, 7}),
        (without_notification(KUBELET_SELECTOR), {8}),
        (without_requests_to_the_runtime, {9}),
        (without_request("patch", "status"), {10}),
        (without_change(RUNNING), {10, 11}),
        (never_running, {10, 11}),
    ],
)
def test_a_step_without_a_record_is_named(recording: Recording, spoil: Spoil, missing: set[int]) -> None:
    spoil(recording)
    way = trace(recording)
    assert {stage.number for stage in way.missing} == missing
    for number in missing:
        assert any(problem.startswith(f"step {number} (") and "is missing: " in problem for problem in way.problems)


def test_nothing_at_all_is_eleven_missing_steps(recording: Recording) -> None:
    empty = Recording(recording.namespace, recording.pod, recording.uid, recording.key, API_HOST)
    way = trace(empty)
    assert len(way.missing) == len(way.problems) == len(STAGES)
    assert way.document()["steps"] == []


def ahead(recording: Recording, seconds: float) -> None:
    """Let the node's clock be ahead."""
    for number, request in enumerate(recording.requests):
        text, _, fraction = request.at.rstrip("Z").rpartition(".")
        hour, minute, second = (int(part) for part in text[-8:].split(":"))
        total = hour * 3600 + minute * 60 + second + float(f"0.{fraction}") + seconds
        at = f"{text[:-8]}{int(total // 3600):02}:{int(total // 60 % 60):02}:{total % 60:09.6f}Z"
        recording.requests[number] = dataclasses.replace(request, at=at)


@pytest.mark.parametrize("seconds", [-7.0, 7.0])
def test_a_clock_that_is_known_to_be_wrong_is_corrected(recording: Recording, seconds: float) -> None:
    expected = {step.stage.number: step.at for step in trace(recording).steps}
    ahead(recording, seconds)
    clock = recording.clocks[NODE]
    recording.clocks[NODE] = Clock(clock.ahead + seconds, clock.uncertainty)
    way = trace(recording)
    assert way.problems == ()
    assert {step.stage.number: step.at for step in way.steps} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("seconds", "pair"), [(-7.0, (9, 5)), (7.0, (10, 9))])
def test_a_clock_that_is_wrong_beyond_what_was_measured_is_named(
    recording: Recording, seconds: float, pair: tuple[int, int]
) -> None:
    ahead(recording, seconds)
    [problem] = trace(recording).problems
    later, earlier = pair
    assert problem.startswith(f"step {later} (")
    assert f" before step {earlier} (" in problem
    assert NODE in problem
    assert f"the clocks of {NODE}" in problem or f" and {NODE} are known" in problem


def test_what_the_clocks_leave_open_is_no_problem(recording: Recording) -> None:
    ahead(recording, -7.0)
    recording.clocks[NODE] = Clock(0.0, 8.0)
    assert trace(recording).problems == ()


def test_a_binding_by_somebody_else_is_named(recording: Recording) -> None:
    [binding] = requests_for(recording, "create", "binding")
    binding["user"]["username"] = "kubeproof-admin"
    assert trace(recording).problems == ("step 5: the pod was bound by kubeproof-admin, not by system:kube-scheduler",)


def test_a_status_by_somebody_else_is_named(recording: Recording) -> None:
    for record in requests_for(recording, "patch", "status"):
        record["user"]["username"] = "system:node:w1"
    assert trace(recording).problems == (
        "step 10: the pod's status was written by system:node:w1, not by system:node:w2",
    )


def test_a_creation_by_another_program_is_named(recording: Recording) -> None:
    [creation] = requests_for(recording, "create")
    creation["userAgent"] = "curl/8.0"
    assert trace(recording).problems == ("step 1: the pod was created with curl, not with kubectl",)


def test_a_runtime_that_the_kubelet_does_not_talk_to_is_named(recording: Recording) -> None:
    recording.runtime_clients = ["ctr"]
    [problem] = trace(recording).problems
    assert problem == "step 9: the kubelet of w2 is not connected to the runtime's socket, ctr is"


def test_a_binding_that_was_refused_first_is_told_and_no_problem(recording: Recording) -> None:
    [binding] = requests_for(recording, "create", "binding")
    refused = copy.deepcopy(binding) | {"auditID": "refused"}
    refused["responseStatus"] = {"code": 409, "reason": "Conflict"}
    recording.audit[API_HOST].append(refused)
    way = trace(recording)
    assert way.problems == ()
    assert way.steps[4].record.endswith("after 1 that were refused, answered 201")


def test_a_change_past_the_api_servers_is_named(recording: Recording) -> None:
    bound = next(change for change in recording.changes if change.revision == BOUND)
    recording.changes.append(dataclasses.replace(bound, revision=BOUND + 1))
    [problem] = trace(recording).problems
    assert "written past them" in problem


def test_a_pod_in_etcd_before_it_was_asked_for_is_named(recording: Recording) -> None:
    recording.changes[0] = dataclasses.replace(recording.changes[0], at=recording.changes[0].at - 60)
    assert any("before step 1 (" in problem for problem in trace(recording).problems)


def test_two_pods_at_a_time_are_kept_apart(recording: Recording) -> None:
    expected = trace(recording).document()
    other = Recording.of(json.loads(json.dumps(RECORDED).replace("pod-way", "other").replace(RECORDED["uid"], "5a")))
    for server, records in other.audit.items():
        recording.audit[server] += [record | {"auditID": f"other-{number}"} for number, record in enumerate(records)]
    recording.changes += [dataclasses.replace(change, revision=change.revision + 1) for change in other.changes]
    assert trace(recording).document() == expected


def test_what_goes_into_the_report_is_as_its_schema_says(recording: Recording) -> None:
    schema = json.loads((paths.PROJECT / "docs" / "report.schema.json").read_text())
    jsonschema.validate(trace(recording).document(), {**schema["$defs"]["pod_way"], "$defs": schema["$defs"]})
    assert Recording.of(json.loads(json.dumps(recording.document()))) == recording


LOG = r"""
Started containerd.service.
time="2026-01-01T10:00:00.100000001Z" level=info msg="RunPodSandbox for name:\"one\"  uid:\"1-1\"  namespace:\"n\""
time="2026-01-01T10:00:00.200000001Z" level=info msg="RunPodSandbox for name:\"two\"  uid:\"2-2\"  namespace:\"n\""
time="2026-01-01T10:00:00.300000001Z" level=info msg="RunPodSandbox for name:\"two\"  uid:\"2-2\"  namespace:\"n\" returns sandbox id \"BBBB\""
time="2026-01-01T10:00:00.400000001Z" level=info msg="RunPodSandbox for name:\"one\"  uid:\"1-1\"  namespace:\"n\" returns sandbox id \"AAAA\""
time="2026-01-01T10:00:00.500000001Z" level=info msg="CreateContainer within sandbox \"BBBB\" for container name:\"x\""
time="2026-01-01T10:00:00.600000001Z" level=info msg="CreateContainer within sandbox \"AAAA\" for container name:\"x\""
time="2026-01-01T10:00:00.700000001Z" level=info msg="CreateContainer within sandbox \"AAAA\" for name:\"x\" returns container id \"CCCC\""
time="2026-01-01T10:00:00.800000001Z" level=info msg="StartContainer for \"CCCC\""
time="2026-01-01T10:00:00.900000001Z" level=info msg="StartContainer for \"CCCC\" returns successfully"
"""  # noqa: E501 - as the runtime writes it


def test_the_runtimes_log_is_followed_from_pod_to_container() -> None:
    log = LOG
    for letter in "ABC":
        log = log.replace(letter * 4, letter.lower() * 64)
    found = runtime.logged(log, "1-1")
    assert [(request.asked, request.at[20:23]) for request in found] == [
        ("RunPodSandbox", "100"),
        ("CreateContainer", "600"),
        ("StartContainer", "800"),
    ]


def test_the_drawing_fits_and_shows_each_step(recording: Recording) -> None:
    way = trace(recording).document()
    for plain in (False, True):
        lines = draw(way, width=100, plain=plain)
        assert max(map(len, lines)) <= 100
        assert [int(line[:2]) for line in lines[2 : 2 + len(STAGES)]] == [stage.number for stage in STAGES]
        assert "\n".join(lines).isascii() == plain


def test_a_terminal_without_the_signs_gets_plain_ones() -> None:
    assert can_show("utf-8")
    assert not can_show("latin-1")
    assert not can_show(None)


def test_the_drawing_tells_of_problems_and_leaves_missing_steps_out(recording: Recording) -> None:
    without_requests_to_the_runtime(recording)
    text = "\n".join(draw(trace(recording).document(), width=100, plain=True))
    assert "step 9 (the kubelet has the runtime create the containers) is missing" in " ".join(text.split())
