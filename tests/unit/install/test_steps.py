"""A run's steps from what check mode reports: their order, batches, reasons and gates."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from tests.unit.install import plans

from kubeproof.core import paths
from kubeproof.install.gates import Gate
from kubeproof.install.reasons import Reason
from kubeproof.install.steps import PLANNED, Place, Report, Step, batches, data, planned, reports, steps

AT = Place(1, "Install etcd", "etcd", "Install etcd", "install_component")


def short(made: list[Step]) -> list[tuple[str, tuple[str, ...], tuple[int, ...]]]:
    return [(step.place.phase, step.hosts, step.batches) for step in made]


def test_steps_are_in_the_order_of_the_run_with_the_leader_last_and_one_kubelet_first() -> None:
    nodes = ("w1", "w2", "w3", "w4", "w5")
    assert short(plans.made()) == [
        ("Install etcd", ("cp1", "cp2", "cp3"), (3,)),
        ("Install etcd", ("cp1", "cp3"), (1, 1)),
        ("Restart the etcd leader", ("cp2",), (1,)),
        ("Restart the etcd leader", ("cp2",), (1,)),
        (plans.NODES, nodes, (5,)),
        (plans.NODES, nodes, (1, 2, 2)),
        ("Wait for nodes and add-ons", ("cp1",), (1,)),
    ]


def test_the_order_in_which_hosts_answer_does_not_matter() -> None:
    found = plans.reports()
    found[5] = replace(found[5], reason=plans.SETTINGS)
    for begin in range(len(found)):
        rotated = found[begin:] + found[:begin]
        assert steps(rotated) == steps(rotated[::-1]) == steps(found)


@pytest.mark.parametrize(
    ("hosts", "at_once", "sizes"),
    [
        (1, 0, (1,)),
        (7, 0, (7,)),
        (1, 1, (1,)),
        (3, 1, (1, 1, 1)),
        (5, 2, (1, 2, 2)),
        (6, 2, (1, 2, 2, 1)),
        (3, 5, (1, 2)),
    ],
)
def test_the_first_host_of_a_rolling_restart_goes_alone(hosts: int, at_once: int, sizes: tuple[int, ...]) -> None:
    assert batches(hosts, at_once) == sizes
    assert sum(sizes) == hosts


def test_hosts_of_one_rolling_restart_are_one_step_whatever_their_reasons() -> None:
    """Two steps would each have a first host that goes alone: the run has one."""
    other = Reason("foreign", "it was not started by kubeproof")
    found = [
        plans.restart(AT, "w1", "kubelet.service", plans.KUBELET, 2),
        plans.restart(AT, "w2", "kubelet.service", plans.KUBELET, 2, other),
        Report(
            AT, "w3", ("kubelet.service: enabled", "kubelet.service: restarted"), other,
            ("kubelet.service",), plans.KUBELET, 2,
        ),
    ]  # fmt: skip
    (step,) = steps(found)
    assert (step.hosts, step.batches) == (("w1", "w2", "w3"), (1, 2))
    assert [(each.reason.kind, each.hosts) for each in step.reasons] == [
        ("outdated", ("w1",)),
        ("foreign", ("w2", "w3")),
    ]
    assert step.does == ("kubelet.service: restarted", "kubelet.service: enabled")


def test_what_is_started_at_once_precedes_the_hosts_that_wait_for_each_other() -> None:
    down = Report(AT, "w9", ("kubelet.service: started",), Reason("down", "it was failed"), (), plans.KUBELET)
    made = steps([plans.restart(AT, "w1", "kubelet.service", plans.KUBELET, 1), down])
    assert [step.hosts for step in made] == [("w9",), ("w1",)]


def test_the_same_task_for_different_reasons_is_two_steps() -> None:
    found = [
        Report(AT, host, ("/etc/x: content",), Reason.of(kind)) for host, kind in (("a", "settings"), ("b", "host"))
    ]
    assert [step.hosts for step in steps(found)] == [("a",), ("b",)]


def test_the_same_change_in_two_plays_is_two_steps() -> None:
    """With static pods the play of the API servers installs their hosts' kubelets, long before that of all nodes."""
    late = Place(9, plans.NODES, AT.role, AT.task, AT.action)
    found = [Report(at, host, ("/etc/x: content",), plans.SETTINGS) for at, host in ((AT, "cp1"), (late, "w1"))]
    assert [(step.place.phase, step.hosts) for step in steps(found)] == [
        ("Install etcd", ("cp1",)),
        (plans.NODES, ("w1",)),
    ]


