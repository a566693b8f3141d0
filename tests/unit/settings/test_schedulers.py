"""The cluster's scheduler, and more of them."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.settings import schedulers


def test_the_default_scheduler_keeps_its_names() -> None:
    [only] = schedulers.instances({}, 10259, {"parallelism": 4}, {})
    assert (only["unit"], only["directory"]) == ("kube-scheduler.service", "/etc/kubernetes/scheduler")
    assert (only["user"], only["lease"]) == ("system:kube-scheduler", "kube-scheduler")
    assert only["config"] == {"parallelism": 4}


def test_more_schedulers_have_names_of_their_own() -> None:
    _, more = schedulers.instances({"batch": {"port": 10269}}, 10259, {"parallelism": 4}, {})
    assert (more["unit"], more["directory"]) == ("kube-scheduler-batch.service", "/etc/kubernetes/scheduler-batch")
    assert (more["user"], more["lease"]) == ("system:kube-scheduler:batch", "kube-scheduler-batch")
    assert more["config"] == {}


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"Batch": {"port": 1}}, "not a valid scheduler name"),
        ({"s" * 41: {"port": 1}}, "at most 40 characters"),
        ({"default-scheduler": {"port": 1}}, "not a valid scheduler name"),
        ({"batch": {}}, "takes port"),
        ({"batch": {"port": 1, "flags": {}}}, "takes port"),
        ({"batch": 10269}, "takes port"),
        ({"batch": {"port": 10259}}, "which another scheduler has"),
        ({"batch": {"port": True}}, "batch has port True, which is not a number from 1 to 65535"),
        ({"batch": {"port": "10269"}}, "batch has port '10269'"),
        ({"batch": {"port": 0}}, "batch has port 0"),
        ({"batch": {"port": 65536}}, "batch has port 65536"),
        ({"a": {"port": 10269}, "b": {"port": 10269}}, "b has port 10269"),
    ],
)
def test_what_is_wrong_with_a_scheduler_is_named(more: dict[str, Any], complaint: str) -> None:
    [problem] = schedulers.problems(more, 10259)
    assert complaint in problem


def test_ports_are_those_of_schedulers_that_are_right() -> None:
    more: dict[str, Any] = {"a": {"port": 10269}, "b": {"port": 10269}, "c": {"port": "x"}, "D": {"port": 1}, "e": 7}
    assert schedulers.ports({**more, "f": {"port": 10270}, "g": {"port": 10259}}, 10259) == {"a": 10269, "f": 10270}


def test_units_of_schedulers() -> None:
    units = ["etcd.service", "kube-scheduler.service", "kube-scheduler-batch.service"]
    assert schedulers.units(units) == units[1:]


def test_the_longest_name_fits_into_a_certificate() -> None:
    longest = {"s" * 40: {"port": 10269}}
    assert list(schedulers.problems(longest, 10259)) == []
    (instance,) = (each for each in schedulers.instances(longest, 10259, {}, {}) if "s" * 40 in each["user"])
    # RFC 5280, appendix A.1, ub-common-name.
    assert len(instance["user"]) <= 64
