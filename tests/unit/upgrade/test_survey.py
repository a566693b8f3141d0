"""A plan from all that was asked."""

from __future__ import annotations

import base64
import dataclasses
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tests.unit.preflight.builders import host as seen
from tests.unit.upgrade.test_look import VERSION, node, process, status
from tests.unit.upgrade.worlds import goal

from kubeproof.core.versions import Version
from kubeproof.preflight.model import Host
from kubeproof.upgrade.acts import acts
from kubeproof.upgrade.goal import Kind
from kubeproof.upgrade.plan import REFUSED, WORK, Plan
from kubeproof.upgrade.survey import Survey, planned

KUBERNETES = {"kubernetes": "1.37.2"}
OBJECTS: dict[str, list[Any]] = {
    name: []
    for name in ("pods", "budgets", "definitions", "services", "mutating", "validating", "slices", "dns")
}  # fmt: skip


def control_plane(version: str = "1.36.3", server: dict[str, Any] | None = None) -> Host:
    """``server``: its API server, if that is of another version."""
    others = [process(name, version) for name in ("kube-controller-manager", "kube-scheduler", "kubelet")]
    running = [server or process("kube-apiserver", version), *others, process("etcd", "3.7.3")]
    report = seen(1, installed={"running": running, "versions": {}, "components": {}})
    return dataclasses.replace(report, groups=frozenset({"etcd", "control_plane"}))


def worker(number: int = 2) -> Host:
    report = seen(number, installed={"running": [process("kubelet", "1.36.3")], "versions": {}, "components": {}})
    return dataclasses.replace(report, groups=frozenset({"workers"}))


def answered(**more: Any) -> dict[str, Any]:
    api = {"ready": "[+]ping ok\nreadyz check passed", "deprecated": [], "audit": []}
    objects = {**OBJECTS, "nodes": [node("host1"), node("host2")]}
    return {
        "etcd": {"status": status(7), "version": VERSION},
        "api": {**api, **more.pop("api", {})},
        "objects": {**objects, **more.pop("objects", {})},
        "evictions": {},
        "problem": "",
        **more,
    }


def plan_of(look: dict[str, Any], settings: dict[str, Any] | None = None, **limits: Any) -> Plan:
    looks = {"host1": look, "host2": {}}
    survey = Survey("prod", [control_plane(), worker()], looks, {"host1": settings or {}})
    return planned(survey, goal(KUBERNETES, rehearses=False, **limits))


def found(plan: Plan) -> set[tuple[str, str]]:
    return {(each.id, each.severity) for each in plan.findings}


def pod(name: str, namespace: str = "default", where: str = "host2", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "ownerReferences": [{"kind": "ReplicaSet"}]}
    return {"metadata": metadata, "spec": {"nodeName": where, "volumes": [], **spec}, "status": {"phase": "Running"}}


def test_nothing_in_the_way() -> None:
    plan = plan_of(answered())
    assert (plan.exit_code, found(plan)) == (WORK, set())
    assert [step.kind for step in plan.steps][:3] == [Kind.STAGE, Kind.BACKUP, Kind.API_SERVERS]


def test_an_api_that_cannot_be_asked_is_in_the_way() -> None:
    plan = plan_of({**answered(), "api": {}, "objects": {}, "problem": "GET /: refused"})
    assert plan.exit_code == REFUSED
    assert any("GET /: refused" in each.problem for each in plan.findings)


def test_pods_that_have_nowhere_to_go_stay() -> None:
    tainted = node("host1")
    tainted["spec"]["taints"] = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
    looks = answered(
        objects={"nodes": [tainted, node("host2")], "pods": [pod("web")], "budgets": [BUDGET]},
        evictions={"default/web": {"code": 429, "answer": {"message": "Cannot evict pod"}}},
    )
    plan = plan_of(looks)
    assert plan.exit_code == WORK
    assert [(each.id, each.host) for each in plan.findings if each.id != "budget"] == [("nowhere", "host2")]


