"""How upstream's tests are started on a cluster, watched and ended, with programs of a few lines in their place."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

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


# As Ginkgo writes them, shortened.
_LOG = """Running Suite: Kubernetes e2e suite - /tmp
Will run 3 of 3206 specs
------------------------------
[SynchronizedBeforeSuite] PASSED [0.060 seconds]
------------------------------
SSSSSSS
------------------------------
[sig-network] Netpol API should support operations
k8s.io/kubernetes@v1.37.2/test/e2e/network/netpol/network_policy_api.go:54
  STEP: Creating a kubernetes client
\u2022 [0.473 seconds]
------------------------------
[sig-network] Netpol [Feature:SCTPConnectivity] should enforce
\u2022 [FAILED] [632.844 seconds]
[sig-network] Netpol [Feature:SCTPConnectivity] [It] should enforce
------------------------------
[sig-network] Netpol should deny egress
\u2022 [PANICKED] [1.500 seconds]
[ReportAfterSuite] PASSED [0.019 seconds]
"""


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_progress_is_told_by_the_log(tmp_path: Path, piece: int) -> None:
    """Of whole lines, however they come."""
    log, said = tmp_path / "e2e.log", list[str]()
    log.touch()
    progress, written = e2e.Progress(log, said.append), _LOG.encode()
    for start in range(0, len(written), piece):
        with log.open("ab") as stream:
            stream.write(written[start : start + piece])
        progress.look()
    assert said == [
        "  1 of 3  PASSED [sig-network] Netpol API should support operations (0 s)",
        "  2 of 3, 1 failed  FAILED [sig-network] Netpol [Feature:SCTPConnectivity] should enforce (633 s)",
        "  3 of 3, 2 failed  FAILED [sig-network] Netpol should deny egress (2 s)",
    ]


def test_progress_is_said_while_it_runs(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(e2e, "_LOOK_SECONDS", 0.1)
    log, said = tmp_path / "e2e.log", list[str]()
    waits = f"until [ -e {tmp_path}/go ]; do sleep 0.1; done"
    built = upstream(tmp_path / "e2e.test", f"cat {tmp_path}/first; {waits}; cat {tmp_path}/second")
    first, mark, second = _LOG.partition("\u2022 [FAILED]")
    (tmp_path / "first").write_text(first)
    (tmp_path / "second").write_text(mark + second)

    def heard(line: str) -> None:
        said.append(line)
        if line.startswith("  1 of 3"):
            (tmp_path / "go").touch()

    e2e.perform(e2e.NETPOL, target, built, tmp_path, heard)
    assert log.read_text() == _LOG
    assert [line[:8] for line in said if " of 3" in line] == ["  1 of 3", "  2 of 3", "  3 of 3"]


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
