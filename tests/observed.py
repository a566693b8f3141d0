"""What clients saw while something happened to a cluster, for people; and how a test shows lines while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from kubeproof.verify.faults.campaign import Observed
from kubeproof.verify.faults.checker import Entry, longest_gap

_OPERATIONS = (("write", "writes"), ("read", "consistent reads"), ("request", "application's requests"))


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Shows a line."""
    reporter: Any = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")

    def show(line: str) -> None:
        # Now, not when the test is over.
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(line)

    return show


def failed(seen: Observed) -> list[Entry]:
    """Questions that were not answered as they should."""
    return [entry for entry in seen.history.entries if entry.get("outcome", "ok") != "ok"]


def summary(seen: Observed) -> Iterator[str]:
    """Lines of a table: how many went well, how many failed, and the longest waits."""
    end = seen.started + seen.seconds
    counts = seen.history.counts()
    for operation, title in _OPERATIONS:
        outcomes = counts.get(operation, {})
        gap = longest_gap(seen.history.successes(operation), seen.started, end)
        wrong = sum(number for outcome, number in outcomes.items() if outcome != "ok")
        slowest = seen.history.slowest(operation, "ok", seen.started, end)
        yield (
            f"{title:<24} {outcomes.get('ok', 0):>6} ok, {wrong} failed, longest without one {gap.seconds:.1f} s, "
            f"longest wait {slowest:.1f} s"
        )
    yield f"{'sent once more':<24} {seen.history.retries:>6}"


def said(entries: Sequence[Entry], started: float) -> Iterator[str]:
    """What was answered instead."""
    for entry in entries:
        took = entry["end"] - entry["start"]
        yield f"{entry['op']} after {entry['start'] - started:.1f} s, for {took:.1f} s: {entry.get('detail')}"


def wrong(seen: Observed) -> list[str]:
    """Everything that clients must not have seen, none of which a cluster may show while it is looked after."""
    found = [f"{each.kind}: {each.what}" for each in seen.violations]
    missing = [f"no {title} at all" for name, title in _OPERATIONS if not seen.history.successes(name)]
    diverged = [seen.diverged] if seen.diverged else []
    return [*found, *missing, *diverged, *seen.unseen, *said(failed(seen), seen.started)]
