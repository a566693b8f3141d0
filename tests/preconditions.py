"""What the verification's tests say that they need, read from their code: each ``raise NotObservable`` on their way.

A claim with a test that raises it is reported as not proven, with the text. Calls are followed by name, from a test and
its fixtures through the modules of the verification, into both branches of every condition.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kubeproof.core import paths

TESTS = paths.PROJECT / "tests" / "architecture"
_SOURCES = paths.PROJECT / "src"
_FOLLOWED = ("act", "observe", "etcd_backups", "pod_startup", "engine")
_RAISED = "NotObservable"
# Their names are those of fixtures, too; what they raise, every test could.
_SESSION = {"cluster", "api", "manifests", "workloads", "workspace", "namespace", "described"}


@dataclass(frozen=True)
class Test:
    """One test of the verification. ``said``: the texts with which it may say that it sees nothing, as in the code."""

    __test__ = False

    claim: str
    node_id: str
    said: frozenset[str]


@dataclass(frozen=True)
class _Place:
    """A function or a class with its methods: what it raises, and the names that it uses."""

    raised: tuple[str, ...]
    uses: tuple[str, ...]
    fixtures: tuple[str, ...]


@dataclass
class _Module:
    places: dict[str, _Place] = field(default_factory=dict)
    # What a name stands for here: a module, and a name in it; none if it is the module itself.
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)


def every_test(directory: Path = TESTS) -> tuple[Test, ...]:
    """All tests, file by file, in the order in which they are written."""
    known = _modules(directory)
    found = []
    for path in sorted(directory.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                said = frozenset(_reached(known, _name(path), node.name))
                found.append(Test(_claim(node), f"{path.name}::{node.name}", said))
    return tuple(found)


def every_text(directory: Path = TESTS) -> frozenset[str]:
    """All texts that tests and what they use may say, whether or not a test was found to get there."""
    return frozenset(
        text for module in _modules(directory).values() for place in module.places.values() for text in place.raised
    )


@functools.cache
def _modules(directory: Path) -> dict[str, _Module]:
    files = sorted(directory.glob("*.py"))
    for package in _FOLLOWED:
        files += sorted((_SOURCES / "kubeproof" / "verify" / package).rglob("*.py"))
    return {_name(path): _read(path) for path in files}


def _name(path: Path) -> str:
    root = _SOURCES if path.is_relative_to(_SOURCES) else TESTS.parents[1]
    if not path.is_relative_to(root):
        return path.stem
    return ".".join(path.relative_to(root).with_suffix("").parts)


def _read(path: Path) -> _Module:
    module = _Module()
    for node in ast.walk(tree := ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                module.imported[alias.asname or alias.name] = (node.module, alias.name)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            module.places[node.name] = _Place(tuple(_raised(node)), tuple(_used(node)), tuple(_fixtures(node)))
    return module


def _raised(place: ast.AST) -> Iterator[str]:
    for node in ast.walk(place):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == _RAISED:
            yield ast.unparse(node.exc.args[0]).removeprefix("f").strip("'\"")


def _used(place: ast.AST) -> Iterator[str]:
    """Names, and of modules' members both together."""
    for node in ast.walk(place):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Name):
            yield node.id


def _fixtures(place: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    if isinstance(place, ast.FunctionDef):
        yield from (argument.arg for argument in place.args.args)
        for decorator in place.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.usefixtures":
                yield from (str(ast.literal_eval(argument)) for argument in decorator.args)


def _reached(known: dict[str, _Module], module: str, name: str) -> Iterator[str]:
    """What a test and all that it uses may say."""
    waiting, seen = [(module, name)], set()
    conftest = f"{module.rpartition('.')[0]}.conftest".lstrip(".")
    while waiting:
        at = waiting.pop()
        if at in seen or at[1] not in known.get(at[0], _Module()).places:
            continue
        seen.add(at)
        here, place = known[at[0]], known[at[0]].places[at[1]]
        yield from place.raised
        for used in place.uses:
            first, _, member = used.partition(".")
            origin, original = here.imported.get(first, (at[0], first))
            whole = f"{origin}.{original}"
            # A module's member, a name that was imported, or one of this module.
            waiting.append((whole, member) if member and whole in known else (origin, original))
        # A module's own comes before the one of the same name that all share.
        fixtures = set(place.fixtures) - _SESSION
        waiting += [(at[0] if fixture in here.places else conftest, fixture) for fixture in fixtures]


def _claim(test: ast.FunctionDef) -> str:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.claim":
            return str(ast.literal_eval(decorator.args[0]))
    return ""
