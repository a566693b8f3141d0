"""Runtime handlers: what is refused, and what of them is in containerd's configuration."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from kubeproof.settings import runtimes
from kubeproof.settings.runtimes import Handler, Hosts

GVISOR = {"name": "gvisor", "type": "gvisor"}
HOSTS = Hosts("/opt/bin", systemd_cgroup=True)


def problems(*entries: Any, **more: Any) -> list[tuple[str, str]]:
    return list(runtimes.problems({"containerd_runtimes": list(entries), **more}))


@pytest.mark.parametrize(
    "entry",
    [
        GVISOR,
        {**GVISOR, "options": {"platform": "kvm", "net-raw": True, "file-access-mounts": "shared", "fdlimit": 10}},
        {"name": "runc", "type": "runc", "options": {"NoNewKeyring": True}},
        {"name": "crun-2", "type": "runc", "options": {"BinaryName": "/usr/bin/crun"}},
        {"name": "x" * 63, "type": "runc", "options": None},
    ],
)
def test_right(entry: dict[str, Any]) -> None:
    assert problems(entry) == []
    [handler] = runtimes.handlers({"containerd_runtimes": [entry]})
    assert handler == Handler(entry["name"], entry["type"], entry.get("options") or {})


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("gvisor", "'gvisor' is not of the form {name: gvisor, type: gvisor"),
        ({"name": "gvisor"}, "is not of the form"),
        ({**GVISOR, "option": {}}, "is not of the form"),
        ({"name": "kata", "type": "kata"}, "kata: 'kata' is not a type; known are runc, gvisor"),
        ({"name": "kata", "type": ["runc"]}, "kata: ['runc'] is not a type"),
        ({"name": "gVisor", "type": "gvisor"}, "'gVisor' is not the name of a handler"),
        ({"name": "-a", "type": "runc"}, "'-a' is not the name of a handler"),
        ({"name": "a.b", "type": "runc"}, "'a.b' is not the name of a handler"),
        ({"name": "x" * 64, "type": "runc"}, "is not the name of a handler"),
        ({"name": 1, "type": "runc"}, "1 is not the name of a handler"),
        ({"name": "runc", "type": "gvisor"}, "runc is the handler of pods without a RuntimeClass, of type runc"),
        ({**GVISOR, "options": ["platform"]}, "gvisor: options ['platform'] are not a dictionary"),
        ({**GVISOR, "options": {"--platform": "kvm"}}, "gvisor: '--platform' is not the name of a flag"),
        ({**GVISOR, "options": {"root": "/x"}}, "gvisor: root is set for runsc"),
        ({**GVISOR, "options": {"platform": ["kvm"]}}, "gvisor: platform is a text, a number, or true or false"),
        ({**GVISOR, "options": {"platform": "a\nb"}}, "gvisor: platform is a text"),
        ({"name": "a", "type": "runc", "options": {"binaryName": "/x"}}, "a: binaryName is not an option of runc"),
        ({"name": "a", "type": "runc", "options": {"BinaryName": "crun"}}, "a: BinaryName is the absolute path"),
        ({"name": "a", "type": "runc", "options": {"BinaryName": "/a/../crun"}}, "a: BinaryName is the absolute path"),
        ({"name": "a", "type": "runc", "options": {"NoPivotRoot": "yes"}}, "a: NoPivotRoot is true or false"),
    ],
)
def test_wrong(entry: Any, problem: str) -> None:
    [(name, said)] = problems(entry)
    assert name == "containerd_runtimes"
    assert problem in said
    assert runtimes.handlers({"containerd_runtimes": [entry]}) == []


def test_a_name_is_there_once() -> None:
    assert problems(GVISOR, {"name": "gvisor", "type": "runc"}) == [("containerd_runtimes", "gvisor is there twice")]


def test_no_list_is_said_and_has_none() -> None:
    assert list(runtimes.problems({"containerd_runtimes": "gvisor"})) == [
        ("containerd_runtimes", "'gvisor' is not a list")
    ]
    assert runtimes.handlers({"containerd_runtimes": "gvisor"}) == runtimes.handlers({}) == []


@pytest.mark.parametrize(
    ("entries", "needed"), [([GVISOR], True), ([{"name": "a", "type": "runc"}], False), ([], False)]
)
def test_gvisor_is_needed_where_a_handler_is_of_its_type(entries: list[Any], needed: bool) -> None:
    assert runtimes.gvisor({"containerd_runtimes": entries}) is needed


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("cri-dockerd", "write docker for Docker"),
        ("dockerd", "write docker for Docker"),
        ("Docker", "write docker for Docker"),
        ("CRI-O", "write crio for CRI-O"),
        ("rktlet", "speak no CRI v1, without which no kubelet starts"),
        ("rkt", "rkt and rktlet were given up"),
        ("podman", "'podman' is no runtime that kubeproof knows; it installs containerd, crio or docker"),
    ],
)
def test_another_runtime_is_refused_with_the_reason(chosen: str, said: str) -> None:
    [(name, problem)] = problems(container_runtime=chosen)
    assert name == "container_runtime"
    assert said in problem
    assert "containerd" in problem


def test_containerd_is_the_runtime() -> None:
    assert problems(container_runtime="containerd") == problems() == []
    [(name, problem)] = problems(container_runtime="")
    assert (name, problem) == ("container_runtime", "it is empty: leave it out, or set containerd, crio or docker")


def test_containerds_own_handler_comes_first_and_is_there_without_a_setting() -> None:
    own = {"BinaryName": "/opt/bin/runc", "SystemdCgroup": True}
    [first] = runtimes.configured({}, HOSTS)
    assert first == {"name": "runc", "runtime_type": "io.containerd.runc.v2", "options": own}
    changed = [GVISOR, {"name": "runc", "type": "runc", "options": {"NoNewKeyring": True}}]
    found = runtimes.configured({"containerd_runtimes": changed}, HOSTS)
    assert [each["name"] for each in found] == ["runc", "gvisor"]
    assert found[0]["options"] == {**own, "NoNewKeyring": True}


def test_another_program_with_runcs_commands() -> None:
    entry = {"name": "crun", "type": "runc", "options": {"BinaryName": "/usr/bin/crun"}}
    crun = runtimes.configured({"containerd_runtimes": [entry]}, HOSTS)[1]
    assert crun["options"] == {"BinaryName": "/usr/bin/crun", "SystemdCgroup": True}


def test_gvisor_has_a_configuration_of_its_own() -> None:
    options = {"platform": "kvm", "net-raw": True, "fdlimit": 10, "debug-log": 'a"b\\'}
    found = runtimes.configured({"containerd_runtimes": [{**GVISOR, "options": options}]}, HOSTS)[1]
    assert found["runtime_type"] == "io.containerd.runsc.v1"
    assert found["options"] == {"TypeUrl": "io.containerd.runsc.v1.options", "ConfigPath": found["file"]}
    assert found["file"] == "/etc/containerd/runtimes/gvisor.toml"
    assert tomllib.loads(found["content"]) == {
        "binary_name": "/opt/bin/runsc",
        "runsc_config": {
            "platform": "kvm", "net-raw": "true", "fdlimit": "10", "debug-log": 'a"b\\', "systemd-cgroup": "true",
        },
    }  # fmt: skip


def test_programs_that_hosts_must_have_are_those_that_no_run_brings() -> None:
    names = {"a": "/usr/bin/crun", "b": "/usr/local/bin/runc", "c": "/opt/youki", "d": "/opt/youki"}
    given = [{"name": name, "type": "runc", "options": {"BinaryName": path}} for name, path in names.items()]
    values = {
        "containerd_runtimes": [*given, {"name": "g", "type": "gvisor"}, {"name": "n", "type": "runc"}],
        "cluster_bin_directory": "/usr/local/bin",
        "host_packages": {"crun": {"debian": "crun"}},
    }
    assert runtimes.programs(values) == ("/opt/youki",)
    assert runtimes.programs({}) == ()


def test_other_runtimes_are_those_of_other_programs() -> None:
    crun = {"name": "crun", "type": "runc", "options": {"BinaryName": "/usr/bin/crun"}}
    same = {"name": "ours", "type": "runc", "options": {"BinaryName": "/usr/local/bin/runc"}}
    plain = {"name": "plain", "type": "runc"}
    given = {runtimes.SETTING: [crun, same, plain, {"name": "gvisor", "type": "gvisor"}]}
    assert [each.name for each in runtimes.others(given)] == ["crun", "gvisor"]
