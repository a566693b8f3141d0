"""docs/saboteurs.md's table, written from the saboteurs in tests/saboteurs.

``python -m tools.saboteurs_page`` rewrites the part of the page between its two markers; a unit test fails when
that part is not what this module would write.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.saboteurs.framework import registry
from tests.saboteurs.framework.registry import Saboteur

from kubeproof.core import paths

PAGE = paths.PROJECT / "docs" / "saboteurs.md"
BEGIN, END = "<!-- saboteurs: begin -->", "<!-- saboteurs: end -->"


def table(saboteurs: Sequence[Saboteur]) -> str:
    """All saboteurs as a table in Markdown, component by component."""
    head = ["| what is broken | claims it makes false | saboteur | quick |", "| --- | --- | --- | --- |"]
    return "\n".join(head + [_row(each) for each in saboteurs])


def page(text: str, table_: str) -> str:
    """``text`` with a table between the markers."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table_}\n{END}{after}"


def _row(each: Saboteur) -> str:
    claims = ", ".join(each.claims)
    return f"| {each.breaks.replace('|', chr(92) + '|')} | {claims} | `{each.name}` | {'yes' if each.quick else ''} |"


def main() -> None:
    """Rewrite the page in place."""
    # The saboteurs are not of the installed package.
    sys.path.append(str(paths.PROJECT))
    PAGE.write_text(page(PAGE.read_text(), table(registry.load())))


if __name__ == "__main__":
    main()
