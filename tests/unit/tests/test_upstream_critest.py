"""How critest is brought to a node, run there and removed, with programs of a few lines in place of the node's."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.upstream import critest, e2e, results
from tests.upstream.critest import Place

from kubeproof.api import kubectl
from kubeproof.components import pins
from kubeproof.core.errors import KubeproofError
from kubeproof.settings import inventory
from kubeproof.settings.remote import Login

# As Ginkgo writes it of a rehearsal, and then of a run.
REPORT = '<testsuites><testsuite><testcase name="[It] a" status="passed" time="1"/></testsuite></testsuites>'
HOSTS = """
all:
  vars: {{cluster_state_directory: {state}}}
  children:
    etcd: {{hosts: {{c: }}}}
    control_plane: {{hosts: {{c: }}}}
    workers: {{hosts: {workers}}}
"""


@dataclass(frozen=True)
class Here(Login):
    """A "node" that is this machine, with other programs than its own."""

    programs: str = ""

    def ssh(self, *_: str) -> list[str]:
        return ["env", f"PATH={self.programs}", "sh", "-c"]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A node whose programs write down what they are asked."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("systemctl", "crictl", "ctr", "umount", "findmnt", "systemd-run"):
        script(programs / name, f'echo "{name} $*" >> {tmp_path}/asked')
    script(tmp_path / "kubectl", f'echo "kubectl $@" >> {tmp_path}/asked')
    (tmp_path / "admin.kubeconfig").write_text("clusters: [{name: k, cluster: {server: 'https://10.213.27.11:6443'}}]")
    monkeypatch.setattr(kubectl, "command", lambda _state: [str(tmp_path / "kubectl")])
    monkeypatch.setattr(critest, "DIRECTORY", str(tmp_path / "there"))
    return Place("w2", Here("w2", "", programs=f"{programs}:/usr/bin:/bin"), tmp_path, str(programs))


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def asked(node: Place) -> list[str]:
    return (node.state / "asked").read_text().splitlines()


def built(tmp_path: Path) -> Path:
    """A program in place of critest, which writes the report that it is asked for."""
    write = f"for each; do case $each in -ginkgo.junit-report=*) echo '{REPORT}' > \"${{each#*=}}\";; esac; done"
    return script(tmp_path / "built", f"{write}; echo ran")


def test_the_version_is_that_of_crictl() -> None:
    pinned = pins.load()
    assert pinned.components["critest"].version == pinned.components["crictl"].version
    assert (pinned.module_directory(pinned.components["critest"]) / "go.sum").is_file()


@pytest.mark.parametrize(("workers", "found"), [("{c: , w1: , w2: }", "w2"), ("{w1: , c: }", "w1"), ("{c: }", "")])
def test_a_worker_that_is_nothing_else(tmp_path: Path, workers: str, found: str) -> None:
    path = tmp_path / "hosts.yml"
    state = tmp_path / ".kubeproof"
    state.mkdir()
    path.write_text(HOSTS.format(state=state, workers=workers))
    (state / "admin.kubeconfig").write_text("clusters: []")
    if found:
        place = Place.of(inventory.load(path))
        assert (place.node, place.programs) == (found, "/usr/local/bin")
    else:
        with pytest.raises(KubeproofError, match="a worker that is only that"):
            Place.of(inventory.load(path))


def test_images_with_a_shell_and_with_a_server(tmp_path: Path) -> None:
    tool = script(tmp_path / "busybox", "")
    made = critest.images(tool, ["bin/sh", "bin/busybox", "usr/bin/top", "usr/sbin/httpd"], "amd64", tmp_path)
    assert list(made) == [critest.SHELL, critest.WEB]
    with tarfile.open(made[critest.WEB]) as archive:
        blobs = [archive.extractfile(each) for each in archive.getnames() if each.startswith("blobs/")]
        contents = [each.read() for each in blobs if each]
    config = next(yaml.safe_load(each) for each in contents if b"Entrypoint" in each)["config"]
    assert config["Entrypoint"] == ["httpd", "-f", "-p", "80", "-h", "/www"]
    layer = max(contents, key=len)
    with tarfile.open(fileobj=io.BytesIO(layer)) as files:
        names = {each.name: each for each in files}
        assert {"bin/busybox", "etc/passwd", "www/index.html", "usr/bin/ipcs", "tmp"} <= names.keys()
        assert names["usr/bin/top"].linkname == "/bin/busybox"
        assert names["bin/busybox"].isreg()
        assert names["usr/bin/pgrep"].mode == 0o755


def test_a_busybox_that_is_not_static_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = script(tmp_path / "busybox", "# /lib64/ld-linux-x86-64.so.2")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(KubeproofError, match="is not static") as refused:
        critest.busybox(print)
    assert refused.value.hint == "apt-get install busybox-static"
    script(found, "exit")
    assert critest.busybox(print) == found


def test_a_run(node: Place, tmp_path: Path) -> None:
    taken = f'while [ "${{1#--}}" != "$1" ]; do echo "$1" >> {tmp_path}/properties; shift; done'
    ran = f'echo "run $*" >> {tmp_path}/asked; "$@" > {critest.DIRECTORY}/critest.log; exit 1'
    script(Path(node.programs, "systemd-run"), f"{taken}; {ran}")
    archives = critest.images(script(tmp_path / "busybox", ""), ["bin/sh"], "amd64", tmp_path)
    reports = tmp_path / "reports"
    reports.mkdir()
    left = critest.perform(node, built(tmp_path), archives, reports, print)
    assert results.selected(left.rehearsal) == ["a"]
    assert results.judge(left.run, ["a"], ()).problems == []
    assert (reports / "critest.log").read_text() == "ran\n"
    loads = [line for line in asked(node) if "images import" in line]
    assert loads == [f"ctr --namespace k8s.io images import --local {critest.DIRECTORY}/critest-{name}.tar"
                     for name in ("shell", "web")]  # fmt: skip
    properties = (tmp_path / "properties").read_text().splitlines()
    assert "--property=Conflicts=kubelet.service" in properties
    assert "--property=ExecStopPost=/bin/systemctl --no-block start kubelet.service" in properties
    ending = asked(node)[-9:]
    assert [line.split()[0] for line in ending][-3:] == ["findmnt", "systemctl", "kubectl"]
    assert ending[-2:] == [
        "systemctl start kubelet.service",
        "kubectl wait --for=condition=Ready --timeout=180s node/w2",
    ]
    assert f"crictl rmi {critest.SHELL} {critest.WEB}" in ending
    assert f"ctr --namespace k8s.io images remove {critest.SHELL} {critest.WEB}" in ending
    assert not Path(critest.DIRECTORY).exists()


def test_the_node_is_tidied_up_if_the_run_cannot_begin(node: Place, tmp_path: Path) -> None:
    refusal = "echo no space >&2; exit 3"
    script(Path(node.programs, "ctr"), f'echo "ctr $*" >> {tmp_path}/asked; case "$*" in *import*) {refusal};; esac')
    archives = critest.images(script(tmp_path / "busybox", ""), [], "amd64", tmp_path)
    with pytest.raises(KubeproofError, match=r"(?s)critest on w2: exit status 3.*no space"):
        critest.perform(node, built(tmp_path), archives, tmp_path, print)
    assert asked(node)[-1].startswith("kubectl wait")
    assert not Path(critest.DIRECTORY).exists()


def test_what_is_mounted_is_not_deleted(node: Place, tmp_path: Path) -> None:
    """A test mounts the host's own /etc below its directory."""
    kept = Path(critest.DIRECTORY, "scratch/etc/passwd")
    kept.parent.mkdir(parents=True)
    kept.write_text("root")
    mounts = f"echo /; echo {critest.DIRECTORY}/scratch; echo {critest.DIRECTORY}/scratch/etc"
    script(Path(node.programs, "findmnt"), mounts)
    with pytest.raises(KubeproofError, match="is left as it is"):
        node.run(critest.tidy(node.programs))
    assert kept.read_text() == "root"
    unmounted = next(line for line in asked(node) if line.startswith("umount"))
    assert unmounted == f"umount {critest.DIRECTORY}/scratch/etc {critest.DIRECTORY}/scratch"


