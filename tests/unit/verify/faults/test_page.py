"""The document of a campaign and its page: of campaigns that a seed made up, and of ones that went wrong."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from tests.unit.verify.faults import campaigns
from tests.unit.verify.pages import Page, stands_alone

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.faults.campaign import Outcome
from kubeproof.verify.faults.checker import History, Violation
from kubeproof.verify.faults.kinds import KINDS
from kubeproof.verify.faults.page import number, render
from kubeproof.verify.faults.picture import COMPONENTS, clock, component, picture
from kubeproof.verify.report.html.words import duration

_HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}\ud800"


@functools.cache
def _campaign(faults: int) -> Outcome:
    return campaigns.outcome(faults)


def campaign(faults: int) -> Outcome:
    made = _campaign(faults)
    return dataclasses.replace(made, history=History(list(made.history.entries)), struck=list(made.struck), left_out={})


def failed() -> Outcome:
    outcome = campaign(19)
    outcome.struck[-1] = dataclasses.replace(outcome.struck[-1], recovered=0, missing="node w2 is not ready")
    outcome.violations = [
        Violation("lost", campaigns.START + 9, "register 0: 7 was acknowledged, at the end it has 6"),
        *(Violation("stale", campaigns.START + each, f"a stale read {each}") for each in range(200)),
    ]
    outcome.left_out = {"time": "after 19 of 100 faults the time was over"}
    outcome.requested = 100
    return outcome


def nothing() -> Outcome:
    return Outcome(History(), left_out={kind.name: "not here" for kind in KINDS}, requested=19)


OUTCOMES = {"19": lambda: campaign(19), "100": lambda: campaign(100), "failed": failed, "nothing": nothing}


@pytest.fixture(params=OUTCOMES)
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    # As a reader has it.
    found: dict[str, Any] = json.loads(json.dumps(OUTCOMES[request.param]().document()))
    return found


def check(html: str) -> Page:
    """A page that stands alone, and runs nothing."""
    page = stands_alone(html)
    assert page.tags["script"] == 0
    assert page.values("style") == []
    assert "default-src 'none'" in next(value for value in page.values("content") if "default-src" in value)
    return page


def test_a_document_is_as_the_schema_says(document: dict[str, Any]) -> None:
    jsonschema.validate(document, json.loads((paths.PROJECT / "docs" / "faults.schema.json").read_text()))


def test_a_page_stands_by_itself_and_has_every_fault_in_words(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    html = render(document)
    page = check(html)
    assert document == before
    assert render(document) == html
    assert document["verdict"].capitalize() in page.words
    for kind in document["kinds"]:
        assert kind["title"] in page.words
        assert all(setting in page.words for setting in kind["settings"])
    for what, reason in document["left_out"].items():
        assert what in page.words
        assert reason in page.words


def test_a_campaign_that_a_cluster_survived() -> None:
    document = campaign(100).document()
    page = check(render(document))
    acknowledged = document["counts"]["write"]["ok"]
    assert document["verdict"] == "survived"
    assert f"100 faults, {number(acknowledged)} writes acknowledged, none lost" in page.text
    assert "attention" not in page.values("id")
    assert sum(document["timeline"]["writes"]["ok"]) == acknowledged
    # The picture and the table have each of them.
    assert page.values("class").count("fault etcd") == sum(
        each["kind"].startswith("etcd") for each in document["faults"]
    )
    assert sum(value.startswith("fault ") for value in page.values("class")) == 100
    assert page.tags["desc"] == 1


def test_what_a_client_outside_saw_is_in_both_tables_and_the_picture() -> None:
    document = campaign(100).document()
    found = [each for each in document["faults"] if "outside_unavailable" in each]
    assert {each["kind"] for each in found} == {kind.name for kind in KINDS if kind.outside}
    words = check(render(document)).words
    assert words.count(" outside ") == 2 * len(found) + 1
    for each in found:
        assert f"none outside for {duration(each['outside_unavailable'])}" in words


def test_what_must_not_have_happened_comes_first() -> None:
    document = failed().document()
    page = check(render(document))
    assert document["verdict"] == "failed"
    assert next(value for value in page.values("id") if not value.startswith("h-") and value != "main") == "attention"
    for said in (
        "lost, 1 of them",
        "stale, 200 of them",
        "the cluster did not recover: node w2 is not ready",
        "101 more in the JSON",
    ):
        assert said in page.words
    assert "1 lost, 200 other violations" in page.words
    assert "100 were asked for" in page.words


def test_a_campaign_without_faults_or_writes_has_failed() -> None:
    assert nothing().document()["failures"] == [
        "no fault happened",
        "no write was acknowledged, so that none could have been lost",
    ]


def test_an_hour_without_answers_is_no_survival() -> None:
    outcome = campaign(19)
    gone = outcome.struck[4]
    outcome.history.entries = [
        entry
        for entry in outcome.history.entries
        if entry["op"] != "request" or not gone.begin < entry["end"] < gone.begin + 70
    ]
    outcome.struck = [dataclasses.replace(gone, end=gone.begin + 60, recovered=gone.begin + 70)]
    assert "the application did not answer for 7" in outcome.document()["failures"][0]


def test_texts_from_outside_are_only_texts() -> None:
    document = json.loads(json.dumps(failed().document()))
    document["left_out"] = {_HOSTILE: _HOSTILE}
    document["failures"] = [_HOSTILE]
    document["started"] = _HOSTILE
    for each in (*document["faults"], *document["kinds"]):
        each |= {name: _HOSTILE for name in ("kind", "host", "missing", "title") if name in each}
    for each in document["violations"]:
        each |= {"kind": _HOSTILE, "what": _HOSTILE}
    for kind in document["kinds"]:
        kind["settings"] = [_HOSTILE]
    html = render(document)
    page = check(html)
    assert "<script" not in html
    assert "49" not in {text.strip() for text in page.text}
    assert "alert(1)" in page.words


def test_what_is_no_campaign_is_refused() -> None:
    with pytest.raises(KubeproofError, match="no result of a campaign"):
        render({"schema": "kubeproof.report/1"})


@pytest.mark.parametrize("faults", [1, 19, 100])
def test_all_that_is_drawn_is_within_the_picture(faults: int) -> None:
    found = picture(campaign(faults).document())
    assert found
    for lane in found.lanes:
        for mark in lane.marks:
            assert found.left <= mark.x < found.right
            assert mark.x + mark.width + mark.recovering <= found.right + 0.2
        assert lane.y + found.lane <= found.bottom
    assert all(found.left <= tick.x <= found.right for tick in found.times)
    assert 2 <= len(found.times) <= 11


def test_every_kind_has_a_colour() -> None:
    assert {component(kind.name)[0] for kind in KINDS} == {name for _, name, _ in COMPONENTS}
    assert component("something-new") == ("other", "other")


def test_times_since_the_begin() -> None:
    assert [clock(each) for each in (0, 61.9, 3600, 36_061)] == ["0:00", "1:01", "1:00:00", "10:01:01"]
