"""Versions of processes and files, on made-up hosts with programs that answer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible.module_utils import program_versions

STATE = "var/lib/kubeproof"
CONTAINER = "ab" * 32


class Fake:
    """A host made of files below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / STATE).mkdir(parents=True)
        self.write("proc/uptime", "1000.00 1.00\n")
        (root / "proc/self/ns").mkdir(parents=True)
        (root / "proc/self/ns/pid").symlink_to("pid:[1]")

    def write(self, path: str, text: str) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def program(self, path: str, says: str) -> Path:
        """A program that counts how often it was asked."""
        place = self.write(
            path, f"#!/bin/sh\ntest \"$1\" = --version && echo x >> {self.root}/asked && echo '{says}'\n"
        )
        place.chmod(0o755)
        return place

    def process(self, pid: int, name: str, group: str, exe: Path, *, arguments: str = "", namespace: int = 1) -> None:
        self.write(f"proc/{pid}/comm", name[:15] + "\n")
        self.write(f"proc/{pid}/cgroup", f"0::{group}\n")
        self.write(f"proc/{pid}/cmdline", "\0".join([str(exe), *arguments.split(), ""]))
        ticks = 900 * os.sysconf("SC_CLK_TCK")
        self.write(f"proc/{pid}/stat", f"{pid} (a b) S " + "0 " * 18 + f"{ticks} 0\n")
        (self.root / f"proc/{pid}/exe").symlink_to(exe)
        (self.root / f"proc/{pid}/ns").mkdir()
        (self.root / f"proc/{pid}/ns/pid").symlink_to(f"pid:[{namespace}]")

    def look(self, files: dict[str, str] | None = None) -> tuple[dict[str, str], dict[str, str]]:
        """Versions by process and by file."""
        look = program_versions.Look(str(self.root))
        look.begin(files or {})
        processes, versions = look.end()
        return {f"{each['program']} {each['form']}": each["version"] for each in processes}, versions

    @property
    def asked(self) -> int:
        path = self.root / "asked"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def test_a_process_is_of_its_executable_and_not_of_the_file_that_took_its_place(fake: Fake) -> None:
    old = fake.program("gone/kubelet", "Kubernetes v1.36.3")
    fake.program("usr/local/bin/kubelet", "Kubernetes v1.37.2")
    fake.process(7, "kubelet", "/system.slice/kubelet.service", old)
    assert fake.look({"kubelet": "/usr/local/bin/kubelet"}) == (
        {"kubelet service": "1.36.3"},
        {"kubelet": "1.37.2"},
    )


def test_docker_s_programs_are_known_by_their_units_and_its_containerd_is_none_of_ours(fake: Fake) -> None:
    engine = fake.program("usr/local/bin/dockerd", "Docker version 29.8.2, build 0123abc")
    fake.process(7, "dockerd", "/system.slice/docker.service", engine)
    child = fake.program("usr/local/bin/containerd", "containerd github.com/containerd/containerd/v2 v2.3.2 0123abc")
    fake.process(8, "containerd", "/system.slice/docker.service", child)
    bridge = fake.program("usr/local/bin/cri-dockerd", "cri-dockerd 0.4.10 (0123abc)")
    fake.process(9, "cri-dockerd", "/system.slice/cri-docker.service", bridge)
    assert fake.look()[0] == {"docker service": "29.8.2", "cri-dockerd service": "0.4.10"}


def test_each_executable_is_asked_once(fake: Fake) -> None:
    program = fake.program("usr/local/bin/etcd", "etcd Version: 3.7.3\nGo Version: go1.26.1")
    fake.process(7, "etcd", "/system.slice/etcd.service", program)
    for _ in range(3):
        assert fake.look({"etcd": "/usr/local/bin/etcd"}) == ({"etcd service": "3.7.3"}, {"etcd": "3.7.3"})
    assert fake.asked == 1
    program.unlink()
    fake.program("usr/local/bin/etcd", "etcd Version: 3.7.4")
    assert fake.look()[0] == {"etcd service": "3.7.4"}
    # What is gone is forgotten.
    assert len(json.loads((fake.root / STATE / program_versions.CACHE).read_text())) == 1


def test_nothing_is_kept_on_a_host_that_is_not_ours(fake: Fake) -> None:
    (fake.root / STATE).rmdir()
    program = fake.program("usr/local/bin/etcd", "etcd Version: 3.7.3")
    fake.process(7, "etcd", "/system.slice/etcd.service", program)
    assert fake.look()[0] == {"etcd service": "3.7.3"}
    assert not (fake.root / STATE).exists()


def test_check_mode_keeps_nothing_and_says_the_same(fake: Fake) -> None:
    fake.process(7, "etcd", "/system.slice/etcd.service", fake.program("usr/local/bin/etcd", "etcd Version: 3.7.3"))
    look = program_versions.Look(str(fake.root), writes=False)
    look.begin({"etcd": "/usr/local/bin/etcd"})
    assert look.end()[1] == fake.look({"etcd": "/usr/local/bin/etcd"})[1] == {"etcd": "3.7.3"}
    assert fake.asked == 2


@pytest.mark.parametrize("content", ["", "[]", "{broken"])
def test_a_record_that_is_broken_is_replaced(fake: Fake, content: str) -> None:
    fake.write(f"{STATE}/{program_versions.CACHE}", content)
    fake.process(7, "etcd", "/system.slice/etcd.service", fake.program("bin/etcd", "etcd Version: 3.7.3"))
    fake.look()
    fake.look()
    assert fake.asked == 1


