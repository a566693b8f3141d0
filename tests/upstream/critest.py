"""critest, the tests of a container runtime by crictl's project: its program and images, and a run of it on a node.

It must be the only client of the runtime: a kubelet ends sandboxes that are of no pod, within seconds. So the node has
no kubelet while it runs; systemd, not this process, starts it again.
"""

from __future__ import annotations

import io
import shlex
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.upstream import e2e

from kubeproof.api import kubectl
from kubeproof.components import gobuild, oci, pins
from kubeproof.components.cache import Cache
from kubeproof.components.progress import silent
from kubeproof.core import controller_packages
from kubeproof.core.controller_packages import Requirement
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import Result, attempt, run
from kubeproof.settings import remote
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.remote import Login
from kubeproof.settings.resolve import Settings

Say = Callable[[str], None]

PROGRAM = "critest"
NAME = "critest"
LIMIT = 3600
SOCKET = "unix:///run/containerd/containerd.sock"
UNIT = "kubeproof-critest"
# Not under /run, where programs may not be run, and whose mounts the tests would be shown.
DIRECTORY = "/var/lib/kubeproof-critest"
BUSYBOX = Requirement("busybox", "busybox-static")
SHELL, WEB = f"localhost/kubeproof/{NAME}-shell:1", f"localhost/kubeproof/{NAME}-web:1"
# What tests put before a random part to name their sandboxes' namespaces.
_NAMESPACES = "^cri-test-namespace"
_GRACE_SECONDS = 60
_READY_SECONDS = 180
# Of the tests' container: what they ask for, and busybox of Debian does not have.
_SCRIPTS = {"/usr/bin/ipcs": "exec cat /proc/sysvipc/shm", "/usr/bin/pgrep": 'exec pidof "$1"'}
_FILES = {
    "/etc/passwd": "root:x:0:0:root:/:/bin/sh\nwww-data:x:33:33:::/bin/sh\nnobody:x:65534:65534:::/bin/sh\n",
    "/etc/group": "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n",
}
# What a program names near its beginning that is not static.
_LINKER = b"/lib64/ld-linux", b"/lib/ld-linux", b"/lib/ld-musl"


@dataclass(frozen=True)
class Place:
    """A node on which it runs, and the state directory of its cluster."""

    node: str
    login: Login
    state: Path
    programs: str

    @classmethod
    def of(cls, cluster: Inventory) -> Place:
        """The last worker that is nothing else. Raises KubeproofError if there is none, or no cluster."""
        kubectl.kubeconfig(cluster.state)
        only = [host for host in cluster.group("workers") if not host.groups & {"control_plane", "etcd"}]
        if not only:
            raise KubeproofError(f"{PROGRAM} takes a node that can be without its kubelet: a worker that is only that")
        settings = Settings(only[-1])
        return cls(only[-1].name, remote.login(only[-1]), cluster.state, str(settings["cluster_bin_directory"]))

    def attempt(self, script: str, stdin: bytes = b"", *, timeout: float | None = 120) -> Result:
        """Run a script as root on the node, whatever comes of it."""
        command = [*self.login.ssh("-o", "BatchMode=yes"), self.login.rooted(f"sh -ec {shlex.quote(script)}")]
        return attempt(command, stdin=self.login.stdin + stdin, timeout=timeout)

    def run(self, script: str, stdin: bytes = b"", *, timeout: float | None = 120) -> str:
        """Run a script as root on the node that must succeed; what it prints."""
        said = self.attempt(script, stdin, timeout=timeout)
        if not said.ok:
            words = (said.stderr.strip() or said.stdout.strip()).splitlines()[-5:]
            raise KubeproofError("\n    ".join([f"{PROGRAM} on {self.node}: exit status {said.returncode}", *words]))
        return said.stdout


def program(cache: Cache, say: Say) -> Path:
    """The tests, built if they are not cached. Raises KubeproofError."""
    pinned, arch, tools = pins.load(), e2e.architecture(), gobuild.toolchain()
    component = pinned.components[PROGRAM]
    gobuild.check(pinned, component, arch, tools)
    say(f"{PROGRAM} {component.version}: cached, or built in {component.go.cold_seconds // 60} minutes and more")
    built, _ = gobuild.build(pinned, component, arch, tools, cache, silent)
    return built.blobs[PROGRAM].path


def busybox(say: Say) -> Path:
    """A static busybox of this machine, installed if it is not there. Raises KubeproofError."""
    controller_packages.ensure([BUSYBOX], say)
    found = Path(run(["sh", "-c", "command -v busybox"]).strip()).resolve()
    head = found.read_bytes()[:4096]
    if any(linker in head for linker in _LINKER):
        raise KubeproofError(
            f"{found} is not static, and the image that it is for has nothing else",
            hint="apt-get install busybox-static",
        )
    return found


def images(tool: Path, applets: Sequence[str], arch: str, directory: Path) -> dict[str, Path]:
    """Make the images of the tests: one with a shell and tools, and one that serves HTTP; archives by reference.

    ``applets``: paths without a slash before them, as ``busybox --list-full`` has them.
    """
    files: dict[str, tuple[Path, int]] = {"/bin/busybox": (tool, 0o755)}
    texts = {path: (f"#!/bin/sh\n{body}\n", 0o755) for path, body in _SCRIPTS.items()}
    texts |= {path: (text, 0o644) for path, text in {**_FILES, "/www/index.html": "served\n"}.items()}
    for number, (path, (text, mode)) in enumerate(texts.items()):
        source = directory / f"file-{number}"
        source.write_text(text, encoding="utf-8")
        files[path] = (source, mode)
    links = {f"/{applet}": "/bin/busybox" for applet in applets if f"/{applet}" not in files}
    made = {}
    for reference, entrypoint, ports in (
        (SHELL, (), ()),
        (WEB, ("httpd", "-f", "-p", "80", "-h", "/www"), ("80/tcp",)),
    ):
        archive = directory / f"{reference.rpartition('/')[2].partition(':')[0]}.tar"
        contents = oci.Contents(
            reference,
            arch,
            files,
            links,
            directories=["/tmp"],  # noqa: S108 - of the image
            user="0:0",
            entrypoint=entrypoint,
            arguments=() if entrypoint else ("sh",),
            ports=ports,
            labels={},
        )
        oci.write_archive(contents, archive)
        made[reference] = archive
    return made