def of_two(second: dict[str, Any]) -> Plan:
    """Another host has an API server, too."""
    hosts = [control_plane(), dataclasses.replace(worker(), groups=frozenset({"control_plane"}))]
    survey = Survey("prod", hosts, {"host1": answered(), "host2": second})
    return planned(survey, goal(KUBERNETES, rehearses=False))


def test_an_api_server_that_is_dead_where_another_one_answers_is_in_the_way() -> None:
    plan = of_two({**answered(), "api": {}, "objects": {}, "problem": "GET https://127.0.0.1:6443/readyz: refused"})
    (finding,) = (each for each in plan.findings if each.severity == "error")
    assert (finding.id, finding.host) == ("api-not-ready", "host2")
    assert "/readyz: refused" in finding.problem


def test_an_api_server_that_was_not_asked_is_in_the_way() -> None:
    assert ("api-not-ready", "error") in found(of_two({}))
    assert found(of_two(answered(objects={}))) == set()


def test_evictions_that_were_cut_short_are_in_the_way() -> None:
    """All that a timeout has left out would be asked for the first time in the drain."""
    plan = plan_of(answered(problem="POST /api/v1/namespaces/default/pods/web/eviction?dryRun=All: timed out"))
    (finding,) = (each for each in plan.findings if each.severity == "error")
    assert "timed out" in finding.problem
    assert finding.host == "host1"


METRIC = 'apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.37",resource="flowschemas",version="v1beta3"} 1'  # fmt: skip  # noqa: E501
BUDGET = {
    "metadata": {"name": "web", "namespace": "default"},
    "status": {"expectedPods": 2, "desiredHealthy": 2, "currentHealthy": 2, "disruptionsAllowed": 0},
}
WEBHOOK = {
    "metadata": {"name": "hooks"},
    "webhooks": [
        {"name": "a.b", "clientConfig": {"service": {"namespace": "x", "name": "y"}}, "failurePolicy": "Fail"}
    ],
}


@pytest.mark.parametrize(
    ("look", "identity"),
    [
        ({"api": {"deprecated": [METRIC]}}, "removed-api"),
        ({"api": {"ready": "[-]etcd failed: reason withheld"}}, "api-not-ready"),
        ({"objects": {"validating": [WEBHOOK]}}, "webhook"),
        ({"objects": {"pods": [pod("web")], "budgets": [BUDGET]}, "evictions": {
            "default/web": {"code": 429, "answer": {"message": "Cannot evict pod"}}}}, "budget"),
        ({"objects": {"pods": [pod("web", volumes=[{"name": "cache", "emptyDir": {}}])]}}, "local-data"),
        ({"objects": {"nodes": [node("host1"), node("host2", ready="False")]}}, "node-not-ready"),
    ],
)  # fmt: skip
def test_what_the_api_says_is_in_the_way(look: dict[str, Any], identity: str) -> None:
    plan = plan_of(answered(**look))
    assert plan.exit_code == REFUSED
    assert (identity, "error") in found(plan)


def test_what_an_open_turn_has_broken_is_put_back_and_not_refused() -> None:
    """Its host does that after a quarter of an hour; a run does it at once."""
    turn = {
        "state": "unconfirmed",
        "act": "API servers 1.37.2 as 1.36",
        "time": 1,
        "former": {"kube-apiserver": "1.36.3"},
    }
    broken = answered(
        api={"ready": "[-]etcd failed"}, objects={"nodes": [node("host1", ready="False"), node("host2")]}, turn=turn
    )
    plan = plan_of(broken)
    assert next(turn.kind for turn in plan.turns) is Kind.SETTLE
    assert {each for each in found(plan) if each[1] == "error"} == set()
    (api,) = (
        each
        for each in plan_of({**broken, "api": {}, "objects": {}, "problem": "refused"}).findings
        if each.id == "api"
    )
    assert "host1" in api.remediation
    assert "kubeproof-turn put-back" in api.remediation