def test_where_nothing_changes_nothing_is_waited_for() -> None:
    assert steps([report for report in plans.reports() if not report.does]) == []
    assert steps([]) == []


def test_hosts_are_in_the_order_of_their_numbers() -> None:
    found = [Report(AT, host, ("x: content",), plans.SETTINGS) for host in ("w10", "w2", "1", "cp1", "w10")]
    assert steps(found)[0].hosts == ("1", "cp1", "w2", "w10")


class TestResults:
    """What tasks return in check mode."""

    def one(self, result: dict[str, Any], place: Place = AT) -> Report:
        (report,) = reports(place, "cp1", result)
        return report

    def test_a_unit(self) -> None:
        step = planned(plans.CHANGED, restarts=["etcd.service"], gate=plans.ETCD, at_once=1)
        done = ["enabled", "restarted: changed since its start: /etc/etcd/etcd.yaml"]
        report = self.one({"changed": True, "unit": "etcd.service", "done": done, PLANNED: step})
        does = ("etcd.service: enabled", "etcd.service: restarted")
        assert report == Report(AT, "cp1", does, plans.CHANGED, ("etcd.service",), plans.ETCD, 1)

    def test_files_objects_and_what_the_controller_made(self) -> None:
        changes = [{"path": "/etc/x", "what": "issued: there is none"}, "line"]
        assert self.one({"changed": True, "changes": changes}).does == ("/etc/x: issued: there is none", "line")
        assert self.one({"changed": True, "made": ["CAs and keys"]}).does == ("CAs and keys: created",)
        objects = Place(2, "Install DNS", "dns", "Apply", "kube_objects")
        report = self.one({"changed": True, "changes": [{"path": "Service a/b", "what": "changed"}]}, objects)
        assert (report.reason, report.restarts) == (Reason.of("object"), ())

    def test_a_task_that_lists_nothing_is_named(self) -> None:
        assert self.one({"changed": True}).does == ("Install etcd",)

    def test_a_loop_has_a_report_for_each_item_that_changes(self) -> None:
        removed = {"changed": True, "done": ["removed"]}
        items = [
            {**removed, "unit": "a.service"},
            {"changed": False, "unit": "b.service"},
            {**removed, "unit": "c.service"},
        ]
        found = list(reports(AT, "cp1", {"changed": True, "results": items}))
        assert [report.does for report in found] == [("a.service: removed",), ("c.service: removed",)]

    def test_what_is_only_waited_for_changes_nothing(self) -> None:
        report = self.one({"changed": False, PLANNED: {"gate": {"after": ["nodes w1 Ready"]}}})
        assert (report.does, report.reason, report.gate) == ((), None, Gate(after=("nodes w1 Ready",)))

    @pytest.mark.parametrize("result", [{}, {"changed": False}, {"changed": False, "done": [], PLANNED: {}}])
    def test_nothing_to_do_is_no_report(self, result: dict[str, Any]) -> None:
        assert list(reports(AT, "cp1", result)) == []


def test_steps_as_data_are_as_the_schema_says_and_can_be_read_again() -> None:
    listed = data(plans.made())
    schema = json.loads((paths.PROJECT / "docs" / "plan.schema.json").read_text())
    jsonschema.validate(listed, {"$defs": schema["$defs"], **schema["properties"]["steps"]})
    assert [step["number"] for step in listed] == list(range(1, 8))
    assert data([Step.parse(step) for step in json.loads(json.dumps(listed))]) == listed
    assert listed[1] == {
        "number": 2,
        "phase": "Install etcd",
        "role": "etcd",
        "task": "Install etcd",
        "hosts": ["cp1", "cp3"],
        "does": ["etcd.service: restarted"],
        "reasons": [{"kind": "outdated", "text": plans.CHANGED.text, "hosts": ["cp1", "cp3"]}],
        "restarts": ["etcd.service"],
        "batches": [1, 1],
        "gate": {"before": ["on 2 others: :2379/health says true"], "after": [":2379/health says true"]},
    }
