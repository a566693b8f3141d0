"""The packages of src/kubeproof, in the order in which they build on each other: none imports one that comes later."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src" / "kubeproof"
LAYERS = (
    "core",
    "settings",
    "pki",
    "components",
    "api",
    "backup",
    "local_hosts",
    "preflight",
    "install",
    "restore",
    "upgrade",
    "verify.observe",
    "verify.act",
    "verify.pod_startup",
    "verify.etcd_backups",
    "verify.report",
    "verify.engine",
    "verify.faults",
    "cli",
)
# The only modules outside of packages.
ENTRANCES = {"__init__.py", "__main__.py"}


def modules() -> Iterator[tuple[str, Path]]:
    """All modules but the entrances, each with the layer that it is of."""
    for path in sorted(SOURCES.rglob("*.py")):
        parts = path.relative_to(SOURCES).parts
        if len(parts) > 1 and parts != ("verify", "__init__.py"):
            yield ".".join(parts[:2]) if parts[0] == "verify" else parts[0], path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def layer(imported: str) -> str:
    found = max((each for each in LAYERS if f"{imported}.".startswith(f"kubeproof.{each}.")), key=len, default="")
    assert found, f"{imported} is of no layer"
    return found


def test_every_package_is_a_layer() -> None:
    assert {each for each, _ in modules()} == set(LAYERS)
    loose = {path.name for path in SOURCES.glob("*.py")}
    assert loose == ENTRANCES, "a module beside the packages belongs to one of them"
    assert all(len((SOURCES / name).read_text().splitlines()) <= 50 for name in loose)


@pytest.mark.parametrize("mine", LAYERS)
def test_a_layer_builds_on_earlier_ones_alone(mine: str) -> None:
    later = [
        f"{path.relative_to(SOURCES)} imports {imported}"
        for each, path in modules()
        if each == mine
        for imported in imports(path)
        if imported.startswith("kubeproof.") and LAYERS.index(layer(imported)) > LAYERS.index(mine)
    ]
    assert later == []


def test_what_is_shipped_does_not_import_what_tests_it() -> None:
    ours = {"tests", "tools", "plugins"}
    assert [str(path) for _, path in modules() if ours & {name.partition(".")[0] for name in imports(path)}] == []


def test_the_map_has_all_layers_in_their_order() -> None:
    text = (SOURCES.parents[1] / "docs" / "development" / "map.md").read_text()
    assert re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE) == list(LAYERS)


def test_unit_tests_are_where_what_they_test_is() -> None:
    unit, top = Path(__file__).parent, SOURCES.parents[1]
    places = {path.relative_to(unit) for path in unit.rglob("test_*.py")} - {Path("test_layers.py")}
    lost = [str(path) for path in places if not ((SOURCES / path).parent.is_dir() or (top / path).parent.is_dir())]
    assert lost == []
