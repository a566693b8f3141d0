"""The page of claims is up to date, every claim has a test, and a topology that proves it, or a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import needs, preconditions, topologies
from tests.topologies import Topology
from tools import claims_page

from kubeproof.verify.engine import claims

_TESTS = """
import pytest
from other import helper
@pytest.fixture
def pods():
    {fixture}
@pytest.mark.claim("of-a-fixture")
def test_one(pods): pass
@pytest.mark.claim("of-a-fixture-by-name")
@pytest.mark.usefixtures("shared")
def test_two(): pass
@pytest.mark.claim("of-a-function")
def test_three():
    return _called(1)
@pytest.mark.claim("of-another-file")
def test_four():
    return helper()
@pytest.mark.claim("without-needs")
def test_five(): pass
def _called(number):
    raise NotObservable(f"only {{number}}")
"""


@pytest.fixture(scope="module")
def known() -> tuple[Topology, ...]:
    return topologies.load()


@pytest.fixture(scope="module")
def tests() -> tuple[preconditions.Test, ...]:
    return preconditions.every_test()


def test_the_page_is_up_to_date() -> None:
    text = claims_page.PAGE.read_text()
    assert text == claims_page.page(text, claims_page.sections()), "run: python -m tools.claims_page"


def test_every_claim_has_a_test(tests: tuple[preconditions.Test, ...]) -> None:
    assert {claim.id for claim in claims.load().claims} - {test.claim for test in tests} == set()


def test_every_claim_is_proven_on_a_topology_or_says_why_not(
    known: tuple[Topology, ...], tests: tuple[preconditions.Test, ...]
) -> None:
    unproven = {
        claim.id
        for claim in claims.load().claims
        if not needs.proven_on(claim, claims_page.needed(tests, claim.id), known)
    }
    assert unproven - needs.UNPROVEN.keys() == set(), "no topology proves these, and tests/needs.py does not say why"
    assert needs.UNPROVEN.keys() - unproven == set(), "a topology proves these, or there is no such claim"


def test_each_text_of_a_claim_that_is_not_proven_is_one_need_or_circumstance() -> None:
    parts = [part for need in needs.NEEDS for part in need.said] + list(needs.CIRCUMSTANCES)
    texts = preconditions.every_text()
    assert len(texts) > len(needs.NEEDS)
    for text in texts:
        found = [part for part in parts if part in text]
        assert len(found) == 1, f"tests/needs.py has {len(found)} entries for: {text}"
    assert [part for part in parts if not any(part in text for text in texts)] == [], "no test says these any more"


def test_what_a_test_may_say_is_found_in_all_that_it_uses(tmp_path: Path) -> None:
    raised = 'raise NotObservable("the fixture")'
    (tmp_path / "test_it.py").write_text(_TESTS.format(fixture=raised))
    (tmp_path / "other.py").write_text('def helper():\n    raise NotObservable("another file")\n')
    shared = "def {}():\n    raise NotObservable('what is shared')\n"
    # That file has its own fixture of the second name.
    (tmp_path / "conftest.py").write_text(shared.format("shared") + shared.format("pods"))
    found = {test.claim: test.said for test in preconditions.every_test(tmp_path)}
    assert found == {
        "of-a-fixture": {"the fixture"},
        "of-a-fixture-by-name": {"what is shared"},
        "of-a-function": {"only {number}"},
        "of-another-file": {"another file"},
        "without-needs": set(),
    }
    assert preconditions.every_test(tmp_path)[0].node_id == "test_it.py::test_one"


def test_what_topologies_have_is_that_of_their_inventories(known: tuple[Topology, ...]) -> None:
    def having(text: str) -> set[str]:
        [need] = [each for each in needs.NEEDS if each.text == text]
        return {each.name for each in known if need.met(each)}

    every = {each.name for each in known}
    assert len(every) == len(known)
    assert having("three etcd members") == {"ha"}
    assert having("etcd apart from the control plane") == {"etcd-apart"}
    assert having("a read-only `/usr`") == {"container-os"}
    assert having("two nodes") == every - {"all-in-one"}
    assert having("`metallb_addresses`") == {"everything"}
    assert having("`network_policy_engine`") == every - {"network bridge-without-policies"}
    dual = {each for each in every if each.startswith("network dual")}
    assert dual
    assert having("networks of two IP families") == dual


def test_a_topology_proves_what_its_verification_looks_at(known: tuple[Topology, ...]) -> None:
    catalogue = claims.load()

    def proven(claim: str) -> set[str]:
        return {each.name for each in needs.proven_on(catalogue.claim(claim), (), known)}

    assert proven("api-watch") == {each.name for each in known}
    assert proven("sched-needed") == {"default", "ha"}, "these look at disruptive claims"
    assert proven("lb-failover") == {"default", "ha", "everything"}, "it is named there besides the level"
