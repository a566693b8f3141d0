"""Findings of the preflight: data, and the list that is shown."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning"]

# In place of a host's name: what concerns the inventory as a whole.
SETTINGS = "settings"
_WIDTH = 110
# Keys of the document that are not the fields' names.
_KEYS = {"problem": "wrong", "remediation": "mend"}


@dataclass(frozen=True)
class Finding:
    """A problem on a host or in the settings, and its remediation.

    ``subject`` is what the problem is about: a setting, a port, a path … ``id`` or ``id:subject`` in
    ``preflight_ignore`` ignores the finding.
    """

    id: str
    problem: str
    remediation: str
    subject: str = ""
    host: str = SETTINGS
    severity: Severity = "error"

    @property
    def reference(self) -> str:
        """How ``preflight_ignore`` names this finding only."""
        return f"{self.id}:{self.subject}" if self.subject else self.id


def relevant(findings: Iterable[Finding], ignored: Collection[str]) -> list[Finding]:
    """Findings except those ignored, each once: settings first, then by host, errors before warnings."""
    kept = {entry for entry in findings if entry.id not in ignored and entry.reference not in ignored}
    return sorted(kept, key=lambda entry: (entry.host != SETTINGS, entry.host, entry.severity, entry.id, entry.problem))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that stop an installation."""
    return [entry for entry in findings if entry.severity == "error"]


def as_data(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings as JSON-ready dictionaries: the fields of ``Finding``, two of them under the document's own keys."""
    return [{_KEYS.get(name, name): value for name, value in asdict(entry).items()} for entry in findings]


def count(findings: Sequence[Finding]) -> str:
    """``2 errors, 1 warning``; ``nothing wrong`` if there is none."""
    wrong = len(errors(findings))
    counts = ((wrong, "error"), (len(findings) - wrong, "warning"))
    return ", ".join(f"{number} {word}{'s' * (number > 1)}" for number, word in counts if number) or "nothing wrong"


def render(findings: Sequence[Finding]) -> str:
    """The findings as a list by host. A finding that several hosts share is listed once."""
    lines: list[str] = []
    title = ""
    for hosts, entry in _merged(findings):
        if hosts != title:
            lines += ["", hosts]
            title = hosts
        lines += _wrapped(f"{entry.problem} [{entry.reference}]", f"  {entry.severity:<9}")
        lines += _wrapped(entry.remediation, " " * 11 + "→ ")
    return "\n".join(lines).strip("\n")


def _merged(findings: Sequence[Finding]) -> list[tuple[str, Finding]]:
    """Host names and the finding that they share, ordered so that the same host names are adjacent."""
    shared: dict[tuple[str, ...], list[Finding]] = {}
    for entry in findings:
        shared.setdefault((entry.id, entry.subject, entry.problem, entry.remediation, entry.severity), []).append(entry)
    merged = [(", ".join(entry.host for entry in entries), entries[0]) for entries in shared.values()]
    titles = list(dict.fromkeys(hosts for hosts, _ in merged))
    return sorted(merged, key=lambda pair: titles.index(pair[0]))


def _wrapped(text: str, first: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
