"""Upstream's end-to-end tests: their program, its command line for a cluster, and a run of it to the clean-up."""

from __future__ import annotations

import os
import platform
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from kubeproof.api import kubectl
from kubeproof.components import gobuild, pins
from kubeproof.components.cache import Cache
from kubeproof.components.lock import Lock
from kubeproof.components.progress import silent
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import ProgramFailed, attempt, run

Say = Callable[[str], None]

PROGRAM = "e2e.test"
# What upstream's framework gives all its namespaces.
_LABEL = "e2e-run"
# By image of ours, the key of its registry in upstream's list of them (test/utils/image/manifest.go).
_REGISTRIES = {"agnhost": "promoterE2eRegistry", "pause": "gcRegistry"}
_GONE_SECONDS = 300
# What the program has, once it is asked to end, to remove what its test made and to write its report. It asks itself
# when the limit is over, so the limit here is longer.
_GRACE_SECONDS = 120
_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Suite:
    """A selection of upstream's tests. ``focus``: a regular expression. ``limit``: seconds for all of them."""

    name: str
    focus: str
    limit: int


# All tests of network policies: those that need a network which enforces them, and those of the API alone.
NETPOL = Suite("netpol", r"\[sig-network\] Netpol", limit=2 * 3600)


@dataclass(frozen=True)
class Target:
    """A cluster. ``state``: the state directory of its inventory; ``images``: references of its images, by name."""

    state: Path
    version: str
    images: Mapping[str, str]

    @classmethod
    def of(cls, state: Path) -> Target:
        """The cluster that was installed from a state directory. Raises KubeproofError if none was."""
        kubectl.kubeconfig(state)
        lock, arch = Lock(state), architecture()
        entries = {name: lock.image(arch, name) for name in _REGISTRIES}
        missing = [name for name, entry in entries.items() if not entry]
        if missing:
            raise KubeproofError(f"{lock.path} does not say which image the cluster has for {', '.join(missing)}")
        return cls(
            state,
            lock.versions("current")["kubernetes"],
            {name: str(entry["reference"]) for name, entry in entries.items() if entry},
        )


def program(cache: Cache, version: str, say: Say) -> Path:
    """Upstream's tests of a version of Kubernetes, built if they are not cached. Raises KubeproofError."""
    pinned = pins.load().with_versions({"e2e": version})
    component, tools = pinned.components["e2e"], gobuild.toolchain()
    gobuild.check(pinned, component, architecture(), tools)
    say(f"{PROGRAM} of Kubernetes {version}: cached, or built in {component.go.cold_seconds // 60} minutes and more")
    built, _ = gobuild.build(pinned, component, architecture(), tools, cache, silent)
    return built.blobs[PROGRAM].path


def registries(images: Mapping[str, str]) -> dict[str, str]:
    """Where upstream finds the images that nodes have, as it reads it from KUBE_TEST_REPO_LIST."""
    return {key: images[name].rpartition("/")[0] for name, key in _REGISTRIES.items()}


@dataclass(frozen=True)
class Reports:
    """JUnit XML of a run, and of the rehearsal before, in which the tests that it selects have passed."""

    run: Path
    rehearsal: Path

    @classmethod
    def under(cls, directory: Path) -> Reports:
        """Where they are in the directory of a run."""
        return cls(directory / "junit_01.xml", directory / "junit_rehearsal_01.xml")


def rehearsal(suite: Suite, target: Target, built: Path, directory: Path) -> list[str]:
    """The command line that selects tests and asks nothing of the cluster."""
    return [*command(suite, target, built, directory), "--ginkgo.dry-run", "--report-prefix=rehearsal_"]


def command(suite: Suite, target: Target, built: Path, directory: Path) -> list[str]:
    """The command line, but for the URL that gets a report on each test."""
    return [
        # The kernel ends it if this process is killed: no tests continue that have lost their reader.
        "setpriv",
        "--pdeathsig=TERM",
        str(built),
        f"--kubeconfig={kubectl.kubeconfig(target.state)}",
        # Nothing here is done by a cloud.
        "--provider=skeleton",
        f"--report-dir={directory}",
        f"--e2e-output-dir={directory}",
        f"--ginkgo.focus={suite.focus}",
        f"--ginkgo.timeout={suite.limit}s",
        "--ginkgo.no-color",
        "--ginkgo.v",
    ]


