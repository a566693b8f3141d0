"""What the preflight found: data, and the list that a person reads."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning"]

# In place of a host's name: what concerns the inventory as a whole.
SETTINGS = "settings"
_WIDTH = 110
_INDENT = " " * 11


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. ``subject`` is what it is about: a setting, a port, a path …

    ``id`` or ``id:subject`` in ``preflight_ignore`` leaves it out.
    """

    id: str
    subject: str
    host: str
    wrong: str
    mend: str
    severity: Severity = "error"


def relevant(findings: Iterable[Finding], ignored: Sequence[str]) -> list[Finding]:
    """Findings but those ignored, each once: settings first, then by host, errors before warnings."""
    kept = {entry for entry in findings if not {entry.id, f"{entry.id}:{entry.subject}"} & set(ignored)}
    return sorted(kept, key=lambda entry: (entry.host != SETTINGS, entry.host, entry.severity, entry.id, entry.wrong))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that stop an install."""
    return [entry for entry in findings if entry.severity == "error"]


def as_data(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings as JSON-ready dictionaries, with the fields of ``Finding``."""
    return [asdict(entry) for entry in findings]


def count(findings: Sequence[Finding]) -> str:
    """``2 errors, 1 warning``; ``nothing wrong`` if there is none."""
    wrong = len(errors(findings))
    counts = ((wrong, "error"), (len(findings) - wrong, "warning"))
    return ", ".join(f"{number} {word}{'s' * (number > 1)}" for number, word in counts if number) or "nothing wrong"


def render(findings: Sequence[Finding]) -> str:
    """The findings as a list by host. What is the same on several hosts is said once, for all of them."""
    lines: list[str] = []
    title = ""
    for hosts, entry in _merged(findings):
        if hosts != title:
            lines += ["", hosts]
            title = hosts
        lines += _entry(entry)
    return "\n".join(lines).strip("\n")


def _merged(findings: Sequence[Finding]) -> list[tuple[str, Finding]]:
    """Pairs of host names and a finding that they share, ordered so that equal host names are neighbours."""
    shared: dict[tuple[str, ...], list[Finding]] = {}
    for entry in findings:
        shared.setdefault((entry.id, entry.subject, entry.wrong, entry.mend, entry.severity), []).append(entry)
    merged = [(", ".join(entry.host for entry in entries), entries[0]) for entries in shared.values()]
    order = {hosts: position for position, (hosts, _) in reversed(list(enumerate(merged)))}
    return sorted(merged, key=lambda pair: order[pair[0]])


def _entry(entry: Finding) -> list[str]:
    lines = _wrapped(f"{entry.wrong} [{entry.id}]", f"  {entry.severity:<9}")
    return lines + (_wrapped(entry.mend, _INDENT + "→ ") if entry.mend else [])


def _wrapped(text: str, first: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