def parcel(built: Path, archives: Mapping[str, Path]) -> bytes:
    """All that the node gets, as a tar: the program, the images, and what the tests read to find these."""
    listed = {"defaultTestContainerImage": SHELL, "webServerTestImage": WEB}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data, mode in (
            (PROGRAM, built.read_bytes(), 0o755),
            ("images.yml", yaml.safe_dump(listed).encode(), 0o644),
            *((path.name, path.read_bytes(), 0o644) for path in archives.values()),
        ):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def command(report: str, *more: str) -> list[str]:
    """The command line of the tests, which are those that measure nothing."""
    return [
        f"{DIRECTORY}/{PROGRAM}",
        f"-runtime-endpoint={SOCKET}",
        f"-image-endpoint={SOCKET}",
        f"-test-images-file={DIRECTORY}/images.yml",
        f"-ginkgo.junit-report={DIRECTORY}/{report}",
        f"-ginkgo.timeout={LIMIT}s",
        "-ginkgo.no-color",
        *more,
    ]


def unit(line: Sequence[str]) -> str:
    """The command that runs the tests in a unit of systemd, instead of the kubelet, and waits for it."""
    properties = [
        "Conflicts=kubelet.service",
        "After=kubelet.service",
        # Whatever ends the tests, and whether or not anybody is there to see it.
        "ExecStopPost=/bin/systemctl --no-block start kubelet.service",
        f"RuntimeMaxSec={LIMIT + _GRACE_SECONDS}",
        f"TimeoutStopSec={_GRACE_SECONDS}",
        f"StandardOutput=append:{DIRECTORY}/{PROGRAM}.log",
        f"StandardError=append:{DIRECTORY}/{PROGRAM}.log",
        f"WorkingDirectory={DIRECTORY}",
        f"Environment=TMPDIR={DIRECTORY}/scratch",
    ]
    given = [f"--property={each}" for each in properties]
    return shlex.join(["systemd-run", "--quiet", "--wait", "--collect", f"--unit={UNIT}", *given, *line])


def tidy(programs: str) -> str:
    """A script that removes from a node all that a run has left there.

    Among what the tests mount is the host's own /etc: nothing is deleted as long as something is mounted.
    """
    return f"""
systemctl stop {UNIT}.service 2>/dev/null || true
PATH={programs}:$PATH
crictl pods --quiet --namespace '{_NAMESPACES}' | xargs --no-run-if-empty crictl rmp --force >/dev/null || true
crictl rmi {SHELL} {WEB} >/dev/null 2>&1 || true
ctr --namespace k8s.io images remove {SHELL} {WEB} >/dev/null 2>&1 || true
findmnt --raw --noheadings --output TARGET | grep '^{DIRECTORY}/' | tac | xargs --no-run-if-empty umount || true
if findmnt --raw --noheadings --output TARGET | grep '^{DIRECTORY}/' >&2; then
  echo 'is still mounted: {DIRECTORY} is left as it is' >&2
  exit 1
fi
rm --recursive --force --one-file-system {DIRECTORY}
"""


def perform(place: Place, built: Path, archives: Mapping[str, Path], directory: Path, say: Say) -> e2e.Reports:
    """Run the tests on a node to their end, and leave it as it was; returns the reports.

    ``directory`` gets the reports and everything that the tests print. Raises KubeproofError if the run can't begin.
    """
    place.run(tidy(place.programs), timeout=300)
    reports = e2e.Reports(directory / "run.xml", directory / "rehearsal.xml")
    try:
        place.run(f"mkdir -p {DIRECTORY}/scratch; tar -x --no-same-owner -C {DIRECTORY}", parcel(built, archives))
        for archive in archives.values():
            load = f"{place.programs}/ctr --namespace k8s.io images import --local {DIRECTORY}/{archive.name}"
            place.run(load)
        rehearsed = shlex.join(command(reports.rehearsal.name, "-ginkgo.dry-run"))
        place.run(f"cd {DIRECTORY}; {rehearsed}")
        line = command(reports.run.name, "-ginkgo.v")
        say(f"{place.node}, without its kubelet: {shlex.join(line)}")
        # Failed tests are in the report, and what else went wrong is that there is none.
        ended = place.attempt(unit(line), timeout=LIMIT + 3 * _GRACE_SECONDS)
        say(f"{PROGRAM} on {place.node} ended with {ended.returncode} {ended.stderr.strip()}")
        for name in (reports.rehearsal.name, reports.run.name, f"{PROGRAM}.log"):
            (directory / name).write_text(place.run(f"cat {DIRECTORY}/{name} 2>/dev/null || true"), encoding="utf-8")
    finally:
        place.run(tidy(place.programs), timeout=300)
        _await_ready(place)
    return reports


def _await_ready(place: Place) -> None:
    """Wait until the node is ready again, with the kubelet that systemd has started."""
    wait = ["wait", "--for=condition=Ready", f"--timeout={_READY_SECONDS}s", f"node/{place.node}"]
    place.run("systemctl start kubelet.service")
    run(
        [*kubectl.command(place.state), *wait],
        env=kubectl.environment(kubectl.kubeconfig(place.state)),
        timeout=_READY_SECONDS + 30,
    )