@pytest.mark.parametrize(
    ("api", "undone"),
    [({}, []), ({"ready": "[+]ping ok"}, []), ({"ready": "[+]ping ok\n[-]etcd failed"}, ["host1"]), (None, ["host1"])],
)
def test_the_open_turn_of_an_api_server_that_runs_and_does_not_work_is_put_back(
    api: dict[str, Any] | None, undone: list[str]
) -> None:
    """Its process has the version that was wanted, its node is ready, and its member is healthy."""
    turn = {
        "state": "unconfirmed",
        "act": "API servers 1.37.2 as 1.36",
        "former": {"kube-apiserver": "1.36.3", "to": {"kube-apiserver": "1.37.2 as 1.36"}},
    }
    host = control_plane(server=process("kube-apiserver", "1.37.2", emulates="1.36"))
    look = answered(api=api or {}, turn=turn)
    if api is None:
        look["api"] = {}
    survey = Survey("prod", [host, worker()], {"host1": look, "host2": {}})
    plan = planned(survey, goal(KUBERNETES, rehearses=False))
    assert {each for each in found(plan) if each[1] == "error"} == set()
    (settle,) = (act for act in acts(plan) if act.kind == Kind.SETTLE)
    assert (settle.hosts, list(settle.undone)) == (("host1",), undone)


@pytest.mark.parametrize(
    "settings",
    [
        {"apiserver_extra_args": {"feature-gates": {"AnyVolumeDataSource": True}}},
        {"kubelet_extra_config": {"featureGates": {"SidecarContainers": True}}},
    ],
)
def test_gates_that_the_target_has_lost(settings: dict[str, Any]) -> None:
    assert ("unknown-gate", "error") in found(plan_of(answered(), settings))
    assert not found(plan_of(answered(), settings, only=frozenset({"etcd"})))


def test_evictions_of_pods_that_stay_do_not_matter() -> None:
    daemon = pod("daemon")
    daemon["metadata"]["ownerReferences"] = [{"kind": "DaemonSet"}]
    refused = {"code": 429, "answer": {"message": "Cannot evict pod"}}
    look = answered(objects={"pods": [daemon], "budgets": []}, evictions={"default/daemon": refused})
    assert plan_of(look).exit_code == WORK


def test_an_unfinished_upgrade_is_known() -> None:
    survey = Survey("prod", [control_plane(), worker()], {"host1": answered(), "host2": {}})
    other = dataclasses.replace(survey, unfinished={"kubernetes": Version(1, 36, 9)}, began=60.0)
    assert "unfinished" in {each.id for each in planned(other, goal(KUBERNETES, rehearses=False)).findings}


def test_etcd_on_hosts_of_its_own_is_rehearsed_too() -> None:
    alone = dataclasses.replace(control_plane(), groups=frozenset({"etcd"}))
    server = dataclasses.replace(worker(), groups=frozenset({"control_plane"}))
    apart = Survey("prod", [alone, server], {"host1": answered(), "host2": answered()})
    found = planned(apart, goal(KUBERNETES))
    assert "rehearsal" in {step.kind for step in found.steps}
    assert "rehearsal" not in {each.id for each in found.findings}


