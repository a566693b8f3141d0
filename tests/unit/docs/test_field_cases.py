"""Each field case has a report, and tests that exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "development" / "field-cases.md"
_REPORT = re.compile(r"\[[\w-]+#\d+\]\(https://\S+/\d+\)")
_TEST = re.compile(r"`(tests/[^`]+)`")


def rows(text: str) -> list[tuple[str, str, list[str]]]:
    """Condition, report and node ids of each row."""
    lines = [
        line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| condition", "| --"))
    ]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [(condition, report, _TEST.findall(tests)) for condition, report, _, tests in cells]


@functools.cache
def known_tests(path: Path) -> frozenset[str]:
    """Tests of a file, as node ids have them, without parameters."""
    if not path.is_file():
        return frozenset()
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))


def exists(node: str) -> bool:
    """Whether there is a test of this id."""
    path, _, name = node.partition("::")
    return name in known_tests(ROOT / path)


CASES = rows(PAGE.read_text())


@pytest.mark.parametrize(("report", "tests"), [case[1:] for case in CASES], ids=[case[0][:60] for case in CASES])
def test_a_case_has_a_report_and_tests_that_exist(report: str, tests: list[str]) -> None:
    assert _REPORT.fullmatch(report)
    assert [node for node in tests if not exists(node)] == []
    assert any(node.startswith("tests/unit/") for node in tests)


def test_what_is_missing_is_found() -> None:
    assert len(CASES) > 30
    here = "tests/unit/docs/test_field_cases.py"
    assert exists(f"{here}::test_what_is_missing_is_found")
    assert exists("tests/unit/preflight/test_members.py::TestSizes::test_unknown")
    for gone in (f"{here}::test_that_was_renamed", f"{here}::exists", here, "tests/unit/docs/test_gone.py::test_x"):
        assert not exists(gone)
    assert rows(r"| a \| b | [x#1](https://y/1) | c | `tests/a.py::test_a`<br>`tests/b.py::T::test_b` |") == [
        (r"a \| b", "[x#1](https://y/1)", ["tests/a.py::test_a", "tests/b.py::T::test_b"])
    ]
