"""A saboteur put to the test: while it is at work its claims are refuted, and after its repair they are proven."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.saboteurs.framework import registry, snapshot
from tests.saboteurs.framework.registry import Finding, Saboteur
from tests.saboteurs.framework.snapshot import Snapshot

from kubeproof.core import paths
from kubeproof.core.environment import environment
from kubeproof.verify.act.disruption import LIMIT_SECONDS
from kubeproof.verify.engine import run
from kubeproof.verify.engine.claims import Catalogue
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable

# The hosts repair by themselves what has been broken for too long; a verification that takes that long saw both.
_RED_SECONDS = LIMIT_SECONDS - 40.0
_GREEN_SECONDS = 180.0
_CLEAN_UP_SECONDS = 120.0
_RESTORED_SECONDS = 60.0
_PAUSE = 0.1
_LAST_LINES = 15


class Unfinished(AssertionError):
    """A verification ended, or was ended, before it had findings."""


class NotAsItWas(AssertionError):
    """A saboteur's repair has left differences."""


class Verification:
    """A verification of some claims in a process of its own."""

    def __init__(self, cluster: Cluster, claims: tuple[str, ...], catalogue: Catalogue) -> None:
        """Nothing is started yet."""
        self._directory = tempfile.TemporaryDirectory(prefix="kubeproof-")
        directory = Path(self._directory.name)
        self._announced, self._said = directory / "findings.json", directory / "output"
        level = max(catalogue.claim(claim).level for claim in claims)
        options = run.Options(
            only=claims,
            level=str(level),
            report=str(directory / "report.json"),
            more=("-p", "tests.saboteurs.framework.herald", f"--announce={self._announced}"),
        )
        self._command = run.command(cluster.inventory.path, options)
        self._started: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # One that still runs has findings and cleans up, unless something went wrong here: then it is made to.
        if self._started:
            if error and self._started.poll() is None:
                self._started.terminate()
            try:
                self._started.wait(_CLEAN_UP_SECONDS)
            except subprocess.TimeoutExpired:
                self._started.kill()
        self._directory.cleanup()

    def start(self) -> None:
        """Begin. An interrupt from the keyboard is for this process to pass on."""
        with self._said.open("wb") as output:
            self._started = subprocess.Popen(
                self._command,
                cwd=paths.PROJECT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def findings(self, timeout: float) -> Mapping[str, Finding]:
        """Its findings, as soon as it has all. It then cleans up. Raises Unfinished if it has none in time."""
        deadline = time.monotonic() + timeout
        while not self._announced.exists():
            if self._process.poll() is not None and not self._announced.exists():
                raise Unfinished(f"the verification ended without findings; it said:\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise Unfinished(f"the verification has no findings after {timeout:.0f} s:\n{self._last_words()}")
            time.sleep(_PAUSE)
        announced = json.loads(self._announced.read_text())
        return {
            claim: Finding(found["verdict"], found["reason"], tuple(found["tests"]), tuple(found["failed"]))
            for claim, found in announced.items()
        }

    def complaints(self) -> list[str]:
        """What it has to complain about at its end, besides findings."""
        status = self._process.wait(_CLEAN_UP_SECONDS)
        return [] if status == 0 else [f"the verification ended with {status}; it said:\n{self._last_words()}"]

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        if self._started is None:
            raise RuntimeError("the verification was not started")
        return self._started

    def _last_words(self) -> str:
        lines = self._said.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-_LAST_LINES:])


@dataclass
class Trial:
    """What became of one saboteur, and how many seconds each step took. ``complaints`` is empty if it was caught.

    ``left_out``: why it can't be at work on this cluster.
    """

    saboteur: Saboteur
    complaints: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: str = ""
    found: Mapping[str, Finding] = field(default_factory=dict)

    @property
    def caught(self) -> bool:
        """Whether every claim was refuted for the right reason, and proven again after the repair."""
        return not self.complaints and not self.left_out


def hold(cluster: Cluster, saboteur: Saboteur, catalogue: Catalogue, before: Snapshot, trial: Trial) -> None:
    """Let a saboteur work and be repaired, and fill in what the verification says about it.

    Raises NotAsItWas if its repair has left the cluster other than it was before.
    """
    clock = _Clock(trial.seconds)
    try:
        _make_red(cluster, saboteur, catalogue, clock, trial)
        _await_restored(cluster, before)
        clock.lap("as before")
        with Verification(cluster, saboteur.claims, catalogue) as green:
            green.start()
            trial.complaints += registry.not_restored(saboteur, green.findings(_GREEN_SECONDS)) or green.complaints()
        clock.lap("proven")
    except NotObservable as reason:
        trial.left_out = str(reason)
        return
    except NotAsItWas:
        raise
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the next one must find the cluster as it was
        trial.complaints.append(f"{type(error).__name__}: {error}")
    _await_restored(cluster, before)


def _make_red(cluster: Cluster, saboteur: Saboteur, catalogue: Catalogue, clock: _Clock, trial: Trial) -> None:
    # As soon as there are findings the cluster is repaired, for the verification to clean up.
    with Verification(cluster, saboteur.claims, catalogue) as red:
        with saboteur.at_work(cluster):
            clock.lap("broken")
            red.start()
            trial.found = red.findings(_RED_SECONDS)
            clock.lap("refuted")
        clock.lap("repaired")
        trial.complaints += registry.missed(saboteur, trial.found)


class _Clock:
    def __init__(self, laps: dict[str, float]) -> None:
        self._laps, self._last = laps, time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self._laps[name] = round(now - self._last, 2)
        self._last = now


def _await_restored(cluster: Cluster, before: Snapshot) -> None:
    differences = snapshot.await_same(cluster, before, _RESTORED_SECONDS)
    if differences:
        raise NotAsItWas("\n".join(["the cluster is not as it was:", *(f"  {each}" for each in differences)]))
