"""A component as a static pod: its manifest, and what a host makes of it."""

from __future__ import annotations

import getpass
import json
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import static_pod
from ansible.module_utils.commands import CommandFailed
from ansible.module_utils.static_pod import PodError, StaticPod

from kubeproof.core.errors import KubeproofError
from kubeproof.install import static_pods

COMPONENTS = {
    "images": {"kube-scheduler": "localhost/kubeproof/kube-scheduler:1"},
    "image_archives": [{"reference": "localhost/kubeproof/kube-scheduler:1", "digest": "sha256:a", "archive": "/a"}],
}
GIVEN: dict[str, Any] = {
    "component": "kube-scheduler",
    "user": getpass.getuser(),
    "arguments": ["--v=1"],
    "reads": ["/etc/kubernetes/scheduler-batch"],
    "live": "/livez",
    "cpu": "100m",
}


def document(**changed: Any) -> dict[str, Any]:
    program = static_pods.Program.parse({**GIVEN, **changed})
    url = "https://127.0.0.1:10269/readyz"
    return static_pods.manifest("kube-scheduler-batch.service", program, url, 61, COMPONENTS)


def test_it_has_what_its_unit_would_give_it_and_no_more() -> None:
    pod = document()
    assert pod["metadata"]["name"] == "kube-scheduler-batch"
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["/kube-scheduler", "--v=1"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["volumeMounts"] == [
        {"name": "etc-kubernetes-scheduler-batch", "mountPath": "/etc/kubernetes/scheduler-batch", "readOnly": True}
    ]


def test_it_is_probed_where_its_health_is_asked() -> None:
    (container,) = document()["spec"]["containers"]
    probe = container["startupProbe"]
    assert probe["httpGet"] == {"host": "127.0.0.1", "port": 10269, "scheme": "HTTPS", "path": "/livez"}
    # It may take as long to start as the role waits for it.
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 61


def test_an_image_that_the_host_does_not_have_is_said() -> None:
    program = static_pods.Program.parse({**GIVEN, "component": "kube-apiserver"})
    with pytest.raises(KubeproofError, match="no image of kube-apiserver"):
        static_pods.manifest("kube-apiserver.service", program, "https://127.0.0.1:6443/readyz", 60, COMPONENTS)


@pytest.mark.parametrize("given", [{}, {**GIVEN, "flags": []}])
def test_a_program_that_is_not_understood_is_said(given: dict[str, Any]) -> None:
    with pytest.raises(KubeproofError, match="pod takes"):
        static_pods.Program.parse(given)


@pytest.fixture
def pod(tmp_path: Path) -> StaticPod:
    return StaticPod("kube-scheduler-batch.service", manifests=str(tmp_path / "manifests"), root=str(tmp_path))


def test_the_host_knows_the_numbers_of_the_user(pod: StaticPod) -> None:
    context = json.loads(pod.wanted(document(), "d"))["spec"]["securityContext"]
    entry = pwd.getpwnam(getpass.getuser())
    assert (context["runAsUser"], context["runAsGroup"]) == (entry.pw_uid, entry.pw_gid)
    with pytest.raises(PodError, match="no user nobody-at-all"):
        pod.wanted(document(user="nobody-at-all"), "d")
    assert json.loads(pod.wanted(document(user="nobody-at-all"), "d", pretend=True))["metadata"]["uid"]


def test_other_inputs_make_another_pod_and_the_same_ones_the_same(pod: StaticPod) -> None:
    assert pod.wanted(document(), "d") == pod.wanted(document(), "d")
    uids = {json.loads(pod.wanted(document(arguments=[flag]), digest))["metadata"]["uid"]
            for flag in ("--v=1", "--v=2") for digest in ("d", "e")}  # fmt: skip
    assert len(uids) == 4


def test_a_manifest_that_is_not_there_or_not_ours_has_no_uid(pod: StaticPod) -> None:
    assert (pod.text(), pod.uid()) == (None, "")
    Path(pod.path).parent.mkdir()
    Path(pod.path).write_text("half a mani")
    assert pod.uid() == ""


def test_its_processes_are_those_of_its_control_group_without_the_pause(pod: StaticPod, tmp_path: Path) -> None:
    groups = {
        11: ("kube-scheduler", "4:cpu:/kubepods/burstable/podabc/123\n"),
        12: ("pause", "4:cpu:/kubepods/burstable/podabc/456\n"),
        13: ("kube-scheduler", "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podabc.slice/x.scope\n"),
        14: ("kube-scheduler", "0::/system.slice/kube-scheduler.service\n"),
    }
    for pid, (name, cgroup) in groups.items():
        directory = tmp_path / "proc" / str(pid)
        directory.mkdir(parents=True)
        (directory / "comm").write_text(name + "\n")
        (directory / "cgroup").write_text(cgroup)
    assert sorted(pod.processes("abc")) == [11, 13]
    assert pod.processes("") == []


def test_it_is_withdrawn_when_its_control_groups_are_gone(pod: StaticPod, tmp_path: Path) -> None:
    Path(pod.path).parent.mkdir()
    Path(pod.path).write_text(json.dumps({"metadata": {"uid": "abc"}}))
    (tmp_path / "proc").mkdir()
    group = tmp_path / "sys/fs/cgroup/cpu/kubepods/burstable/podabc"
    group.mkdir(parents=True)
    with pytest.raises(PodError, match="still runs as a static pod"):
        pod.withdraw(0.2)
    assert not Path(pod.path).exists()
    Path(pod.path).write_text(json.dumps({"metadata": {"uid": "abc"}}))
    group.rmdir()
    pod.withdraw(0.2)


class Systemd:
    """What systemd was asked to do; ``fails``: it does not."""

    def __init__(self, pod: StaticPod) -> None:
        self.asked: list[list[str]] = []
        self.pod = pod
        self.fails = False
        self.next: dict[str, Any] = {}

    def run(self, command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self.asked.append(list(command))
        if command[0] == "systemd-run":
            # It is there, whole, before systemd is to put it in place.
            self.next = json.loads(Path(command[-2]).read_text())
            assert command[-1] == self.pod.path
            assert Path(self.pod.path).exists()
        return subprocess.CompletedProcess(command, int(self.fails), b"", b"no systemd")


@pytest.fixture
def systemd(pod: StaticPod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    fake = Systemd(pod)
    monkeypatch.setattr(subprocess, "run", fake.run)
    monkeypatch.setattr(static_pod.Manifest, "add", lambda *_, **__: None)
    monkeypatch.setattr(static_pod, "AFTERWARDS_SECONDS", 0)
    Path(pod.path).parent.mkdir()
    Path(pod.path).write_text(json.dumps({"metadata": {"uid": "old"}}))
    (tmp_path / "proc").mkdir()
    return fake


def test_while_there_is_no_manifest_systemd_has_the_next(pod: StaticPod, systemd: Systemd) -> None:
    pod.replace(json.dumps({"metadata": {"uid": "new"}}), 5)
    assert systemd.next == {"metadata": {"uid": "new"}}
    assert pod.uid() == "new"
    started, ended = systemd.asked
    assert "--on-active=35" in started
    assert ended[-1] == "kubeproof-next-kube-scheduler-batch.timer"
    assert [path.name for path in Path(pod.path).parent.iterdir()] == ["kube-scheduler-batch.json"]


def test_a_pod_that_does_not_end_has_its_manifest_again(pod: StaticPod, systemd: Systemd, tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup/cpu/kubepods/burstable/podold").mkdir(parents=True)
    with pytest.raises(PodError, match="still runs"):
        pod.replace(json.dumps({"metadata": {"uid": "new"}}), 0.2)
    assert pod.uid() == "new"
    assert systemd.asked[-1][-2:] == ["stop", "kubeproof-next-kube-scheduler-batch.timer"]


def test_a_pod_is_not_ended_if_systemd_would_not_bring_the_next(pod: StaticPod, systemd: Systemd) -> None:
    systemd.fails = True
    with pytest.raises(CommandFailed, match="no systemd"):
        pod.replace(json.dumps({"metadata": {"uid": "new"}}), 5)
    assert pod.uid() == "old"


def test_what_was_to_come_does_not_come_to_a_pod_that_is_withdrawn(pod: StaticPod, systemd: Systemd) -> None:
    left = Path(pod.path).parent / ".kube-scheduler-batch.next"
    left.touch()
    pod.withdraw(0.2)
    assert not left.exists()
    assert systemd.asked == [["systemctl", "--quiet", "stop", "kubeproof-next-kube-scheduler-batch.timer"]]


def test_static_pods_are_found_by_the_patterns_of_units(tmp_path: Path) -> None:
    for name in ("kube-scheduler", "kube-scheduler-batch", "kube-apiserver", "somebody-elses"):
        (tmp_path / f"{name}.json").touch()
    found = static_pod.static_pods(["kube-scheduler*.service", "kube-apiserver.service"], str(tmp_path))
    assert [pod.name for pod in found] == ["kube-scheduler-batch", "kube-scheduler", "kube-apiserver"]