@pytest.mark.parametrize(
    ("arguments", "emulates"),
    [
        ("--emulated-version=1.36", "1.36"),
        ("--v=2 --emulated-version kube=1.36", "1.36"),
        ("--emulated-version=kube=1.36", "1.36"),
        ("--min-compatibility-version=1.35", ""),
    ],
)
def test_what_it_emulates(fake: Fake, arguments: str, emulates: str) -> None:
    program = fake.program("bin/kube-apiserver", "Kubernetes v1.37.2")
    group = "/system.slice/kube-apiserver.service"
    fake.process(7, "kube-apiserver", group, program, arguments=arguments)
    look = program_versions.Look(str(fake.root))
    look.begin({})
    (process,), _ = look.end()
    assert (process["emulates"], process["age"], process["pid"]) == (emulates, 100.0, 7)


def test_names_that_the_kernel_cuts_off(fake: Fake) -> None:
    program = fake.program("bin/kube-controller-manager", "Kubernetes v1.37.2")
    fake.process(7, "kube-controller-manager", "/system.slice/kube-controller-manager.service", program)
    assert fake.look()[0] == {"kube-controller-manager service": "1.37.2"}


class TestPlugins:
    """CNI's say what they are on standard error, where they get no command."""

    def look(self, fake: Fake, **says: str) -> dict[str, str]:
        for name, text in says.items():
            program = fake.write(f"opt/cni/bin/{name}", f"#!/bin/sh\nprintf '{text}' >&2\n")
            program.chmod(0o755)
        return fake.look({name: f"/opt/cni/bin/{name}" for name in says})[1]

    def test_they_are_of_one_component(self, fake: Fake) -> None:
        protocols = "CNI protocol versions supported: 0.1.0, 1.1.0"
        said = {name: rf"CNI {name} plugin v1.10.0\n{protocols}\n" for name in ("bridge", "loopback")}
        assert self.look(fake, **said) == {"cni-plugins": "1.10.0"}

    def test_the_oldest_counts_where_a_run_was_killed_among_them(self, fake: Fake) -> None:
        found = self.look(fake, bridge="CNI bridge plugin v1.10.0", loopback="CNI loopback plugin v1.9.1")
        assert found == {"cni-plugins": "1.9.1"}

    def test_one_that_was_not_stamped_is_of_no_version(self, fake: Fake) -> None:
        text = r"CNI loopback plugin version unknown\nCNI protocol versions supported: 0.1.0"
        assert self.look(fake, bridge="CNI bridge plugin v1.10.0", loopback=text) == {}


class TestPods:
    GROUP = f"/kubepods.slice/kubepods-burstable.slice/kubepods-pod{'c' * 32}.slice/cri-containerd-{CONTAINER}.scope"

    def image(self, fake: Fake, image: str, namespace: str = "kube-system") -> None:
        annotations = {program_versions.IMAGE: image, program_versions.NAMESPACE: namespace}
        fake.write(program_versions.TASKS.lstrip("/") % CONTAINER, json.dumps({"annotations": annotations}))

    def test_a_static_pod_is_asked(self, fake: Fake) -> None:
        fake.write("etc/kubernetes/manifests/kube-scheduler.json", json.dumps({"metadata": {"uid": "c" * 32}}))
        program = fake.program("layer/kube-scheduler", "Kubernetes v1.37.2")
        fake.process(7, "kube-scheduler", self.GROUP, program, namespace=2)
        assert fake.look()[0] == {"kube-scheduler static-pod": "1.37.2"}

    @pytest.mark.parametrize(
        "image", ["localhost/kubeproof/kube-proxy:1.37.2", "registry:5000/kube-proxy:v1.37.2@sha256:a"]
    )
    def test_a_pod_of_the_cluster_is_of_its_image_s_version(self, fake: Fake, image: str) -> None:
        self.image(fake, image)
        program = fake.program("layer/kube-proxy", "Kubernetes v9.9.9")
        fake.process(7, "kube-proxy", self.GROUP, program, namespace=2)
        assert fake.look()[0] == {"kube-proxy pod": "1.37.2"}
        assert fake.asked == 0

    def test_a_pod_of_somebody_is_not_run(self, fake: Fake) -> None:
        self.image(fake, "registry.example/etcd:3.5.9", "shop")
        fake.process(7, "etcd", self.GROUP, fake.program("layer/etcd", "etcd Version: 3.5.9"), namespace=2)
        assert fake.look()[0] == {}
        assert fake.asked == 0


class TestWhatIsNotRun:
    def test_a_host_in_a_container(self, fake: Fake) -> None:
        group = "/machine.slice/libpod-a.scope/system.slice/etcd.service"
        fake.process(7, "etcd", group, fake.program("bin/etcd", "etcd Version: 3.7.3"), namespace=2)
        assert fake.look()[0] == {}

    def test_a_process_of_another_unit(self, fake: Fake) -> None:
        fake.process(7, "etcd", "/system.slice/mine.service", fake.program("bin/etcd", "etcd Version: 3.7.3"))
        assert fake.look()[0] == {}
        assert fake.asked == 0

    def test_what_others_may_write(self, fake: Fake) -> None:
        program = fake.program("bin/etcd", "etcd Version: 3.7.3")
        program.chmod(0o777)
        fake.process(7, "etcd", "/system.slice/etcd.service", program)
        assert fake.look()[0] == {}
        assert fake.asked == 0

    @pytest.mark.parametrize("says", ["", "etcd of our own"])
    def test_what_says_no_version_is_left_out(self, fake: Fake, says: str) -> None:
        fake.process(7, "etcd", "/system.slice/etcd.service", fake.program("bin/etcd", says))
        assert fake.look({"etcd": "/bin/etcd", "runc": "/nonexistent/runc"}) == ({}, {})
