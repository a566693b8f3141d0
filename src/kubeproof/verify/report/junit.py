"""A report as JUnit XML, the form in which CI systems take results of tests.

A suite per component, a case per test. A claim that was not looked at is a skipped case of its own, and what went wrong
besides the claims is an error of a suite of its own: nothing that keeps a cluster from being proven is lost.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from typing import Any

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write."""
_KINDS = {"failed": "failure", "blocked": "error", "not-observable": "skipped"}
_TYPES = {"failed": "refuted", "blocked": "blocked"}
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def render(document: Mapping[str, Any]) -> str:
    """The XML of a report's document."""
    root = ET.Element("testsuites", name="kubeproof")
    for component in document["components"]:
        suite = _suite(root, str(component["id"]), document)
        for claim in component["claims"]:
            _claim(suite, str(component["id"]), claim)
    problems = document.get("problems") or []
    if problems:
        suite = _suite(root, "verification", document)
        for number, problem in enumerate(problems, start=1):
            case = _case(suite, "verification.problems", f"problem {number}", 0.0)
            ET.SubElement(case, "error", message=_clean(problem), type="problem")
    for suite in root:
        _count(suite, [suite])
    _count(root, root)
    root.set("time", f"{float(document['seconds']):.3f}")
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(root: ET.Element, name: str, document: Mapping[str, Any]) -> ET.Element:
    suite = ET.SubElement(root, "testsuite", name=_clean(name), timestamp=_clean(str(document["started"])[:19]))
    cluster = document["cluster"]
    told = {"level": document["level"], "verdict": document["verdict"]}
    told |= {f"cluster.{key}": cluster[key] for key in ("server", "version", "uid") if key in cluster}
    properties = ET.SubElement(suite, "properties")
    for key, value in told.items():
        ET.SubElement(properties, "property", name=key, value=_clean(value))
    return suite


def _claim(suite: ET.Element, component: str, claim: Mapping[str, Any]) -> None:
    classname = f"{component}.{claim['id']}"
    for test in claim["tests"]:
        case = _case(suite, classname, test["name"], float(test["seconds"]))
        kind = _KINDS.get(test["outcome"])
        if kind:
            said = ET.SubElement(case, kind, message=_clean(test["message"]))
            if test["outcome"] in _TYPES:
                said.set("type", _TYPES[test["outcome"]])
                said.text = _clean(f"{claim['statement']}\n{test['message']}\nWhy it matters: {claim['why']}")
        if test["headline"]:
            ET.SubElement(case, "system-out").text = _clean(test["headline"])
    if not claim["tests"]:
        case = _case(suite, classname, claim["id"], 0.0)
        ET.SubElement(case, "skipped", message=_clean(f"not proven: {claim['reason']}"))


def _case(suite: ET.Element, classname: str, name: str, seconds: float) -> ET.Element:
    return ET.SubElement(
        suite, "testcase", classname=_clean(classname), name=_clean(name), time=f"{max(seconds, 0.0):.3f}"
    )


def _count(of: ET.Element, suites: Iterable[ET.Element]) -> None:
    cases = [case for suite in suites for case in suite.iter("testcase")]
    of.set("tests", str(len(cases)))
    for attribute, kind in _COUNTED.items():
        of.set(attribute, str(sum(case.find(kind) is not None for case in cases)))
    if of.tag == "testsuite":
        of.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")


def _clean(text: object) -> str:
    return _FORBIDDEN.sub("\ufffd", str(text))