def check_images(built: Path, environment: Mapping[str, str], images: Mapping[str, str]) -> None:
    """Raise KubeproofError unless the tests use the images that nodes have: others would be pulled."""
    used = run([str(built), "--list-images"], env=environment, timeout=120).split()
    for name, reference in images.items():
        if reference not in used:
            wanted = [each for each in used if each.rpartition("/")[2].startswith(f"{name}:")]
            raise KubeproofError(
                f"the cluster has {reference}, and upstream's tests would pull {', '.join(wanted) or 'another one'}",
                hint=f"choose the version of {name} that belongs to the cluster's version of Kubernetes",
            )


def perform(suite: Suite, target: Target, built: Path, directory: Path, say: Say) -> Reports:
    """Run a suite to its end, and remove from the cluster what is left of it; returns its reports.

    Failed tests are in the report, which a run that was killed has not written. ``directory`` gets the report and
    everything that the tests print (``e2e.log``). Raises KubeproofError if the run can't begin, or does not end.
    """
    listed = directory / "registries.yml"
    listed.write_text(yaml.safe_dump(registries(target.images)), encoding="utf-8")
    environment = {**kubectl.environment(kubectl.kubeconfig(target.state)), "KUBE_TEST_REPO_LIST": str(listed)}
    check_images(built, environment, target.images)
    run(rehearsal(suite, target, built, directory), env=environment, timeout=300)
    remove_leftovers(target.state)
    log = directory / "e2e.log"
    try:
        with log.open("w", encoding="utf-8") as output:
            line = command(suite, target, built, directory)
            say(f"{shlex.join(line)} > {log}")
            limit = suite.limit + _GRACE_SECONDS
            attend(line, environment, output.fileno(), limit, Progress(log, say).look)
    finally:
        remove_leftovers(target.state)
    return Reports.under(directory)


def remove_leftovers(state: Path, label: str = _LABEL) -> None:
    """Remove the namespaces of runs of upstream's tests, whatever has ended them, and wait until they are gone."""
    asked = [*kubectl.command(state), "delete", "namespaces", f"--selector={label}", f"--timeout={_GONE_SECONDS}s"]
    said = attempt(asked, env=kubectl.environment(kubectl.kubeconfig(state)), timeout=_GONE_SECONDS + 30)
    if not said.ok:
        raise ProgramFailed(asked, said)


class Progress:
    """What Ginkgo writes into its log, for people: tests done of how many, and which one is done.

    Upstream's own reports (``--progress-report-url``) leave out the tests: in 1.37.2 they count none as completed.
    """

    def __init__(self, log: Path, say: Say) -> None:
        self._log = log
        self._say = say
        self._offset = 0
        self._counted = {"PASSED": 0, "FAILED": 0}
        self._total = 0
        self._test = ""
        self._begins = False

    def look(self) -> None:
        """Say what is new."""
        with self._log.open("rb") as stream:
            stream.seek(self._offset)
            written = stream.read()
        # A line that is not written to its end is read the next time.
        whole = written[: written.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            self._read(line)

    def _read(self, line: str) -> None:
        if told := re.match(r"Will run (\d+) of \d+ specs", line):
            self._total = int(told[1])
        elif ended := re.match(r"\u2022 (?:\[(FAILED|PANICKED|TIMEDOUT|INTERRUPTED)\] )?\[([\d.]+) seconds\]", line):
            result = "FAILED" if ended[1] else "PASSED"
            self._counted[result] += 1
            done, failed = sum(self._counted.values()), self._counted["FAILED"]
            failures = f", {failed} failed" if failed else ""
            self._say(f"{done:3} of {self._total}{failures}  {result} {self._test} ({float(ended[2]):.0f} s)")
        elif self._begins and line.startswith("[sig-"):
            self._test = line
        self._begins = line.startswith("-----")


def architecture() -> str:
    """This machine's, by Go's name."""
    return pins.MACHINES[platform.machine()]


def attend(
    line: Sequence[str],
    environment: Mapping[str, str],
    output: int,
    limit: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Run a program to its end, or end it: when the limit is over, and when this process is interrupted.

    ``meanwhile``: what is done every other second, and at the end.
    """
    deadline = time.monotonic() + limit
    # In a session of its own it does not get the terminal's Ctrl-C as well: after two of them it would not tidy up.
    with subprocess.Popen(
        line, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    ) as process:
        try:
            while _runs(process, min(_LOOK_SECONDS, deadline - time.monotonic())):
                meanwhile()
                if time.monotonic() >= deadline:
                    raise KubeproofError(f"{PROGRAM} did not end within {limit:.0f} s")
        finally:
            _end(process)
            meanwhile()


def _runs(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it has not ended after so long."""
    try:
        process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
