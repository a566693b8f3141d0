"""The operator of the verification: who of several acts, what it makes and repairs, and its certificates."""

from __future__ import annotations

import base64
import copy
import datetime
import json
import os
import ssl
import subprocess
import sys
from typing import Any

import pytest
from cryptography import x509

from kubeproof.verify.act.application_operator import gate, instances, program
from kubeproof.verify.act.application_operator.election import Elector
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Answer
from kubeproof.verify.observe.objects import Object

SETTINGS = program.Settings(
    server="https://192.0.2.1:6443", ca="", token="", patience=1.0, namespace="n", group="g.test", identity="",
    lease_seconds=6, pod={"containers": []}, gate_configuration="c", gate_service={}, parent=1,
    gate_deployment={"metadata": {"name": "gate", "namespace": "n"}},
)  # fmt: skip


class Leases:
    """An API server with leases: it refuses a write with an old version."""

    def __init__(self) -> None:
        self.lease: Object = {}
        self.version = 0
        self.conflict = False

    def request(self, method: str, path: str, body: Any = None, **_: Any) -> Answer:
        def answer(status: int) -> Answer:
            return Answer(f"{method} {path}", status, copy.deepcopy(self.lease))

        if method == "GET":
            return answer(200 if self.lease else 404)
        if self.conflict or (method == "POST" and self.lease):
            return answer(409)
        if method == "PUT" and body["metadata"]["resourceVersion"] != str(self.version):
            return answer(409)
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return answer(200)


