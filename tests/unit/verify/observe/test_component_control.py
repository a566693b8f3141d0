"""How a component is found and controlled, in each form."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from kubeproof.verify.observe import component_control
from kubeproof.verify.observe.component_control import Component, DaemonSetPod, Service, StaticPod
from kubeproof.verify.observe.hosts import Host


class FakeBackend:
    """Answers each command with the same."""

    def __init__(self, status: int, told: str) -> None:
        self.answer = type("Done", (), {"rc": status, "stdout": told, "stderr": ""})()

    def run(self, _command: str, *_arguments: str) -> Any:
        return self.answer


def host(status: int, told: str) -> Host:
    return Host("h1", frozenset(), "10.0.0.1", cast(Any, FakeBackend(status, told)))


@pytest.mark.parametrize(
    ("status", "told", "name", "component"),
    [
        (0, "pod\n", "kube-apiserver.service", StaticPod("kube-apiserver")),
        (0, "[Unit]\nDescription=…\n", "kube-apiserver", Service("kube-apiserver")),
        (1, "", "kube-proxy", DaemonSetPod("kube-proxy")),
        (1, "", "kube-apiserver", Service("kube-apiserver")),
    ],
)
def test_the_form_is_what_is_found_on_the_host(status: int, told: str, name: str, component: Component) -> None:
    assert component_control.component(host(status, told), name) == component


def test_another_command_makes_another_pod() -> None:
    before = {"metadata": {"uid": "a"}, "spec": {"containers": [{"command": ["/kube-scheduler", "--v=1"]}]}}
    after = json.loads(component_control.edited(json.dumps(before), lambda command: [*command, "--v=2"]))
    assert after["spec"]["containers"][0]["command"] == ["/kube-scheduler", "--v=1", "--v=2"]
    assert after["metadata"]["uid"] != "a"
