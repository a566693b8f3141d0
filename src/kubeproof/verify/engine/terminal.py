"""The verification on a terminal: each claim as its tests end, by component, and the verdict."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from kubeproof.verify.engine.claims import Component
from kubeproof.verify.engine.results import NOT_ASKED_FOR, Circumstances, ClaimResult, Results, TestResult, Verdict
from kubeproof.verify.etcd_backups import history as backup_history
from kubeproof.verify.pod_startup import drawing

_SIGNS = {
    Verdict.PROVEN: ("✔", "ok", "green"),
    Verdict.REFUTED: ("✘", "NO", "red"),
    Verdict.BLOCKED: ("!", "??", "yellow"),
    Verdict.NOT_PROVEN: ("·", "--", "light"),
}
_WORDS = {
    "proven": ("every claim that was looked at is proven", "green"),
    "refuted": ("this cluster is not what it should be", "red"),
    "incomplete": ("no verdict: not everything could be looked at", "yellow"),
}
_NAME_WIDTH = 24
_MAX_WIDTH = 160


class Writer(Protocol):
    """As much of pytest's terminal reporter as is needed."""

    def write_line(self, line: str, **markup: bool) -> None:
        """Write a line, coloured where the terminal can."""


class ClaimDisplay:
    """Shows claims in the order of the report, each when its last test is over."""

    def __init__(self, results: Results, expected: Sequence[str], writer: Writer, *, plain: bool = False) -> None:
        """``expected`` has the claim's id once for each test that will run."""
        self._results = results
        self._pending = Counter(expected)
        self._writer = writer
        self._plain = plain
        self._shown: str = ""
        self._width = min(shutil.get_terminal_size((120, 0)).columns, _MAX_WIDTH)

    def result(self, result: TestResult) -> None:
        """Show a test's claim, if this was its last test."""
        self._pending[result.claim] -= 1
        if self._pending[result.claim] > 0:
            return
        claim = self._results.catalogue.claim(result.claim)
        if self._shown != claim.component:
            component = next(each for each in self._results.catalogue.components if each.id == claim.component)
            self._shown = claim.component
            self._writer.write_line(f"\n{component.title}", bold=True)
        seconds = sum(test.seconds for test in self._results.of(claim).tests)
        self._show(self._results.of(claim), f"{seconds:.1f} s")

    def finish(self, circumstances: Circumstances, written: Mapping[str, str]) -> None:
        """Show what was not proven, what is wrong, the verdict, and where the report is, by its forms."""
        self._pod_way()
        self._not_proven()
        wrong = [each for each in self._results.claims if each.verdict in {Verdict.REFUTED, Verdict.BLOCKED}]
        for result in wrong:
            self._details(result)
        for problem in self._results.problems:
            self._writer.write_line(f"\nproblem: {problem}", yellow=True)
        words, colour = _WORDS[self._results.verdict]
        counts = self._results.counts
        self._writer.write_line("")
        self._writer.write_line(f"{self._results.verdict.upper()}: {words}", **{colour: True, "bold": True})
        self._writer.write_line(
            f"{counts[Verdict.PROVEN]} proven, {counts[Verdict.REFUTED]} refuted, {counts[Verdict.BLOCKED]} blocked, "
            f"{counts[Verdict.NOT_PROVEN]} not proven here, of {sum(counts.values())} claims at level "
            f"{circumstances.level}, in {circumstances.seconds:.1f} s"
        )
        if history := self._results.sections.get("backups"):
            self._writer.write_line(f"backups: {backup_history.line(history)}")
        for warning in self._results.sections.get("warnings", []):
            self._writer.write_line(f"warning: {warning}", yellow=True)
        for form, place in written.items():
            self._writer.write_line(f"{form + ':':<8}{place}")

    def _show(self, result: ClaimResult, time: str = "") -> None:
        sign, plain_sign, colour = _SIGNS[result.verdict]
        text = result.headline if result.verdict is Verdict.PROVEN else result.reason
        line = f"  {plain_sign if self._plain else sign} {result.claim.id:<{_NAME_WIDTH}}"
        room = self._width - len(line) - len(time) - 2
        self._writer.write_line(f"{line} {_cut(text, room):<{max(room, 0)}} {time}".rstrip(), **{colour: True})

    def _pod_way(self) -> None:
        """The drawing of a pod's way, if one was followed."""
        if way := self._results.sections.get("pod_way"):
            plain = self._plain or not drawing.can_show(sys.stdout.encoding)
            self._writer.write_line("")
            for line in drawing.draw(way, width=self._width, plain=plain):
                self._writer.write_line(line)

    def _not_proven(self) -> None:
        """The claims without a verdict, together where the reason is the same."""
        by_reason: dict[str, list[str]] = {}
        for result in self._results.claims:
            if result.verdict is Verdict.NOT_PROVEN and result.reason != NOT_ASKED_FOR:
                by_reason.setdefault(result.reason, []).append(result.claim.id)
        if not by_reason:
            return
        self._writer.write_line("\nNot proven here", bold=True)
        for reason, names in by_reason.items():
            text = f"{reason}: {', '.join(names)}"
            for line in textwrap.wrap(text, self._width, initial_indent="  ", subsequent_indent="    "):
                self._writer.write_line(line, light=True)

    def _details(self, result: ClaimResult) -> None:
        component = self._component(result)
        _, _, colour = _SIGNS[result.verdict]
        title = f"\n{component.title}: {result.claim.id} is {result.verdict}"
        self._writer.write_line(title, **{colour: True, "bold": True})
        self._writer.write_line(f"  {result.claim.statement}")
        self._writer.write_line(f"  {result.reason}")
        for test in result.tests:
            for name, value in test.evidence.items():
                self._writer.write_line(f"    {name}: {_cut(str(value), self._width - len(name) - 6)}", light=True)

    def _component(self, result: ClaimResult) -> Component:
        return next(each for each in self._results.catalogue.components if each.id == result.claim.component)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…"
