"""Filters that make what roles hand to modules."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from plugins.filter import kube, networks


def test_the_others_are_asked() -> None:
    addresses = {"b": "10.0.0.2", "a": "10.0.0.1", "c": "10.0.0.3"}
    others = networks.other_addresses(addresses, "b")
    assert networks.health_checks(others, "https://{}:6443/readyz", expect="ok") == [
        {"url": "https://10.0.0.1:6443/readyz", "expect": "ok"},
        {"url": "https://10.0.0.3:6443/readyz", "expect": "ok"},
    ]


def test_the_default_scheduler_keeps_its_names() -> None:
    [only] = kube.scheduler_instances({}, 10259, {"parallelism": 4}, {})
    assert (only["unit"], only["directory"]) == ("kube-scheduler.service", "/etc/kubernetes/scheduler")
    assert (only["user"], only["lease"]) == ("system:kube-scheduler", "kube-scheduler")
    assert only["config"] == {"parallelism": 4}


def test_more_schedulers_have_names_of_their_own() -> None:
    _, more = kube.scheduler_instances({"batch": {"port": 10269}}, 10259, {"parallelism": 4}, {})
    assert (more["unit"], more["directory"]) == ("kube-scheduler-batch.service", "/etc/kubernetes/scheduler-batch")
    assert (more["user"], more["lease"]) == ("system:kube-scheduler:batch", "kube-scheduler-batch")
    assert more["config"] == {}


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"Batch": {"port": 1}}, "no name for a scheduler"),
        ({"default-scheduler": {"port": 1}}, "no name for a scheduler"),
        ({"batch": {}}, "takes port"),
        ({"batch": {"port": 1, "flags": {}}}, "takes port"),
        ({"batch": 10269}, "takes port"),
        ({"batch": {"port": 10259}}, "which another scheduler has"),
    ],
)
def test_what_is_wrong_with_a_scheduler_is_named(more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AnsibleFilterError, match=complaint):
        kube.scheduler_instances(more, 10259, {}, {})


def test_units_of_schedulers() -> None:
    units = ["etcd.service", "kube-scheduler.service", "kube-scheduler-batch.service"]
    assert kube.scheduler_units(units) == units[1:]