class Clock:
    """An instant that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def elector(server: Leases, identity: str, clock: Clock) -> Elector:
    return Elector(server, "n", "operator", identity, 6, clock)  # type: ignore[arg-type]


def test_one_leads_and_the_other_takes_over_once_the_lease_has_run_out() -> None:
    server, clock = Leases(), Clock()
    one, other = elector(server, "one", clock), elector(server, "other", clock)
    assert one.attempt()
    assert not other.attempt()
    for clock.now in (1.5, 3.0, 4.5):
        assert one.attempt()
        assert not other.attempt()
    # From now on the first one is dead.
    clock.now = 10.4
    assert not other.attempt()
    assert not one.leads
    clock.now = 10.6
    assert other.attempt()
    assert server.lease["spec"]["holderIdentity"] == "other"
    assert server.lease["spec"]["leaseTransitions"] == 1
    assert not one.attempt()


def test_a_leader_that_cannot_renew_stops_before_another_may_begin() -> None:
    server, clock = Leases(), Clock()
    one = elector(server, "one", clock)
    assert one.attempt()
    server.conflict = True
    clock.now = 3.9
    assert one.attempt()
    clock.now = 4.1
    assert not one.attempt()


def test_of_two_that_see_a_free_lease_one_gets_it() -> None:
    server, clock = Leases(), Clock()
    one = elector(server, "one", clock)
    server.conflict = True
    assert not one.attempt()


def test_the_lease_says_how_long_it_lasts() -> None:
    server, clock = Leases(), Clock()
    one, other = elector(server, "one", clock), elector(server, "other", clock)
    assert one.attempt()
    server.lease["spec"]["leaseDurationSeconds"] = 600
    assert not other.attempt()
    clock.now = 100.0
    assert not other.attempt()


def application(replicas: int = 2) -> Object:
    item = program.application("g.test", "n", "managed", replicas)
    item["metadata"]["uid"] = "u"
    return item


def test_what_an_application_is_to_have_is_its_own() -> None:
    for manifest in program.wanted(application(), "g.test", {"containers": []}):
        [owner] = manifest["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == ("u", True)
        assert objects.path(manifest).endswith("/managed")


def test_what_somebody_changed_is_put_right() -> None:
    deployment, service = program.wanted(application(), "g.test", {"containers": []})
    assert program.repair(deployment, deployment) == {}
    assert program.repair(service, service) == {}
    scaled = {"spec": {**deployment["spec"], "replicas": 0}}
    assert program.repair(scaled, deployment) == {"spec": {"replicas": 2}}
    diverted = {"spec": {"selector": {"app": "other"}}}
    assert program.repair(diverted, service) == {"spec": {"selector": {"app": None, "application": "managed"}}}


def test_settings_come_as_they_were_given() -> None:
    assert program.settings_of(program.told(SETTINGS)) == SETTINGS


def test_a_certificate_is_good_for_the_name_and_its_own_ca_only() -> None:
    first, second = gate.issue("gate.n.svc"), gate.issue("gate.n.svc")
    for issued in (first, second):
        ca, certificate = (x509.load_pem_x509_certificate(pem.encode()) for pem in (issued.ca, issued.certificate))
        certificate.verify_directly_issued_by(ca)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["gate.n.svc"]
        assert certificate.not_valid_after_utc > datetime.datetime.now(datetime.UTC)
        ssl.create_default_context(cadata=issued.ca)
    assert x509.load_pem_x509_certificate(first.ca.encode()).subject != (
        x509.load_pem_x509_certificate(second.ca.encode()).subject
    )


class Objects:
    """An API server with objects by path, which has pods as a Deployment asks for them once they are rolled."""

    def __init__(self, configuration: Object) -> None:
        self.objects: dict[str, Object] = {objects.path(configuration): configuration}
        self.pods: list[Object] = []

    def request(self, method: str, path: str, body: Any = None, **_: Any) -> Answer:
        assert method == "GET"
        del body
        return Answer(path, 200 if path in self.objects else 404, copy.deepcopy(self.objects.get(path, {})))

    def get(self, path: str) -> Object:
        found: Object = self.request("GET", path).required()
        return found

    def create(self, manifest: Object) -> None:
        item = copy.deepcopy(manifest)
        if "stringData" in item:
            data = item.pop("stringData").items()
            item["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in data}
        self.objects[objects.path(manifest)] = item

    def patch(self, path: str, change: Object) -> None:
        def merge(into: Object, part: Object) -> None:
            for key, value in part.items():
                if isinstance(value, dict) and isinstance(into.get(key), dict):
                    merge(into[key], value)
                else:
                    into[key] = value

        merge(self.objects[path], copy.deepcopy(change))

    def items(self, path: str, **_: Any) -> list[Object]:
        assert path.endswith("/pods")
        return self.pods

    def roll(self, deployment: Object) -> None:
        spec = copy.deepcopy(self.objects[objects.path(deployment)]["spec"]["template"]["spec"])
        condition = {"type": "Ready", "status": "True"}
        going = [{**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "now"}} for pod in self.pods]
        metadata = {"uid": str(len(self.pods) + 1)}
        self.pods = [*going, {"metadata": metadata, "spec": spec, "status": {"conditions": [condition]}}]


def test_a_new_certificate_is_trusted_before_it_is_served_and_the_old_one_not_after() -> None:
    clock = Clock()
    metadata = {"name": "gate", "namespace": "n"}
    volumes = [{"name": "tls", "secret": {"secretName": "gate-tls-1"}}]
    template = {"spec": {"volumes": volumes, "containers": []}}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": template}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
    server = Objects(gate.configuration("c"))
    kept = gate.Gate(server, "g.test", "c", deployment, service, clock)  # type: ignore[arg-type]

    def state() -> tuple[int, str]:
        trusted = gate.trusted(server, "c")  # type: ignore[arg-type]
        served = server.objects[objects.path(deployment)]["spec"]["template"]["spec"]["volumes"]
        return trusted.count("BEGIN CERTIFICATE"), served[0]["secret"]["secretName"]

    kept.converge()
    assert state() == (1, "gate-tls-1")
    server.roll(deployment)
    kept.converge()
    assert state() == (1, "gate-tls-1")
    first = gate.trusted(server, "c")  # type: ignore[arg-type]

    gate.renew(server, "c", 2)  # type: ignore[arg-type]
    kept.converge()
    assert state() == (2, "gate-tls-2")
    kept.converge()
    # Pods with the old one are still there.
    assert state() == (2, "gate-tls-2")
    server.roll(deployment)
    kept.converge()
    # API servers may still ask the one that goes.
    assert state() == (2, "gate-tls-2")
    clock.now += gate._GOODBYE_SECONDS / 2
    kept.converge()
    # It is still there: so their connections to it are given up before it ends.
    assert len(server.pods) == 2
    assert state() == (1, "gate-tls-2")
    assert gate.trusted(server, "c") != first  # type: ignore[arg-type]
    assert set(server.objects) >= {"/api/v1/namespaces/n/secrets/gate-tls-1", "/api/v1/namespaces/n/services/gate"}


def test_instances_are_processes_that_can_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    real = subprocess.Popen

    def waits(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(command)
        return real([sys.executable, "-c", "import sys, time; sys.stdin.read(); time.sleep(60)"], **options)

    monkeypatch.setattr(subprocess, "Popen", waits)
    with instances.Instances(SETTINGS, ("one", "other")) as both:
        assert both.running == ["one", "other"]
        both.kill("one")
        both.kill("one")
        assert both.running == ["other"]
    assert both.running == []
    assert all(command[-1] == program.__name__ for command in started)


def test_the_program_ends_with_the_process_that_started_it() -> None:
    # Its parent is said to be another one than it is.
    settings = {**json.loads(program.told(SETTINGS)), "server": "https://127.0.0.1:1", "parent": os.getpid() + 1}
    settings["ca"] = gate.issue("x").ca
    done = subprocess.run(
        [sys.executable, "-m", program.__name__], input=json.dumps(settings), text=True, timeout=60, check=False
    )
    assert done.returncode == 0
