"""What a person sees while kubeproof works: a line per step, alive on a terminal and plain in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

# In a log, a step that takes long shows that it is alive this often, in seconds.
_SIGN_OF_LIFE = 30.0
_LABEL_WIDTH = 14


@dataclass
class Step:
    """Something that takes a while."""

    label: str
    detail: str = ""
    started: float = field(default_factory=time.monotonic)
    seconds: float | None = None
    failed: bool = False
    shown: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """How long it has taken, or has been taking."""
        return self.seconds if self.seconds is not None else time.monotonic() - self.started


class StepDisplay:
    """The steps of a command. Safe to use from several threads: steps may run side by side."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps: list[Step] = []
        self._lock = threading.Lock()
        self._live: Live | None = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show steps while they run. Other programs must not write to the terminal meanwhile."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self._running, console=self.console, refresh_per_second=8, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    @contextmanager
    def step(self, label: str) -> Iterator[Callable[[str], None]]:
        """A step, for as long as the block runs; yields what sets its detail."""
        step = Step(label)
        with self._lock:
            self.steps.append(step)
        try:
            yield lambda detail: self._detail(step, detail)
        except BaseException:
            step.failed = True
            raise
        finally:
            step.seconds = step.elapsed()
            self.console.print(_line(step, _mark(step)))

    def _detail(self, step: Step, detail: str) -> None:
        step.detail = detail
        now = time.monotonic()
        if self._live is None and now - step.shown > _SIGN_OF_LIFE:
            step.shown = now
            self.console.print(_line(step, Text("·")))

    def _running(self) -> RenderableType:
        with self._lock:
            return Group(*(_line(step, Spinner("dots")) for step in self.steps if step.seconds is None))


def _mark(step: Step) -> Text:
    return Text("✘", style="bold red") if step.failed else Text("✔", style="green")


def _line(step: Step, mark: RenderableType) -> Table:
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(width=1)
    line.add_column(width=_LABEL_WIDTH, no_wrap=True)
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(mark, step.label, Text(step.detail), duration(step.elapsed()))
    return line


def duration(seconds: float) -> str:
    """A time as people read it: ``4.2 s``, ``3 min 05 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def console() -> Console:
    """Standard output; a log gets lines that a person can still read."""
    output = Console(highlight=False, soft_wrap=False)
    if not output.is_terminal:
        output = Console(highlight=False, width=120)
    return output
