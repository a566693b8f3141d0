"""A report as CI systems read it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from kubeproof.verify.report import junit

RECORDED = Path(__file__).parent / "recorded"
_KINDS = {"failed": "failure", "blocked": "error", "not-observable": "skipped"}


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return document


def parsed(document: dict[str, Any]) -> ET.Element:
    return ET.fromstring(junit.render(document).encode())  # noqa: S314 - our own


@pytest.mark.parametrize("name", ["proven", "refuted", "interrupted", "empty"])
def test_every_test_is_a_case_and_every_other_claim_a_skipped_one(name: str) -> None:
    document = load(name)
    root = parsed(document)
    suites = {suite.get("name"): suite for suite in root}
    for component in document["components"]:
        cases = list(suites[component["id"]].iter("testcase"))
        wanted = [
            (f"{component['id']}.{claim['id']}", test["name"], _KINDS.get(test["outcome"]))
            for claim in component["claims"]
            for test in claim["tests"] or [{"name": claim["id"], "outcome": "not-observable"}]
        ]
        found = [
            (
                case.get("classname"),
                case.get("name"),
                next((kind for kind in _KINDS.values() if case.find(kind) is not None), None),
            )
            for case in cases
        ]
        assert found == wanted


@pytest.mark.parametrize("name", ["proven", "refuted", "interrupted", "empty"])
def test_the_numbers_add_up(name: str) -> None:
    root = parsed(load(name))
    for attribute, kind in (
        ("failures", "failure"),
        ("errors", "error"),
        ("skipped", "skipped"),
        ("tests", "testcase"),
    ):
        assert int(root.get(attribute, -1)) == len(list(root.iter(kind)))
        assert int(root.get(attribute, -1)) == sum(int(suite.get(attribute, -1)) for suite in root)


def test_the_reason_is_told() -> None:
    root = parsed(load("refuted"))
    told = {
        case.get("classname"): case.find("failure")
        for case in root.iter("testcase")
        if case.find("failure") is not None
    }
    failure = told["cluster.masters-unscheduled"]
    assert failure is not None
    assert failure.get("type") == "refuted"
    assert failure.get("message", "").startswith("cp1 is of the control plane and not of the workers")
    assert all(skipped.get("message", "").startswith("not proven: ") for skipped in root.iter("skipped"))


def test_a_problem_is_an_error() -> None:
    document = load("proven")
    document["problems"] = ["namespace x is still there"]
    [error] = parsed(document).iter("error")
    assert error.get("message") == "namespace x is still there"


def test_what_xml_cannot_write_is_replaced() -> None:
    document = load("refuted")
    hostile = 'a\x00b\x1b[31m<failure message="x"/>]]>\ud800\ufffe&amp; 中文 🙂'
    document["problems"] = [hostile]
    for component in document["components"]:
        for claim in component["claims"]:
            for test in claim["tests"]:
                test |= {"message": hostile, "headline": hostile, "name": hostile}
    errors = [error.get("message", "") for error in parsed(document).iter("error")]
    assert errors[-1] == 'a\ufffdb\ufffd[31m<failure message="x"/>]]>\ufffd\ufffd&amp; 中文 🙂'
