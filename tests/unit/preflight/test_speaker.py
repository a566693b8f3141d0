"""Through which control-plane host a run goes that has none, and when it needs one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.preflight.builders import VALUES, host

from kubeproof.preflight import Host, Kept, Purpose, Run
from kubeproof.preflight.speaker import check_speaker, outside, problems, speaker

GROUPS = {"etcd": ["host1"], "control_plane": ["host1", "host2"], "workers": ["host3"]}
SERVER, WORKER = host(1, ("etcd", "control_plane")), host(3, ("workers",))


def run_of(purpose: Purpose = "converge", **asked: str) -> Run:
    return Run(GROUPS, purpose, Kept(Path(), "", {}), outside=asked)


def asked(
    *hosts: Host, purpose: Purpose = "converge", tags: Sequence[str] = ("all",), skip: Sequence[str] = (), **values: Any
) -> list[str]:
    return outside([(each, {**VALUES, **values}) for each in hosts], run_of(purpose), tags, skip)


def test_a_run_of_nodes_alone_asks_for_one() -> None:
    assert asked(WORKER) == ["host1", "host2"]


def test_others_ask_nobody() -> None:
    assert asked(WORKER, SERVER) == []
    assert asked(host(4, ("etcd",))) == []
    assert asked(WORKER, purpose="upgrade") == []
    assert asked() == []


@pytest.mark.parametrize(
    ("tags", "skip", "values", "needed"),
    [
        (("containerd",), (), {}, False),
        (("kubelet", "pod_network"), (), {}, True),
        (("node",), (), {}, True),
        (("node",), ("pod_network",), {}, False),
        (("all",), ("node",), {}, False),
        (("tagged",), (), {}, True),
        (("kube-proxy",), (), {}, False),
        (("kube-proxy",), (), {"kube_proxy_form": "daemonset"}, True),
        (("flannel",), (), {}, False),
        (("flannel",), (), {"pod_network_plugin": "flannel"}, True),
        (("all",), (), {"pod_network_plugin": "calico"}, False),
        (("all",), (), {"pod_network_plugin": "calico", "kube_proxy_form": "daemonset"}, True),
    ],
)
def test_parts_that_need_no_api_need_nobody(
    tags: Sequence[str], skip: Sequence[str], values: dict[str, Any], needed: bool
) -> None:
    assert bool(asked(WORKER, tags=tags, skip=skip, **values)) is needed


SSH = "ssh: connect to host 192.0.2.1 port 22: Connection refused"


def test_what_the_hosts_have_answered() -> None:
    words = "Data could not be sent to remote host. Make sure this host can be reached over ssh: No route to host\n"
    answers: list[dict[str, Any]] = [
        {"item": "host1", "unreachable": True, "msg": words},
        {"item": "host3", "unreachable": True, "msg": f"Task failed: Failed to connect to the host via ssh: {SSH}"},
        {"item": "host2", "status": -1, "msg": "Status code was -1 and not [200]: Connection refused"},
        {"item": "host4", "msg": "The ansible.builtin.uri action failed to execute in the expected time frame (20)"},
        {"item": "host5", "status": 200, "msg": "OK (2 bytes)"},
    ]
    found = problems(answers)
    assert found["host1"] == "unreachable: No route to host"
    assert found["host3"] == f"unreachable: {SSH}"
    assert found["host2"].endswith("not [200]: Connection refused")
    assert found["host4"].endswith("expected time frame (20)")
    assert found["host5"] == ""


def test_one_of_the_run_is_taken_before_others() -> None:
    assert speaker([WORKER, SERVER], [], run_of()) == "host1"
    second = host(2, ("control_plane",))
    assert speaker([SERVER, second], ["host1"], run_of()) == "host2"
    assert speaker([replace(SERVER, report=None), second], [], run_of()) == "host2"
    assert speaker([WORKER], [], run_of(host1="unreachable: No route to host", host2="")) == "host2"
    assert speaker([WORKER], [], run_of()) == ""


def test_a_run_that_needs_one_and_finds_none_is_refused() -> None:
    [finding] = check_speaker(run_of(host1="unreachable: No route to host", host2="its API server is not ready: no"))
    assert (finding.id, finding.severity) == ("no-control-plane", "error")
    assert "host1: unreachable: No route to host; host2: its API server is not ready: no" in finding.problem
    assert list(check_speaker(run_of(host1="unreachable", host2=""))) == []
    assert list(check_speaker(run_of())) == []
