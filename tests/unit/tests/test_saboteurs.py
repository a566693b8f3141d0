"""Every claim that has a test has a saboteur, and the runner judges what a verification says about one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from tests.saboteurs import metrics
from tests.saboteurs.framework import registry, snapshot
from tests.saboteurs.framework.registry import Finding, Saboteur
from tools import saboteurs_page

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.engine import claims
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable

# Claims that have a test and no saboteur yet, each with the reason.
_NO_SABOTEUR: dict[str, str] = {}
_QUICK_AT_MOST = 14
_NOWHERE = cast(Cluster, None)


def _nothing(_: Cluster) -> Iterator[None]:
    yield


def _saboteur(*claim_ids: str, says: str = "", quick: bool = False, name: str = "someone") -> Saboteur:
    return Saboteur(name, claim_ids, "It is broken", says, quick, _nothing)


def test_every_claim_that_has_a_test_has_a_saboteur() -> None:
    tested = {claim.id for claim in claims.load().claims if not claim.untested}
    sabotaged = {claim for each in registry.load() for claim in each.claims}
    assert tested - sabotaged == set(_NO_SABOTEUR), "each claim with a test needs a saboteur, or a reason in this file"


def test_saboteurs_name_claims_that_have_tests_and_say_what_they_break() -> None:
    tested = {claim.id for claim in claims.load().claims if not claim.untested}
    for each in registry.load():
        assert each.claims, f"{each.name} makes nothing false"
        assert set(each.claims) <= tested, f"{each.name} is of claims that are unknown or have no test"
        assert each.breaks, f"{each.name} does not say what it breaks"
        assert each.says, f"{each.name} would be content with any reason"
        re.compile(each.says)


def test_saboteurs_are_in_the_module_of_their_first_claims_component() -> None:
    catalogue = claims.load()
    for each in registry.load():
        component = catalogue.claim(each.claims[0]).component
        assert each.breaking.__module__ == f"tests.saboteurs.{component.replace('-', '_')}", each.name


def test_the_quick_list_stays_quick_and_knows_every_component() -> None:
    quick = [each for each in registry.load() if each.quick]
    catalogue = claims.load()
    tested = {claim.component for claim in catalogue.claims if not claim.untested}
    assert len(quick) <= _QUICK_AT_MOST
    assert {catalogue.claim(claim).component for each in quick for claim in each.claims} == tested


def test_the_page_lists_the_saboteurs_as_they_are() -> None:
    text = saboteurs_page.PAGE.read_text()
    written = saboteurs_page.page(text, saboteurs_page.table(registry.load()))
    assert text == written, "run: python -m tools.saboteurs_page"


def test_a_claim_must_be_refuted_for_the_right_reason() -> None:
    broken = _saboteur("a", "b", "c", "d", says="gone|away")
    findings = {
        "a": Finding("refuted", "the key is gone"),
        "b": Finding("refuted", "it is raining"),
        "c": Finding("blocked", "the pod is gone"),
    }
    b, c, d = registry.missed(broken, findings)
    assert b == "b is refuted, but not because of /gone|away/: it is raining"
    assert c == "c is blocked, not refuted, though: It is broken. the pod is gone"
    assert d.startswith("d is not-proven")


def test_a_repair_must_make_claims_proven() -> None:
    findings = {"a": Finding("proven", ""), "b": Finding("blocked", "no pod started")}
    assert registry.not_restored(_saboteur("a"), findings) == []
    assert registry.not_restored(_saboteur("b"), findings) == ["b is blocked after the repair: no pod started"]
    assert registry.not_restored(_saboteur("c"), findings) == ["c is not-proven after the repair: it was not looked at"]


def test_a_saboteur_repairs_whatever_happens_meanwhile() -> None:
    steps = []

    def breaking(_: Cluster) -> Iterator[None]:
        steps.append("broken")
        yield
        steps.append("repaired")

    def interrupted() -> None:
        steps.append("interrupted")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Saboteur("x", ("a",), "", "", False, breaking).at_work(_NOWHERE):
        interrupted()
    assert steps == ["broken", "interrupted", "repaired"]


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("senders_masqueraded", {"pod_network_plugin": "calico"}, "pod_network_plugin is calico"),
        ("route_missing", {"pod_network_plugin": "cilium"}, "pod_network_plugin is cilium"),
        ("routes_lost", {"pod_network_plugin": "none"}, "pod_network_plugin is none"),
        ("translation_lost", {"pod_network_plugin": "none"}, "pod_network_plugin is none"),
        ("forwarding_dropped", {"pod_network_plugin": "none"}, "pod_network_plugin is none"),
        ("nobody_heals", {"pod_network_plugin": "none"}, "pod_network_plugin is none"),
        ("foreign_addresses", {"pod_network_plugin": "none"}, "pod_network_plugin is none"),
        ("pods_apart", {"pod_network_plugin": "calico"}, "pod_network_plugin is calico"),
        ("second_family_forgotten", {"pod_network_plugin": "calico"}, "pod_network_plugin is calico"),
        ("no_hairpin", {"pod_network_plugin": "calico"}, "pod_network_plugin is calico"),
        (
            "second_family_unproxied",
            {"cluster_service_network": ["10.96.0.0/16", "fd00::/112"], "kube_proxy_form": "none"},
            "kube_proxy_form is none",
        ),
        ("nobody_announces", {"metallb_addresses": ["fd00::40/122"]}, "no IPv4 addresses"),
        ("addresses_taken", {"metallb_addresses": ["fd00::40/122"]}, "no IPv4 addresses"),
        ("one_speaker", {"metallb_addresses": ["fd00::40/122"]}, "no IPv4 addresses"),
        ("one_speaker", {"metallb_addresses": []}, "there is no MetalLB"),
        ("one_speaker", {"metallb_addresses": ["192.0.2.64/28"]}, "it takes a second node"),
    ],
)
def test_a_saboteur_is_left_out_where_it_would_break_nothing_of_its_claim(
    name: str, settings: dict[str, Any], says: str
) -> None:
    [found] = registry.select(registry.load(), [name])
    node = SimpleNamespace(networks=("10.244.1.0/24", "fd00::/64"), host=SimpleNamespace(groups=frozenset({"workers"})))
    cluster = cast(Cluster, SimpleNamespace(settings=settings, workers=[node], nodes=[node]))
    with pytest.raises(NotObservable, match=says):
        next(found.breaking(cluster))


def test_saboteurs_are_chosen_by_name_claim_and_list() -> None:
    quick, slow = _saboteur("a", "b", quick=True, name="quick"), _saboteur("a", name="slow")
    both = [quick, slow]
    assert registry.select(both, []) == (quick, slow)
    assert registry.select(both, [], quick=True) == (quick,)
    assert registry.select(both, ["a"]) == (quick, slow)
    assert registry.select(both, ["b"]) == (quick,)
    assert registry.select(both, ["slow"]) == (slow,)
    with pytest.raises(KubeproofError, match="named c"):
        registry.select(both, ["c"])


def test_differences_say_what_was_and_what_is() -> None:
    before = {"a: unit x": frozenset({"active"}), "a: file f": frozenset({"1"}), "same": frozenset({"1"})}
    now = {"a: unit x": frozenset({"failed"}), "b: rules": frozenset({"table t"}), "same": frozenset({"1"})}
    assert snapshot.differences(before, now) == [
        "a: file f: was 1, is gone",
        "a: unit x: was active, is failed",
        "b: rules: was not there, is table t",
    ]
    assert snapshot.differences(before, before) == []


def test_a_kubelet_that_forgets_asks_at_once_what_its_callers_may_do() -> None:
    template = paths.PROJECT / "roles" / "kubelet" / "templates" / "etc" / "kubernetes" / "kubelet" / "config.yaml.j2"
    kept = "".join(line for line in template.read_text().splitlines(keepends=True) if "{" not in line)
    authorization = yaml.safe_load(metrics.forgetful(kept))["authorization"]
    assert authorization == {"mode": "Webhook", "webhook": {"cacheAuthorizedTTL": "1s", "cacheUnauthorizedTTL": "1s"}}
