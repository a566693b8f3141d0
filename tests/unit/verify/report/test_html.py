"""The page of a report: recorded ones of real clusters, and documents that no cluster would make."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from tests.unit.verify.pages import Page, stands_alone

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.report.html import pictures, render, view, way
from kubeproof.verify.report.html.facts import Bars, Items, Long, Pairs, Table, Text, fact
from kubeproof.verify.report.html.words import days_left, duration, milliseconds, moment

RECORDED = Path(__file__).parent / "recorded"
NAMES = ("proven", "refuted", "interrupted", "empty")
# Below these, contrast is too low for text, by WCAG 2.2 AA (1.4.3, 1.4.11).
_TEXT, _GRAPHICS = 4.5, 3.0


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return document


def check(html: str) -> Page:
    """A page that stands alone, with one script and headings in order."""
    page = stands_alone(html)
    assert page.tags["script"] == page.tags["style"] == page.tags["h1"] == page.tags["main"] == 1
    assert page.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    return page


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_report_becomes_a_page_that_stands_by_itself(name: str) -> None:
    document = load(name)
    page = check(render(document))
    for component in document["components"]:
        assert component["title"] in page.words
        for claim in component["claims"]:
            assert f"claim-{claim['id']}" in page.ids
            assert " ".join(claim["statement"].split()) in page.words


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_report_is_as_the_schema_says(name: str) -> None:
    jsonschema.validate(load(name), json.loads((paths.PROJECT / "docs" / "report.schema.json").read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_report_is_always_the_same_page(name: str) -> None:
    document = load(name)
    before = copy.deepcopy(document)
    assert render(document) == render(document)
    assert document == before


def test_of_a_proven_cluster_the_page_shows_what_was_measured() -> None:
    document = load("proven")
    page = check(render(document))
    assert "Every claim that was looked at holds" in page.words
    assert "attention" not in page.ids
    assert "From the command to a running process" in page.words
    for title in (
        "Requests to the API",
        "Pods after their creation",
        "A new service's rules",
        "Requests to a service",
    ):
        assert title in page.words
    assert document["certificates"][0]["subject"] in page.words
    assert all(step["title"] in page.words for step in document["pod_way"]["steps"])


def test_what_is_wrong_comes_first_and_says_what_to_do() -> None:
    page = check(render(load("refuted")))
    words = page.words
    assert words.index("Needs attention") < words.index("Claims by component")
    first = words[words.index("Needs attention") :]
    assert first.index("Refuted") < first.index("Blocked")
    assert "Look at" in first
    assert (
        "./kubeproof verify --inventory inventory/local/hosts.yml --level standard --only masters-unscheduled" in first
    )


def test_an_interrupted_verification_says_that_it_ended_early() -> None:
    words = check(render(load("interrupted"))).words
    assert "No verdict: " in words
    assert "the verification ended before" in words


def test_of_a_cluster_that_was_not_reached_there_is_a_page_as_well() -> None:
    words = check(render(load("empty"))).words
    assert "could not be reached" in words
    assert "No certificates were looked at." in words
    assert "No times were taken." in words


HOSTILE = [
    '<script>alert("x")</script>',
    '"><img src=x onerror=alert(1)>',
    "</style></script><script>alert(1)</script>",
    "{{ 7 * 7 }} {% raw %}",
    "javascript:alert(1)",
    "\u202eright to left\u0000\u0007",
    "Ä ö ü 中文 🙂 \ud800",
    "x" * 50_000,
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_was_observed_is_text(text: str) -> None:
    document = load("refuted")
    document["problems"], document["warnings"] = [text], [text]
    document["inventory"] = text
    document["cluster"]["server"] = text
    for component in document["components"]:
        for claim in component["claims"]:
            claim |= {"reason": text, "headline": text}
            for test in claim["tests"]:
                test |= {"message": text, "headline": text, "name": text}
                test["evidence"] = {
                    text: text,
                    "rows": [{text: text, "b": None}, {text: 1, "b": [text]}],
                    "deep": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": text}}}}}}}},
                    "list": [text, None, True, -1.5, 1e300, {}],
                    "shares": {text: 1, "b": 2},
                }
    document["pod_way"] = {
        "pod": text,
        "namespace": text,
        "node": text,
        "steps": [{"number": 1, "title": text, "lane": text, "to": None, "at_ms": 0, "record": text, "by": text}],
        "problems": [text],
    }
    html = render(document)
    page = check(html)
    assert page.tags["script"] == 1
    assert html.count("<script") == 1


def test_what_is_no_report_is_refused() -> None:
    for document in ({}, {"schema": "kubeproof.profile/1"}, {"schema": "kubeproof.report/1"}):
        with pytest.raises(KubeproofError, match=r"not the report|not as docs/report.schema.json says"):
            render(document)


def test_a_report_of_the_first_kubeproof_has_a_page() -> None:
    document = load("proven")
    for key in ("latencies", "certificates", "warnings", "pod_way"):
        document.pop(key, None)
    assert "No pod was followed" in check(render(document)).words or document["only"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, Text),
        (True, Text),
        (3.5, Text),
        ("words", Text),
        ("x" * 500, Long),
        ("two\nlines", Long),
        ('{"a": 1}', Long),
        ({"a": 1, "b": "c"}, Pairs),
        ({"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 4}}, Table),
        ([{"x": 1, "y": 2}, {"x": 3, "y": 4}], Table),
        ([1, 2, 3], Items),
        ([], Text),
        ({}, Text),
    ],
)
def test_each_observation_is_shown_as_what_it_is(value: Any, kind: type) -> None:
    assert isinstance(fact(value), kind)


def test_amounts_are_compared_and_statuses_are_not() -> None:
    assert isinstance(fact({"a": 1, "b": 2}, "seconds"), Bars)
    assert isinstance(fact({"pods": 200, "secrets": 403}, "answers"), Pairs)


def test_what_is_huge_is_cut_and_says_so() -> None:
    shown = fact("y" * 100_000)
    assert isinstance(shown, Long)
    assert shown.cut
    assert len(shown.value) < shown.size == 100_000
    rows = fact([{"n": number} for number in range(1000)])
    assert isinstance(rows, Table)
    assert len(rows.rows) + rows.more == 1000


def test_words() -> None:
    assert moment("2026-01-05T01:02:03.004+02:00") == "4 January 2026, 23:02:03 UTC"
    assert moment("no time") == "no time"
    assert [duration(each) for each in (0.04, 30.4, 125, 3725)] == ["0.0 s", "30 s", "2 min 5 s", "1 h 2 min"]
    assert [milliseconds(each) for each in (1.25, 99.6, 1234)] == ["1.2 ms", "100 ms", "1.23 s"]
    assert [days_left(each) for each in (-1, 1, 364, 3650)] == ["1 day over", "1 day", "364 days", "10 years"]


def certificate(days: int) -> dict[str, Any]:
    names = {"subject": f"CN=c{days}", "issuer": "CN=ca", "names": [], "where": "kubelet :10250", "host": "w1"}
    return {**names, "days_left": days, "not_after": "2027-01-01T00:00:00+00:00"}


def test_certificates_that_expire_soon_are_told_apart() -> None:
    chart = pictures.certificates([certificate(days) for days in (-3, 12, *(300 + n for n in range(40)))])
    assert chart
    assert [bar.state for bar in chart.first[:3]] == ["refuted", "blocked", "proven"]
    assert len(chart.first) + len(chart.rest) == 42
    assert all(0 <= bar.width <= 100 for bar in (*chart.first, *chart.rest))


def test_the_scale_of_requests_has_all_of_them() -> None:
    entry = {"verb": "get", "count": 3, "p50_ms": 0.4, "p90_ms": 90.0, "max_ms": 12_000.0, "buckets": [1, *[0] * 11, 2]}
    chart = pictures.verbs([entry])
    assert chart
    [verb] = chart.verbs
    assert 0 == verb.p50 <= verb.p90 <= verb.longest <= 100
    assert [part.x for part in verb.density if part.width <= 0] == []


def test_a_long_gap_is_drawn_shorter_and_time_does_not_run_backwards() -> None:
    times = (0.0, 5.0, 4.0, 4000.0)
    steps = [
        {"number": number, "title": "t", "lane": "etcd", "to": "kubelet", "at_ms": at}
        for number, at in enumerate(times, start=1)
    ]
    told = way.way({"pod": "p", "namespace": "n", "node": "w", "steps": steps, "problems": []})
    assert told
    assert [step.shortened for step in told.steps] == [False, False, False, True]
    assert max(step.gap_pixels for step in told.steps) < 40
    assert sum(share.width for share in told.shares) == pytest.approx(100, abs=0.1)


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+):\s*(#[0-9a-f]{6})", block))


def themes() -> dict[str, dict[str, str]]:
    css = (Path(pictures.__file__).parent / "page.css").read_text()
    light, dark, paper = (match.group(1) for match in re.finditer(r":root \{(.*?)\}", css, re.DOTALL))
    return {"light": colours(light), "dark": colours(light) | colours(dark), "print": colours(light) | colours(paper)}


def luminance(colour: str) -> float:
    def linear(part: int) -> float:
        share = part / 255
        return float(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)

    red, green, blue = (linear(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


_PAIRS = [
    *((ink, paper, _TEXT) for ink in ("ink", "dim", "link") for paper in ("paper", "card", "soft")),
    *((name, f"{name}-soft", _TEXT) for name in ("green", "red", "amber")),
    *((name, paper, _TEXT) for name in ("green", "red", "amber", "none") for paper in ("paper", "card")),
    *(("on-strong", name, _TEXT) for name in ("green", "red", "amber")),
    *(("card", name, _TEXT) for name in ("bar-dark",)),
    *((name, "card", _GRAPHICS) for name in ("bar", "bar-dark")),
    ("ink", "bar-soft", _TEXT),
]


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_colours_can_be_read(theme: str) -> None:
    palette = themes()[theme]
    pale = {
        (one, other): round(contrast(palette[one], palette[other]), 2)
        for one, other, needed in _PAIRS
        if contrast(palette[one], palette[other]) < needed
    }
    assert pale == {}


def test_several_inventories_are_given_again_one_by_one() -> None:
    document = {"inventory": "a, b c", "level": "quick"}
    assert view._command({**document, "inventories": ["a", "b c"]}) == (
        "./kubeproof verify --inventory a --inventory 'b c' --level quick"
    )
    assert view._command({**document, "inventory": "a"}) == "./kubeproof verify --inventory a --level quick"
