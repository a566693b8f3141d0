"""A playbook run on the terminal: one line per phase, and at the end what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kubeproof.core.console import duration
from kubeproof.install.run_record import Failure, Phase, Recorder, Task

_INDENT = 2
_TITLE_WIDTH = 30
# For marks, hosts, counts and times, beside a title that is longer.
_OTHERS_WIDTH = 56


class RunReporter:
    """Reports a run on a console. On a terminal the line of the current phase is rewritten until it is over."""

    def __init__(self, console: Console, log: str, *, quiet: bool = False) -> None:
        """``quiet``: phases that ended well are not shown."""
        self._console = console
        self._log = log
        self._quiet = quiet

    def task(self, phase: Phase, task: Task) -> None:
        """Show the current task. Without rich's live display, whose threads Ansible's forks lose."""
        if self._console.is_terminal:
            line = f"{' ' * _INDENT}… {phase.title}: {task.name} ({len(task.outcomes)} done)"
            self._overwrite(line[: self._console.width - 1])

    def diff(self, task: Task, host: str, text: str) -> None:
        """Show what a task changed in files on a host."""
        if self._console.is_terminal:
            self._overwrite("")
        self._console.print(Text.assemble((host, "bold"), f" · {_where(task.role, task.name)}"))
        self._console.print(Text.from_ansi(text.rstrip()), soft_wrap=True)

    def phase(self, phase: Phase) -> None:
        """Show a phase's line."""
        if self._console.is_terminal:
            self._overwrite("")
        if (phase.idle or self._quiet) and not phase.failed:
            return
        mark = Text("✘", style="bold red") if phase.failed else Text("✔", style="green")
        widest = max(_TITLE_WIDTH, self._console.width - _OTHERS_WIDTH)
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(width=1)
        line.add_column(width=min(max(_TITLE_WIDTH, cell_len(phase.title)), widest), no_wrap=True)
        line.add_column(ratio=1, no_wrap=True)
        line.add_column(width=12, justify="right", no_wrap=True)
        line.add_column(width=12, justify="right", no_wrap=True)
        line.add_row(mark, phase.title, _names(phase.hosts), _changes(phase), duration(phase.seconds))
        self._console.print(Padding(line, (0, 0, 0, _INDENT)))

    def end(self, recorder: Recorder) -> None:
        """Show what the run warned of, and why it failed, if it did."""
        for warning in dict.fromkeys(text for _, text in recorder.warnings):
            hosts = ", ".join(sorted({host for host, text in recorder.warnings if text == warning}))
            told = Text.assemble(("! ", "bold yellow"), (hosts, "bold"), f" · {warning}")
            self._console.print(Padding(told, (0, 0, 0, _INDENT)))
        for alike in _grouped(recorder.failures):
            self._console.print(_failure(alike))
        if recorder.failures:
            self._console.print(f"The complete log is {self._log}", soft_wrap=True)

    def _overwrite(self, line: str) -> None:
        self._console.file.write(f"\r\033[K{line}")
        self._console.file.flush()


def _grouped(failures: Sequence[Failure]) -> list[list[Failure]]:
    """Failures that differ in nothing but their host belong together."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.path, failure.message), []).append(failure)
    return list(groups.values())


def _failure(alike: Sequence[Failure]) -> Text:
    first = alike[0]
    hosts = ", ".join(sorted(failure.host for failure in alike))
    text = Text.assemble(("\n✘ ", "bold red"), (hosts, "bold"), f" · {_where(first.role, first.task)}\n")
    for line in first.message.splitlines():
        text.append(f"    {line}\n")
    if first.hint:
        text.append(f"    {first.hint}\n", style="bold")
    return text


def _where(role: str, task: str) -> str:
    return f"{role}: {task}" if role else task


def _names(hosts: Sequence[str]) -> str:
    return ", ".join(hosts) if len(hosts) <= 3 else f"{len(hosts)} hosts"


def _changes(phase: Phase) -> str:
    if phase.failed:
        return "failed"
    return f"{phase.changed} changed" if phase.changed else "unchanged"
