"""How upstream's tests are started on a cluster, watched and ended, with programs of a few lines in their place."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.upstream import e2e
from tests.upstream.e2e import Suite, Target

from kubeproof.api import kubectl
from kubeproof.components import pins
from kubeproof.components.lock import Lock
from kubeproof.core.errors import KubeproofError

IMAGES = {"agnhost": "localhost/kubeproof/agnhost:2.66.1", "pause": "localhost/kubeproof/pause:3.10.2"}
KUBECONFIG = "clusters: [{name: k, cluster: {server: 'https://10.213.27.11:6443'}}]\n"


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A cluster whose kubectl writes down what it is asked."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "admin.kubeconfig").write_text(KUBECONFIG)
    script(tmp_path / "kubectl", f'echo "$@" >> {tmp_path}/asked')
    monkeypatch.setattr(kubectl, "command", lambda _state: [str(tmp_path / "kubectl")])
    return Target(state, "1.37.2", IMAGES)


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return path


def upstream(path: Path, body: str) -> Path:
    """A program in place of upstream's: it lists its images, rehearses, and does what a test wants otherwise."""
    images = "\\n".join(IMAGES.values())
    listing = f"--list-images) echo -e '{images}'; exit;;"
    return script(path, f"for each; do case $each in {listing} --ginkgo.dry-run) exit;; esac; done\n{body}")


def asked(target: Target) -> list[str]:
    return (target.state.parent / "asked").read_text().splitlines()


def test_the_tests_are_those_of_the_cluster_and_the_version_that_is_pinned() -> None:
    pinned = pins.load()
    assert pinned.components["e2e"].version == pinned.components["kubernetes"].version
    assert (pinned.module_directory(pinned.components["e2e"]) / "go.sum").is_file()


def test_a_cluster_of_the_state_directory(target: Target) -> None:
    lock = Lock(target.state)
    with pytest.raises(KubeproofError, match="does not say which image the cluster has for agnhost, pause"):
        Target.of(target.state)
    arch = e2e.architecture()
    for name, reference in IMAGES.items():
        lock.record_image(arch, name, {"version": reference.rpartition(":")[2], "reference": reference})
    lock.record_component(arch, "kubernetes", {"version": "1.37.2"})
    lock.settle()
    lock.save()
    assert Target.of(target.state) == target


def test_no_cluster_is_said(tmp_path: Path) -> None:
    with pytest.raises(KubeproofError, match="there is no cluster yet"):
        Target.of(tmp_path)


@pytest.mark.parametrize(
    ("registry", "agnhost"), [("localhost/kubeproof", "agnhost:1"), ("registry.k8s.io/e2e-test-images", "agnhost:1")]
)
def test_upstream_finds_images_where_the_cluster_has_them(registry: str, agnhost: str) -> None:
    images = {"agnhost": f"{registry}/{agnhost}", "pause": "mirror.example:5000/pause:3"}
    assert e2e.registries(images) == {"promoterE2eRegistry": registry, "gcRegistry": "mirror.example:5000"}


def test_the_command_line(target: Target, tmp_path: Path) -> None:
    line = e2e.command(e2e.NETPOL, target, Path("/cache/e2e.test"), tmp_path)
    assert line[:3] == ["setpriv", "--pdeathsig=TERM", "/cache/e2e.test"]
    assert {
        f"--kubeconfig={target.state}/admin.kubeconfig",
        "--provider=skeleton",
        f"--report-dir={tmp_path}",
        r"--ginkgo.focus=\[sig-network\] Netpol",
        "--ginkgo.timeout=7200s",
    } <= set(line)
    rehearsal = e2e.rehearsal(e2e.NETPOL, target, Path("/cache/e2e.test"), tmp_path)
    assert rehearsal == [*line, "--ginkgo.dry-run", "--report-prefix=rehearsal_"]


@pytest.mark.parametrize(
    "name",
    [
        "[sig-network] Netpol NetworkPolicy between server and client should deny egress [Feature:NetworkPolicy]",
        "[sig-network] Netpol [LinuxOnly] NetworkPolicy between server and client using UDP should enforce",
        "[sig-network] Netpol [Feature:SCTPConnectivity] [LinuxOnly] NetworkPolicy",
        "[sig-network] Netpol API should support creating NetworkPolicy API operations",
    ],
)
def test_the_focus(name: str) -> None:
    assert re.search(e2e.NETPOL.focus, name)
    assert not re.search(e2e.NETPOL.focus, "[sig-network] DNS should provide DNS for the cluster")


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ({"msg": "", "total": 50, "completed": 0, "failed": 0}, "  0 of 50  beginning"),
        ({"msg": "PASSED a", "total": 50, "completed": 3, "failed": 0}, "  3 of 50  PASSED a"),
        ({"msg": "FAILED b", "total": 50, "completed": 3, "failed": 1}, "  4 of 50, 1 failed  FAILED b"),
    ],
)
def test_progress(document: dict[str, object], line: str) -> None:
    assert e2e.progress_line(document) == line


