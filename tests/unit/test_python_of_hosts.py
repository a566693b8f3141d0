"""What runs on hosts does so with Python 3.8: nothing there calls what came later, which no linter sees."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeproof.core import paths

# Methods and functions of the standard library that came with Python 3.9 to 3.11.
_LATER = frozenset(
    {"removeprefix", "removesuffix", "is_relative_to", "readlink", "hardlink_to", "lcm", "randbytes", "pairwise"}
)  # fmt: skip
_OF_PATHS = frozenset({"readlink"})


def on_hosts() -> list[Path]:
    """The files that the linter, too, holds to that version."""
    document = tomllib.loads((paths.PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = document["tool"]["ruff"]["per-file-target-version"]
    found = (path for pattern, target in patterns.items() if target == "py38" for path in paths.PROJECT.glob(pattern))
    # A pattern for all that is below a directory finds directories alone.
    return sorted({each for path in found for each in (path.rglob("*.py") if path.is_dir() else [path])})


def later(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        of_os = isinstance(node.func.value, ast.Name) and node.func.value.id == "os"
        if node.func.attr in _LATER and not (of_os and node.func.attr in _OF_PATHS):
            yield node.func.attr


def test_the_files_are_found() -> None:
    names = {path.name for path in on_hosts()}
    assert {"programs_look.py", "host_report.py", "turn.py", "drill.py"} <= names


@pytest.mark.parametrize("path", on_hosts(), ids=lambda path: str(path.relative_to(paths.PROJECT)))
def test_nothing_is_called_that_came_later(path: Path) -> None:
    assert list(later(ast.parse(path.read_text(encoding="utf-8")))) == []
