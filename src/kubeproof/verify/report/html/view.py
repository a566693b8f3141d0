"""A report's document as the page needs it: what is wrong first, what is alike together."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.verify.report.html.words import count

FAMILY = "kubeproof.report/"
UNFINISHED = "the verification ended before"
_LOOK_AT = re.compile(r"\s*\(look at: ([^)]+)\)")
# More claims than these are verified again all together.
_NAMED = 6
_ORDER = ("proven", "refuted", "blocked", "not-proven")


@dataclass(frozen=True)
class Test:
    """One test of a claim."""

    name: str
    outcome: str
    message: str
    headline: str
    started: str
    seconds: float
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """One claim and what is known of it."""

    id: str
    component: str
    statement: str
    why: str
    source: tuple[int, ...]
    level: str
    verdict: str
    reason: str
    headline: str
    tests: tuple[Test, ...]

    @property
    def seconds(self) -> float:
        """How long its tests took."""
        return sum(test.seconds for test in self.tests)


@dataclass(frozen=True)
class Component:
    """A part of the cluster and its claims."""

    id: str
    title: str
    claims: tuple[Claim, ...]

    @property
    def tally(self) -> str:
        """Its claims by verdict, in words."""
        numbers = {verdict: sum(claim.verdict == verdict for claim in self.claims) for verdict in _ORDER}
        return ", ".join(f"{number} {verdict.replace('-', ' ')}" for verdict, number in numbers.items() if number)


@dataclass(frozen=True)
class Trouble:
    """Something that an operator has to look into: claims that the same observation is about."""

    verdict: str
    claims: tuple[Claim, ...]
    message: str
    look_at: str
    again: str


@dataclass(frozen=True)
class Part:
    """Claims of one verdict, as a part of all."""

    verdict: str
    number: int
    x: float
    width: float


@dataclass(frozen=True)
class Page:
    """All that the page says in words."""

    schema: str
    verdict: str
    sentence: str
    rest: str
    started: str
    finished: str
    seconds: float
    level: str
    only: tuple[str, ...]
    cluster: Mapping[str, Any]
    nodes: tuple[Mapping[str, Any], ...]
    parts: tuple[Part, ...]
    components: tuple[Component, ...]
    troubles: tuple[Trouble, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    not_proven: tuple[tuple[str, tuple[Claim, ...]], ...]
    again: str
    way_missing: str

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All claims."""
        return tuple(claim for component in self.components for claim in component.claims)

    @property
    def tests(self) -> int:
        """How many tests there were."""
        return sum(len(claim.tests) for claim in self.claims)


