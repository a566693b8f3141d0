"""Claims and tests belong together; neither goes without the other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.engine import claims
from kubeproof.verify.engine.claims import Catalogue, Level

TESTS = claims.PATH.parent


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return claims.load()


@pytest.fixture(scope="module")
def tested() -> dict[str, str]:
    """Test functions of the verification, with the claim that each names; empty for one that names none."""
    found = {}
    for path in sorted(TESTS.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[f"{path.name}::{node.name}"] = next(filter(None, map(_claim, node.decorator_list)), "")
    return found


def _claim(decorator: ast.expr) -> str:
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.claim":
        [argument] = decorator.args
        return str(ast.literal_eval(argument))
    return ""


def test_every_test_names_a_claim_that_exists(catalogue: Catalogue, tested: dict[str, str]) -> None:
    known = {claim.id for claim in catalogue.claims}
    assert tested, f"no tests were found in {TESTS}"
    assert {name: claim for name, claim in tested.items() if claim not in known} == {}


def test_a_test_is_in_a_file_of_its_components(catalogue: Catalogue, tested: dict[str, str]) -> None:
    for test, claim in tested.items():
        component = catalogue.claim(claim).component.replace("-", "_")
        file = test.partition(".py::")[0]
        assert file == f"test_{component}" or file.startswith(f"test_{component}_"), f"{test} is about {component}"


def test_every_claim_has_a_test_or_says_why_not(catalogue: Catalogue, tested: dict[str, str]) -> None:
    without = {claim.id for claim in catalogue.claims if not claim.untested} - set(tested.values())
    assert not without, "these claims have neither a test nor `untested` with the reason"


def test_no_claim_with_a_test_says_that_it_has_none(catalogue: Catalogue, tested: dict[str, str]) -> None:
    assert {claim.id for claim in catalogue.claims if claim.untested} & set(tested.values()) == set()


def test_every_component_has_a_tested_claim(catalogue: Catalogue) -> None:
    for component in catalogue.components:
        assert any(not claim.untested for claim in component.claims), f"nothing is tested of {component.title}"


def test_claims_are_whole_sentences(catalogue: Catalogue) -> None:
    for claim in catalogue.claims:
        assert claim.statement.endswith("."), claim.id
        assert claim.why.endswith("."), claim.id


def test_every_claim_cites_a_statement_of_the_architecture_and_every_statement_is_claimed(catalogue: Catalogue) -> None:
    page = (paths.PROJECT / "docs" / "architecture.md").read_text()
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", page[page.index("## Statements") :], re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {claim.id for claim in catalogue.claims if not claim.source} == set()
    assert {number for claim in catalogue.claims for number in claim.source} == set(numbers)


def test_a_component_stands_for_its_claims(catalogue: Catalogue) -> None:
    assert {"etcd-private", "api-watch"} <= catalogue.select(["etcd", "api-watch"])
    assert "api-conflict" not in catalogue.select(["etcd", "api-watch"])


def test_without_names_all_claims_are_selected(catalogue: Catalogue) -> None:
    assert catalogue.select([]) == {claim.id for claim in catalogue.claims}


def test_a_misspelt_claim_is_answered_with_the_nearest(catalogue: Catalogue) -> None:
    with pytest.raises(KubeproofError, match="api-persistence"):
        catalogue.select(["api-persistance"])


def test_levels_include_the_gentler_ones() -> None:
    assert Level.named("quick") < Level.named("standard") < Level.named("disruptive")
    with pytest.raises(KubeproofError, match="quick, standard, disruptive"):
        Level.named("gentle")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("level: quick", "level: slow"),
        ("why: w.", "because: w."),
        ("id: other", "id: one"),
        ("schema: 1", "schema: 2"),
    ],
)
def test_a_faulty_file_is_refused(tmp_path: Path, right: str, wrong: str) -> None:
    claim = "{id: %s, statement: s., why: w., source: [1], level: quick}"
    text = f"schema: 1\ncomponents: [{{id: c, title: C, claims: [{claim % 'one'}, {claim % 'other'}]}}]\n"
    path = tmp_path / "claims.yml"
    path.write_text(text)
    assert len(claims.load(path).claims) == 2
    path.write_text(text.replace(right, wrong))
    with pytest.raises(KubeproofError):
        claims.load(path)