@pytest.mark.parametrize(
    ("look", "refused"),
    [
        ({"free": 700 << 20}, {("host1", "900.0 MiB", "700.0 MiB")}),
        ({"free": 901 << 20}, set()),
        # Of what an earlier run has staged the space is taken already.
        ({"free": 700 << 20, "staged": True}, set()),
        ({}, set()),
    ],
)
def test_a_disk_that_staged_versions_would_fill(look: dict[str, Any], refused: set[tuple[str, str, str]]) -> None:
    # Twice what the control plane's host has of Kubernetes; the worker has the kubelet alone.
    binaries = {"kube-apiserver": 150 << 20, "kube-controller-manager": 100 << 20, "kube-scheduler": 100 << 20,
                "kubelet": 80 << 20, "kubectl": 20 << 20, "kube-proxy": 1 << 40}  # fmt: skip
    survey = Survey(
        "prod", [control_plane(), worker()], {"host1": answered(**look), "host2": {"free": 300 << 20}},
        sizes={"kubernetes": binaries, "etcd": {"etcd": 1 << 40}},
    )  # fmt: skip
    plan = planned(survey, goal(KUBERNETES, rehearses=False))
    said = {
        (each.host, *[word for word in ("900.0 MiB", "700.0 MiB") if word in each.problem])
        for each in plan.findings
        if each.id == "disk"
    }
    assert said == refused


DAY = datetime.timedelta(days=1)
NOW = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)


def certificate(days: int, issuer: str = "ca") -> str:
    """One of ``leaf``, DER in base64, that ends so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("leaf", issuer))
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW - 300 * DAY).not_valid_after(NOW + days * DAY)
    return base64.b64encode(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)).decode()


def test_a_certificate_that_nothing_of_ours_renews_does_not_refuse_an_upgrade() -> None:
    looks = {"host1": answered(certificates={"/etc/etcd/own.crt": certificate(6)}, foreign=["/etc/etcd/own.crt"])}
    survey = Survey("prod", [control_plane(), worker()], {**looks, "host2": {}}, now=NOW.timestamp())
    plan = planned(survey, goal(KUBERNETES, rehearses=False))
    (finding,) = (each for each in plan.findings if each.id == "certificate")
    assert (plan.exit_code, finding.severity) == (WORK, "warning")
    assert "cluster.yml" not in finding.remediation


@pytest.mark.parametrize("ignored", ["certificate", "certificate:/b.crt"])
def test_what_is_about_the_surroundings_can_be_ignored(ignored: str) -> None:
    looks = {"host1": answered(certificates={"/b.crt": certificate(6)}), "host2": {}}
    survey = Survey("prod", [control_plane(), worker()], looks, now=NOW.timestamp(), ignored={ignored})
    assert planned(survey, goal(KUBERNETES, rehearses=False)).exit_code == WORK
    off = dataclasses.replace(survey, without_backups={"host1"}, ignored={ignored, "no-backups"})
    assert planned(off, goal(KUBERNETES, rehearses=False)).exit_code == REFUSED


def test_certificates_that_end_before_anybody_looks_again() -> None:
    first = {"/a.crt": certificate(90), "/b.crt": certificate(6), "/no.pem": base64.b64encode(b"none").decode()}
    looks = {"host1": answered(certificates=first), "host2": {"certificates": {"/ca.crt": certificate(-1, "leaf")}}}
    survey = Survey("prod", [control_plane(), worker()], looks, now=NOW.timestamp())
    plan = planned(survey, goal(KUBERNETES, rehearses=False))
    ends = {(each.host, each.problem): each.remediation for each in plan.findings if each.id == "certificate"}
    assert set(ends) == {("host1", "/b.crt ends within 6 days"), ("host2", "/ca.crt has ended")}
    assert "playbooks/cluster.yml" in ends["host1", "/b.crt ends within 6 days"]
    assert "CA" in ends["host2", "/ca.crt has ended"]
    assert plan.exit_code == REFUSED

    # A host that stays as it is need not be well for it.
    alone = planned(survey, goal(KUBERNETES, rehearses=False, hosts=frozenset({"host1"})))
    assert {each.host for each in alone.findings if each.id == "certificate"} == {"host1"}

    begun = dataclasses.replace(survey, unfinished={"kubernetes": Version(1, 37, 2)})
    going_on = planned(begun, goal(KUBERNETES, rehearses=False))
    assert {each.severity for each in going_on.findings if each.id == "certificate"} == {"warning"}