def page_of(document: Mapping[str, Any]) -> Page:
    """The page of a document. Raises KubeproofError if it is no report."""
    if not isinstance(document, Mapping) or not str(document.get("schema", "")).startswith(FAMILY):
        raise KubeproofError(f"this is not the report of a verification: it does not say schema: {FAMILY}1")
    try:
        return _page(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise KubeproofError(f"this report is not as docs/report.schema.json says: {error!r}") from error


def _page(document: Mapping[str, Any]) -> Page:
    components = tuple(_component(each) for each in document["components"])
    claims = [claim for component in components for claim in component.claims]
    problems = tuple(str(problem) for problem in document.get("problems") or [])
    base = _command(document)
    sentence, rest = _sentence(str(document["verdict"]), claims, problems, reached=bool(document["cluster"]))
    return Page(
        schema=str(document["schema"]),
        verdict=str(document["verdict"]),
        sentence=sentence,
        rest=rest,
        started=str(document["started"]),
        finished=str(document["finished"]),
        seconds=float(document["seconds"]),
        level=str(document["level"]),
        only=tuple(str(name) for name in document["only"]),
        cluster=document["cluster"],
        nodes=tuple(document["cluster"].get("nodes") or ()),
        parts=_parts(claims),
        components=components,
        troubles=_troubles(claims, base),
        problems=problems,
        warnings=tuple(str(warning) for warning in document.get("warnings") or []),
        not_proven=_not_proven(claims),
        again=_with(base, [f"--only {shlex.quote(str(name))}" for name in document["only"]]),
        way_missing=_way_missing(document, claims),
    )


def _component(item: Mapping[str, Any]) -> Component:
    title = str(item["title"])
    return Component(str(item["id"]), title, tuple(_claim(claim, title) for claim in item["claims"]))


def _claim(item: Mapping[str, Any], component: str) -> Claim:
    return Claim(
        id=str(item["id"]),
        component=component,
        statement=str(item["statement"]),
        why=str(item["why"]),
        source=tuple(item["source"]),
        level=str(item["level"]),
        verdict=str(item["verdict"]),
        reason=str(item["reason"]),
        headline=str(item["headline"]),
        tests=tuple(_test(test) for test in item["tests"]),
    )


def _test(item: Mapping[str, Any]) -> Test:
    return Test(
        name=str(item["name"]),
        outcome=str(item["outcome"]),
        message=str(item["message"]),
        headline=str(item["headline"]),
        started=str(item["started"]),
        seconds=float(item["seconds"]),
        evidence=item["evidence"],
    )


def _sentence(verdict: str, claims: Sequence[Claim], problems: Sequence[str], *, reached: bool) -> tuple[str, str]:
    """The verdict in a sentence, and what it leaves open."""
    number = {each: sum(claim.verdict == each for claim in claims) for each in _ORDER}
    looked_at = number["proven"] + number["refuted"] + number["blocked"]
    unfinished = sum(claim.reason == UNFINISHED for claim in claims)
    others = number["not-proven"]
    rest = f"{count(others, 'more claim')} {'is' if others == 1 else 'are'} listed as not proven, each with its reason."
    if verdict == "proven":
        return f"Every claim that was looked at holds: {looked_at} of {looked_at}.", rest if number[
            "not-proven"
        ] else ""
    if verdict == "refuted":
        refuted = number["refuted"]
        said = f"{count(refuted, 'claim')} of {looked_at} {'does' if refuted == 1 else 'do'} not hold on this cluster."
        return said, rest
    open_ends = [
        not reached and "the cluster could not be reached",
        number["blocked"] and f"{count(number['blocked'], 'claim')} could not be looked at",
        reached
        and unfinished
        and f"the verification ended before {count(unfinished, 'claim')} {_was(unfinished)} looked at",
        reached and problems and count(len(problems), "problem"),
    ]
    reasons = ", ".join(str(each) for each in open_ends if each) or "nothing was looked at"
    return f"No verdict: {reasons}.", f"{number['proven']} of {len(claims)} claims are proven, none is refuted."


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _parts(claims: Sequence[Claim]) -> tuple[Part, ...]:
    parts = []
    x = 0.0
    for verdict in _ORDER:
        number = sum(claim.verdict == verdict for claim in claims)
        width = 100 * number / (len(claims) or 1)
        parts.append(Part(verdict, number, round(x, 3), round(width, 3)))
        x += width
    return tuple(parts)


def _troubles(claims: Iterable[Claim], base: str) -> tuple[Trouble, ...]:
    """Refuted claims, each by itself, then blocked ones, together where the same thing was in the way."""
    claims = list(claims)
    found = [_trouble("refuted", [claim], claim.reason, base) for claim in claims if claim.verdict == "refuted"]
    blocked: dict[str, list[Claim]] = {}
    for claim in claims:
        if claim.verdict == "blocked":
            blocked.setdefault(claim.reason, []).append(claim)
    found += [_trouble("blocked", together, reason, base) for reason, together in blocked.items()]
    unfinished = [claim for claim in claims if claim.reason == UNFINISHED]
    if unfinished:
        found.append(_trouble("not-proven", unfinished, "The verification ended before these were looked at.", base))
    return tuple(found)


def _trouble(verdict: str, claims: Sequence[Claim], reason: str, base: str) -> Trouble:
    places = dict.fromkeys(_LOOK_AT.findall(reason))
    return Trouble(
        verdict=verdict,
        claims=tuple(claims),
        message=_LOOK_AT.sub("", reason),
        look_at=", ".join(places) or (claims[0].component if verdict == "refuted" else ""),
        again=_with(base, [f"--only {shlex.quote(claim.id)}" for claim in claims]) if len(claims) <= _NAMED else "",
    )


def _not_proven(claims: Iterable[Claim]) -> tuple[tuple[str, tuple[Claim, ...]], ...]:
    by_reason: dict[str, list[Claim]] = {}
    for claim in claims:
        if claim.verdict == "not-proven":
            by_reason.setdefault(claim.reason, []).append(claim)
    return tuple((reason, tuple(together)) for reason, together in by_reason.items())


def _command(document: Mapping[str, Any]) -> str:
    # Reports of earlier versions have one alone, or several in one text.
    inventories = document.get("inventories") or [document["inventory"]]
    given = " ".join(f"--inventory {shlex.quote(str(each))}" for each in inventories)
    return f"./kubeproof verify {given} --level {document['level']}"


def _with(command: str, options: Sequence[str]) -> str:
    return " ".join([command, *options])


def _way_missing(document: Mapping[str, Any], claims: Iterable[Claim]) -> str:
    if not document["cluster"]:
        return "The cluster could not be reached."
    if document["level"] == "quick":
        return "At level quick no pods are started; level standard follows one."
    if document["only"]:
        return "Only the claims that were named were looked at, and following a pod was not among them."
    if any(claim.reason == UNFINISHED for claim in claims):
        return "The verification ended before a pod was followed."
    told = document.get("pod_way") or {}
    problems = told.get("problems") if isinstance(told, Mapping) else None
    return "; ".join(str(each) for each in problems) if problems else "No pod was followed in this verification."
