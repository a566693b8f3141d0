"""Steps and their words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from kubeproof.components.prefetch import Narrator
from kubeproof.components.progress import Event, Phase
from kubeproof.core.console import StepDisplay, duration


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (185.4, "3 min 05 s")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_step_is_one_line_in_a_log() -> None:
    output = io.StringIO()
    display = StepDisplay(Console(file=output, width=80))
    with display.showing(), display.step("Hosts") as tell:
        tell("making w1")
        tell("w1, w2")
    (line,) = output.getvalue().splitlines()
    assert line.startswith("✔ Hosts")
    assert "w1, w2" in line


def test_a_step_that_fails_is_marked() -> None:
    output = io.StringIO()
    display = StepDisplay(Console(file=output, width=80))
    with pytest.raises(ValueError, match="no"), display.step("Hosts"):
        raise ValueError("no")
    assert output.getvalue().startswith("✘ Hosts")


def test_a_fetch_is_told_in_words() -> None:
    said: list[str] = []
    narrator = Narrator(said.append)
    narrator(Event("etcd", Phase.CACHED))
    narrator(Event("kubernetes", Phase.BUILD, elapsed=65, typical=600))
    narrator(Event("runc", Phase.DOWNLOAD, done=1, total=4))
    narrator(Event("kubernetes", Phase.DONE))
    assert said == [
        "1 done",
        "1 done; building kubernetes 65 s of about 600",
        "1 done; building kubernetes 65 s of about 600, downloading runc 25 %",
        "2 done; downloading runc 25 %",
    ]