def test_sandboxes_that_are_left_go(node: Place, tmp_path: Path) -> None:
    script(Path(node.programs, "crictl"), f'echo "crictl $*" >> {tmp_path}/asked; [ $1 = rmp ] || echo abc')
    node.run(critest.tidy(node.programs))
    assert "crictl pods --quiet --namespace ^cri-test-namespace" in asked(node)
    assert "crictl rmp --force abc" in asked(node)


def test_exceptions_are_of_tests_that_there_are() -> None:
    """Names as critest 1.37.0 has them, of which the lists begin."""
    known = (
        "[k8s.io] Image Manager public image with tag should be pulled and removed [Conformance] [Serial]",
        "[k8s.io] Image Manager image status should support all kinds of references [Conformance] [Serial]",
        "[k8s.io] Image Manager listImage should get exactly 3 image in the result list [Conformance] [Serial]",
        "[k8s.io] Image Manager removing image by one tag should remove all tags [Conformance] [Serial]",
        "[k8s.io] Image Consistency should not fail on simultaneous RemoveImage calls [Conformance] [Serial]",
        "[k8s.io] Image Identifier Consistency should return the same image identifier across all APIs [Conformance]",
        "[k8s.io] Image Volume [Feature:ImageVolume] subPath should succeed when using a valid subPath",
        "[k8s.io] Multiple Containers [Conformance] when running multiple containers in a pod should support network",
        "[k8s.io] Security Context NamespaceOption runtime should support HostPID",
        "[k8s.io] Security Context NamespaceOption runtime should support PodPID",
        "[k8s.io] Security Context NamespaceOption runtime should support ContainerPID",
        "[k8s.io] Security Context bucket runtime should support MaskedPaths",
        "[k8s.io] Security Context NoNewPrivs should allow privilege escalation when false",
        "[k8s.io] Security Context SupplementalGroupsPolicy when SupplementalGroupsPolicy=Merge (Default) if the",
        "[k8s.io] Streaming runtime should support streaming interfaces runtime should support portforward in host net",
    )
    excuses = results.exceptions(critest.NAME)
    outcomes = [results.Outcome(name, results.State.FAILED) for name in known]
    assert [each.names for each in excuses if not any(map(each.covers, outcomes))] == []
    assert [each.name for each in outcomes if not any(excuse.covers(each) for excuse in excuses)] == []


def test_a_unit_that_leaves_the_kubelet_running(node: Place) -> None:
    line = critest.unit(critest.command("run.xml"))
    assert line.startswith("systemd-run --quiet --wait --collect --unit=kubeproof-critest")
    assert f"-test-images-file={critest.DIRECTORY}/images.yml" in line
    assert e2e.Reports(Path("run.xml"), Path("rehearsal.xml")).run.name in line