def test_progress_is_listened_to_on_loopback() -> None:
    said: list[str] = []
    with e2e._listening(said.append) as url:
        assert url.startswith("http://127.0.0.1:")
        for body in ('{"msg": "PASSED a", "total": 2, "completed": 1, "failed": 0}', "nonsense"):
            assert httpx.post(url, content=body, trust_env=False).status_code == 204
    assert said == ["  1 of 2  PASSED a"]


def test_a_run(target: Target, tmp_path: Path) -> None:
    body = f'cat $KUBE_TEST_REPO_LIST; echo "$NO_PROXY"; touch {tmp_path}/junit_01.xml; echo ran >> {tmp_path}/asked'
    built = upstream(tmp_path / "e2e.test", f"{body}; exit 1")
    assert e2e.perform(e2e.NETPOL, target, built, tmp_path, print).run.exists()
    log = (tmp_path / "e2e.log").read_text()
    assert "gcRegistry: localhost/kubeproof\npromoterE2eRegistry: localhost/kubeproof\n" in log
    assert "10.213.27.11" in log, "a proxy is not asked for the cluster"
    removal = "delete namespaces --selector=e2e-run --timeout=300s"
    assert asked(target) == [removal, "ran", removal]


def test_tests_that_would_pull_are_not_run(target: Target, tmp_path: Path) -> None:
    built = upstream(tmp_path / "e2e.test", f"echo ran >> {tmp_path}/asked")
    other = Target(target.state, "1.37.2", {**IMAGES, "agnhost": "localhost/kubeproof/agnhost:2.63.0"})
    with pytest.raises(KubeproofError, match=r"would pull localhost/kubeproof/agnhost:2\.66\.1") as refused:
        e2e.perform(e2e.NETPOL, other, built, tmp_path, print)
    assert "choose the version of agnhost" in refused.value.hint
    assert not (tmp_path / "asked").exists()


TIDY = "trap 'echo tidy >> {0}/asked; kill $!; exit 1' TERM; sleep 60 & echo started >> {0}/asked; wait"


def test_a_run_that_does_not_end_is_asked_to_and_then_cleaned_up(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e2e, "_GRACE_SECONDS", 2)
    built = upstream(tmp_path / "e2e.test", TIDY.format(tmp_path))
    with pytest.raises(KubeproofError, match="did not end within 1 s"):
        e2e.perform(Suite("x", "x", limit=-1), target, built, tmp_path, print)
    assert asked(target)[1:-1] == ["started", "tidy"]
    assert asked(target)[-1].startswith("delete namespaces")


def test_one_that_does_not_listen_is_killed_with_its_children(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e2e, "_GRACE_SECONDS", 1)
    built = upstream(tmp_path / "e2e.test", f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(KubeproofError, match="did not end"):
        e2e.perform(Suite("x", "x", limit=0), target, built, tmp_path, print)
    wait(lambda: ended(tmp_path / "pid"))


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """Also if that one is killed, and can do nothing about it."""
    upstream(
        tmp_path / "e2e.test", f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 60"
    )
    (tmp_path / "admin.kubeconfig").write_text(KUBECONFIG)
    starter = subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(tmp_path)], env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
    )
    try:
        wait((tmp_path / "pid").exists)
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    wait(lambda: ended(tmp_path / "pid"))


_STARTER = """
import os, sys
from pathlib import Path
from tests.upstream import e2e
here = Path(sys.argv[1])
target = e2e.Target(here, "1.37.2", {})
line = e2e.command(e2e.NETPOL, target, here / "e2e.test", here)
e2e.attend(line, os.environ, 1, 60)
"""


def ended(written: Path) -> bool:
    """Whether the process whose number is written there is gone, or a zombie."""
    line = Path(f"/proc/{written.read_text().strip()}/cmdline")
    return not line.exists() or not line.read_bytes()


def wait(done: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_document_is_what_upstream_sends() -> None:
    """As test/e2e/reporters/progress.go serializes it."""
    sent = '{"msg":"FAILED x","total":5,"completed":0,"skipped":2524,"failed":1,"failures":["x"]}'
    assert e2e.progress_line(json.loads(sent)) == "  1 of 5, 1 failed  FAILED x"
