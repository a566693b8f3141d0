"""docs/claims.md's tables, written from the claims, their tests, the topologies of kubeproof's tests, and saboteurs.

``python -m tools.claims_page`` rewrites the parts of the page between its markers; a unit test fails when one of them
is not what this module would write.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence

from tests import needs, preconditions, topologies
from tests.saboteurs.framework import registry
from tests.topologies import Topology

from kubeproof.core import paths
from kubeproof.verify.engine import claims
from kubeproof.verify.engine.claims import Claim

PAGE = paths.PROJECT / "docs" / "claims.md"
_STATEMENT_CHARACTERS = 90
# More than so many are said by those that are missing.
_MANY = 8


def sections() -> dict[str, str]:
    """The parts of the page, by the names of their markers."""
    known = topologies.load()
    return {"topologies": _topologies(known), "claims": _claims(known), "unproven": _unproven(known)}


def page(text: str, parts: Mapping[str, str]) -> str:
    """``text`` with the parts between their markers, ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``."""
    for name, part in parts.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n{part}\n{end}{after}"
    return text


def needed(tests: Collection[preconditions.Test], claim: str) -> tuple[needs.Need, ...]:
    """What the tests of a claim need, all together."""
    return needs.of_texts({text for test in tests if test.claim == claim for text in test.said})


def _topologies(known: Sequence[Topology]) -> str:
    head = ["| topology | hosts | settings besides the defaults | made and verified by | level |", "|" + " --- |" * 5]
    return "\n".join(head + [_topology(each) for each in known])


def _topology(each: Topology) -> str:
    hosts = ", ".join(
        f"{group} {' '.join(sorted(each.group(group)))}" for group in ("control_plane", "etcd", "workers")
    )
    level = f"{each.level}; disruptive: {', '.join(each.also)}" if each.also else str(each.level)
    settings = ", ".join(f"`{name}`" for name in each.given)
    return f"| {each.name} | {hosts} | {settings} | `{each.made_by}` | {level} |"


def _claims(known: Sequence[Topology]) -> str:
    tests, parts = preconditions.every_test(), []
    for component in claims.load().components:
        parts += [f"### {component.title}", "", *_table(component.claims, tests, known), ""]
    return "\n".join(parts[:-1])


def _table(
    of_component: Sequence[Claim], tests: Collection[preconditions.Test], known: Sequence[Topology]
) -> Iterator[str]:
    saboteurs = registry.load()
    yield "| claim | statement | level | tests | needs | proven on | saboteurs |"
    yield "|" + " --- |" * 7
    for claim in of_component:
        wanted = needed(tests, claim.id)
        cells = (
            f"`{claim.id}`",
            _shortened(claim.statement),
            str(claim.level),
            ", ".join(f"`{test.node_id}`" for test in tests if test.claim == claim.id),
            ", ".join(need.text for need in wanted),
            _names(needs.proven_on(claim, wanted, known), [each for each in known if each.looks_at(claim)]),
            ", ".join(f"`{each.name}`" for each in registry.select(saboteurs, ()) if claim.id in each.claims),
        )
        yield f"| {' | '.join(cells)} |"


def _shortened(statement: str) -> str:
    """The beginning of a statement, to the end of a word."""
    if len(statement) <= _STATEMENT_CHARACTERS:
        return statement
    return statement[:_STATEMENT_CHARACTERS].rpartition(" ")[0].rstrip(",;:") + " …"


def _names(proven: Sequence[Topology], looking: Sequence[Topology]) -> str:
    """Topologies that prove a claim, of those that look at it."""
    names = [each.name for each in proven]
    if not names:
        return "none, see below"
    if len(names) <= _MANY:
        return ", ".join(names)
    missing = [each.name for each in looking if each not in proven]
    return f"all but {', '.join(missing)}" if missing else "all"


def _unproven(known: Sequence[Topology]) -> str:
    tests = preconditions.every_test()
    left = [claim for claim in claims.load().claims if not needs.proven_on(claim, needed(tests, claim.id), known)]
    listed = "\n".join(f"- `{claim.id}`: {needs.UNPROVEN[claim.id]}." for claim in left)
    return listed or "None."


def main() -> None:
    """Rewrite the page in place."""
    PAGE.write_text(page(PAGE.read_text(), sections()))


if __name__ == "__main__":
    # The tests are not of the installed package.
    sys.path.append(str(paths.PROJECT))
    main()
