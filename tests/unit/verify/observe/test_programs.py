"""What runs on hosts, compared with the version skew policy and with the lock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubeproof.components.lock import Lock
from kubeproof.core.versions import Minor, Version
from kubeproof.settings import state
from kubeproof.upgrade import policy
from kubeproof.upgrade.record import Record
from kubeproof.verify.observe import programs, programs_look
from kubeproof.verify.observe.hosts import Host
from kubeproof.verify.observe.programs import ApiServer, Found, Process

GROUPS = {
    "cp1": frozenset({"control_plane", "etcd"}),
    "cp2": frozenset({"control_plane"}),
    "w1": frozenset({"workers"}),
}
REFERENCE = "localhost/kubeproof/coredns:1.15.0"


def process(program: str, version: str = "", **more: Any) -> Process:
    path = f"/usr/local/bin/{program}"
    return Process(**{"program": program, "pid": 7, "path": path, "gone": False, "pod": "", "sha256": "aa",
                      "version": version, **more})  # fmt: skip


def server(host: str, version: str, emulates: str = "") -> ApiServer:
    major, _, minor = emulates.partition(".")
    emulation = {"emulationMajor": major, "emulationMinor": minor} if emulates else {}
    return ApiServer(host, {"gitVersion": f"v{version}", **emulation})


def problems(processes: dict[str, list[Process]], *servers: ApiServer, etcd: tuple[str, ...] = ()) -> list[str]:
    return [each.problem for each in policy.violations(programs.world(GROUPS, processes, servers, etcd))]


def test_one_version_everywhere_is_within_the_policy() -> None:
    everything = {
        "cp1": [process("etcd", "3.7.3"), process("kube-scheduler", "1.37.2"), process("kubelet", "1.37.2")],
        "w1": [process("kubelet", "1.37.2"), process("kube-proxy", "1.37.2")],
    }
    assert problems(everything, server("cp1", "1.37.2", "1.37"), etcd=("3.7.0",)) == []


@pytest.mark.parametrize(
    ("processes", "servers", "says"),
    [
        ({"cp1": [process("kube-scheduler", "1.35.2")]}, [("cp1", "1.37.2")], "is too old for kube-apiserver 1.37"),
        ({"w1": [process("kubelet", "1.38.0")]}, [("cp1", "1.37.2")], "1.38.0 is newer than kube-apiserver 1.37"),
        ({"w1": [process("kubelet", "1.37.2")]}, [("cp1", "1.37.2", "1.36")], "is newer than kube-apiserver 1.36"),
        ({}, [("cp1", "1.37.2"), ("cp2", "1.35.4")], "at most one minor version apart"),
        ({"cp1": [process("etcd", "3.7.3")], "cp2": [process("etcd", "3.5.9")]}, [], "at most one minor version apart"),
    ],
    ids=["old-scheduler", "new-kubelet", "emulation", "api-servers", "members"],
)  # fmt: skip
def test_what_is_outside_the_policy(
    processes: dict[str, list[Process]], servers: list[tuple[str, ...]], says: str
) -> None:
    found = problems(processes, *(server(*each) for each in servers))
    assert any(says in each for each in found), found


def test_a_second_process_of_another_version_counts_too() -> None:
    both = {"w1": [process("kubelet", "1.37.2"), process("kubelet", "1.38.0", pid=8)]}
    assert len(problems(both, server("cp1", "1.37.2"))) == 1
    both = {"w1": [process("kubelet", "1.38.0"), process("kubelet", "1.37.2", pid=8)]}
    assert len(problems(both, server("cp1", "1.37.2"))) == 1


def test_a_member_that_is_older_than_its_cluster() -> None:
    found = problems({"cp1": [process("etcd", "3.6.16")]}, etcd=("3.7.0",))
    assert found == ["etcd 3.6.16 is older than its cluster, which is 3.7"]


def test_an_api_server_that_says_no_version() -> None:
    with pytest.raises(ValueError, match="the API server of cp1 does not say"):
        _ = ApiServer("cp1", {"kind": "Status"}).running


def test_what_an_api_server_emulates() -> None:
    assert server("cp1", "1.37.2", "1.36").running.emulates == Minor(1, 36)
    assert server("cp1", "1.37.2", "1.37").running.emulates is None
    assert server("cp1", "1.37.2").running.version == Version(1, 37, 2)


def test_processes_of_other_peoples_pods_are_left_out() -> None:
    own, foreign, service = process("etcd", pod="u1"), process("etcd", pod="u2"), process("etcd")
    assert programs.of_the_cluster([own, foreign, service], {"u1"}) == [own, service]


# --- the lock ---


def component(version: str, sha256: str, name: str = "kubelet") -> dict[str, Any]:
    return {"version": version, "source": "go", "origin": "", "binaries": {name: {"sha256": sha256, "size": 1}}}


def image(version: str, digest: str, reference: str = REFERENCE) -> dict[str, Any]:
    archive = {"sha256": "tar", "size": 1}
    return {"version": version, "source": "go", "reference": reference, "digest": digest, "archive": archive}


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    made = Lock(tmp_path)
    made.record_component("amd64", "kubernetes", component("1.36.3", "old"))
    made.record_image("amd64", "coredns", image("1.15.0", "sha256:one"))
    made.settle()
    made.save()
    return made


def wanted(lock: Lock, tmp_path: Path) -> programs.Locked:
    return programs.locked(lock, "amd64", programs.generations(lock, Record(tmp_path)))


def test_what_was_only_fetched_is_not_what_hosts_may_have(lock: Lock, tmp_path: Path) -> None:
    lock.record_component("amd64", "kubernetes", component("1.37.2", "new"))
    assert wanted(lock, tmp_path).files == {"kubelet": {"old"}, "coredns.tar": {"tar"}}


def test_during_an_upgrade_hosts_have_either(lock: Lock, tmp_path: Path) -> None:
    lock.record_component("amd64", "kubernetes", component("1.37.2", "new"))
    (tmp_path / state.UPGRADE).write_text(json.dumps({"versions": {"kubernetes": "1.37.2"}, "direction": "forward"}))
    assert wanted(lock, tmp_path).files["kubelet"] == {"old", "new"}


def test_and_what_was_its_target_before_it_was_taken_back(lock: Lock, tmp_path: Path) -> None:
    lock.record_component("amd64", "kubernetes", component("1.37.2", "new"))
    lock.record_component("amd64", "kubernetes", component("1.36.3", "old"))
    assert wanted(lock, tmp_path).files["kubelet"] == {"old"}
    (tmp_path / state.UPGRADE).write_text(json.dumps({"versions": {"kubernetes": "1.36.3"}, "direction": "back"}))
    assert wanted(lock, tmp_path).files["kubelet"] == {"old", "new"}


def test_before_an_installation_has_ended_the_target_is_all_there_is(tmp_path: Path) -> None:
    made = Lock(tmp_path)
    made.record_component("amd64", "kubernetes", component("1.36.3", "old"))
    assert wanted(made, tmp_path).files == {"kubelet": {"old"}}
    assert programs.programs_of(made) == {"kubelet"}


def found(files: dict[str, str] | None = None, *processes: Process) -> Found:
    return Found("amd64", processes, files or {})


def test_what_is_as_in_the_lock(lock: Lock, tmp_path: Path) -> None:
    host = found({"/usr/local/bin/kubelet": "old", "/usr/local/bin/other": "x"}, process("kubelet", sha256="old"))
    assert programs.deviations("w1", host, wanted(lock, tmp_path)) == []


@pytest.mark.parametrize(
    ("host", "says"),
    [
        (found({"/usr/local/bin/kubelet": "else"}), "/usr/local/bin/kubelet on w1 is not what the lock has"),
        (found({"/usr/local/bin/kubelet": ""}), "/usr/local/bin/kubelet is not there on w1"),
        (found({"/var/lib/kubeproof/images/coredns.tar": "else"}), "coredns.tar on w1 is not what the lock has"),
        (found({}, process("kubelet", sha256="else")), "kubelet on w1 (process 7) runs a program that the lock"),
        (found({}, process("kubelet", sha256="old", gone=True)), "kubelet on w1 (process 7) runs a file that is no"),
    ],
    ids=["file", "gone", "archive", "process", "replaced"],
)  # fmt: skip
def test_what_is_not(lock: Lock, tmp_path: Path, host: Found, says: str) -> None:
    (told,) = programs.deviations("w1", host, wanted(lock, tmp_path))
    assert says in told


@pytest.mark.parametrize("name", ["containerd-shim-runc-v2", "containerd-shim-runsc-v1", "runsc"])
def test_a_pods_shim_may_outlive_its_file(lock: Lock, tmp_path: Path, name: str) -> None:
    shim = process(name, gone=True)
    assert programs.deviations("w1", found({}, shim), wanted(lock, tmp_path)) == []


def test_images_of_the_runtime(lock: Lock, tmp_path: Path) -> None:
    listed = f"REF TYPE DIGEST SIZE\n{REFERENCE} application/x sha256:two 9.0 MiB\nother:1 application/x sha256:x 1 B\n"
    (told,) = programs.image_deviations("w1", programs.images(listed), wanted(lock, tmp_path))
    assert told == f"the image {REFERENCE} on w1 is not what the lock has: sha256:two, not sha256:one"
    assert programs.image_deviations("w1", {REFERENCE: "sha256:one"}, wanted(lock, tmp_path)) == []


def test_images_that_would_not_come_back(lock: Lock, tmp_path: Path) -> None:
    row = "{} application/x sha256:one 9.0 MiB linux/amd64 {}\n"
    free = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n" + row.format(REFERENCE, "-") + row.format("other:1", "-")
    (told,) = programs.unpinned_images("w1", free, wanted(lock, tmp_path))
    assert told.startswith(f"the image {REFERENCE} on w1 is not pinned")
    assert (
        programs.unpinned_images(
            "w1", free.replace(" -\n", " a=b,io.cri-containerd.pinned=pinned\n"), wanted(lock, tmp_path)
        )
        == []
    )


def test_images_of_pods(lock: Lock, tmp_path: Path) -> None:
    pods = {"coredns/coredns": "localhost/kubeproof/coredns:1.14.0", "mine/web": "example.com:5000/web:1"}
    (told,) = programs.pod_deviations(pods, wanted(lock, tmp_path))
    assert told == (
        f"the pod coredns/coredns has the image localhost/kubeproof/coredns:1.14.0, not {REFERENCE} as the lock has it"
    )
    assert programs.pod_deviations({"coredns/coredns": REFERENCE}, wanted(lock, tmp_path)) == []


# --- this machine, as a host ---


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A program that runs, of a name of its own."""
    program = tmp_path / "kubeproof-idler"
    shutil.copy(shutil.which("sleep") or "", program)
    running = subprocess.Popen([program, "60"])
    yield program, running
    running.kill()
    running.wait()


def test_a_process_and_its_file(here: Host, sleeper: tuple[Path, subprocess.Popen[bytes]]) -> None:
    program, running = sleeper
    (one,) = [each for each in programs.look(here, ["kubeproof-idler"]).processes if each.pid == running.pid]
    digest = subprocess.run(["sha256sum", program], capture_output=True, text=True, check=True).stdout.split()[0]
    assert (one.path, one.gone, one.sha256, one.pod, one.version) == (str(program), False, digest, "", "")

    copy = program.with_name("copy")
    shutil.copy(program, copy)
    copy.rename(program)
    (one,) = [each for each in programs.look(here, ["kubeproof-idler"]).processes if each.pid == running.pid]
    assert (one.path, one.gone, one.sha256) == (str(program), True, digest)


def test_what_anybody_could_have_written_is_not_asked(tmp_path: Path) -> None:
    program = tmp_path / "kubelet"
    program.write_text("#!/bin/sh\necho Kubernetes v1.37.2\n")
    program.chmod(0o755)
    expected = "1.37.2" if os.geteuid() == 0 else ""
    assert programs_look.version(str(program)) == expected
    program.chmod(0o777)
    assert programs_look.version(str(program)) == ""
