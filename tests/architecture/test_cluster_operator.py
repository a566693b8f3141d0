"""An operator that manages applications: their whole life, with a webhook, and with another instance to take over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from kubeproof.core import waiting
from kubeproof.verify.act import accounts
from kubeproof.verify.act.accounts import Rule
from kubeproof.verify.act.application_operator import gate, program
from kubeproof.verify.act.application_operator.instances import Instances
from kubeproof.verify.act.application_operator.program import Settings
from kubeproof.verify.act.every_server import await_kind
from kubeproof.verify.act.pods import HTTP_PORT, Blocked, Manifests
from kubeproof.verify.act.repeated import Repeated
from kubeproof.verify.act.workspace import RESOURCE_DOMAIN, Workspace
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import early
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Answer, Api, NotObserved
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object

_ACCOUNT = "application-operator"
_INSTANCES = ("one", "other")
_NAME = "managed"
_LEASE_SECONDS = 6
_GATE_SECONDS = 60.0
_ACTED_SECONDS = 60.0
_TAKEN_OVER_SECONDS = 30.0
_RENEWED_SECONDS = 90.0
_GONE_SECONDS = 60.0
_QUESTIONS_APART = 0.1
_SHOWN = 5


@dataclass
class Managed:
    """What was seen of an application and its operator."""

    seconds: dict[str, float] = field(default_factory=dict)
    creator: str = ""
    # Before the application's creation and after it: where an API server is slow a lease may be lost meanwhile.
    leaders: list[str] = field(default_factory=list)
    killed: str = ""
    second_leader: str = ""
    transitions: int = 0
    refusals: list[str] = field(default_factory=list)
    accepted: int = 0
    wrong: list[str] = field(default_factory=list)
    trusted: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Stage:
    """Where the operator works."""

    api: Api
    namespace: str
    group: str
    configuration: str

    @property
    def applications(self) -> str:
        return program.collection(self.group, self.namespace)

    def deployment(self) -> Object:
        metadata = {"name": _NAME, "namespace": self.namespace}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}

    def service(self) -> Object:
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": _NAME, "namespace": self.namespace}}

    def lease(self) -> Object:
        found: Object = self.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{program.LEASE}")
        return found

    def ask(self, data: dict[str, str] | None = None) -> Answer:
        """Have an Application judged, without creating it."""
        item = program.application(self.group, self.namespace, "asked", 1, data)
        return self.api.request("POST", self.applications, item, params={"dryRun": "All"})


@early
def managed(cluster: Cluster, api: Api, workspace: Workspace, manifests: Manifests) -> Iterator[Future[Managed]]:
    """An application from its creation to its deletion, while other claims are looked at."""
    group = f"{workspace.run_id}.apps.{RESOURCE_DOMAIN}"
    stage = _Stage(api, workspace.namespace("operator"), group, f"{group}-{gate.NAME}")
    workspace.create_outside(program.definition(group))
    # Removed before the kind: what it asks about is then gone.
    workspace.create_outside(gate.configuration(stage.configuration))
    settings = _settings(cluster, workspace, stage, manifests)
    with Instances(settings, _INSTANCES) as instances, ThreadPoolExecutor(1) as pool:
        yield pool.submit(_live, cluster, stage, instances)


@pytest.mark.claim("operator")
def test_an_operator_manages_an_application_from_creation_to_deletion(
    managed: Future[Managed], evidence: Evidence
) -> None:
    seen = managed.result()
    evidence["seconds"] = {what: round(seconds, 1) for what, seconds in seen.seconds.items()}
    evidence["created by"], evidence["leaders before and after"] = seen.creator, seen.leaders
    evidence["left after its deletion"] = seen.left
    assert seen.creator in seen.leaders, (
        f"instance {seen.creator} made the application's Deployment, while {' and then '.join(seen.leaders)} led"
    )
    assert not seen.left, f"of an application that was deleted there is still {', '.join(seen.left)}"
    evidence.headline = "created, scaled, repaired after pods, Deployment and Service were changed or deleted, deleted"


@pytest.mark.claim("operator")
def test_an_operators_webhook_judges_while_its_certificate_is_renewed(
    managed: Future[Managed], evidence: Evidence
) -> None:
    seen = managed.result()
    evidence["accepted"], evidence["refused"] = seen.accepted, len(seen.refusals)
    evidence["refusal"] = seen.refusals[:1]
    evidence["wrong"] = seen.wrong[:_SHOWN]
    evidence["CAs trusted before and after"] = [text.count("BEGIN CERTIFICATE") for text in seen.trusted]
    assert not seen.wrong, f"{len(seen.wrong)} times while the webhook's certificate was renewed: {seen.wrong[0]}"
    assert all(gate.REFUSAL in message for message in seen.refusals), f"refused by somebody else: {seen.refusals[0]}"
    before, after = seen.trusted
    assert before != after, "the webhook's certificate was renewed, and the API servers trust what they did before"
    assert seen.accepted, "no application was judged while the webhook's certificate was renewed"
    assert seen.refusals, "no application was refused while the webhook's certificate was renewed"
    evidence.headline = (
        f"certificate renewed in {seen.seconds['certificate renewed']:.0f} s; "
        f"{seen.accepted} accepted, {len(seen.refusals)} refused meanwhile, none wrongly"
    )


@pytest.mark.claim("operator")
def test_another_instance_takes_over_when_the_leader_is_killed(managed: Future[Managed], evidence: Evidence) -> None:
    seen = managed.result()
    evidence["killed"], evidence["then led"] = seen.killed, seen.second_leader
    evidence["lease seconds"], evidence["transitions of the lease"] = _LEASE_SECONDS, seen.transitions
    evidence["seconds"] = round(seen.seconds["taken over"], 1)
    assert {seen.killed, seen.second_leader} == set(_INSTANCES), (
        f"{seen.killed} led and was killed; then {seen.second_leader} led"
    )
    evidence.headline = f"leader killed: the other one acts after {evidence['seconds']} s"


def _live(cluster: Cluster, stage: _Stage, instances: Instances) -> Managed:
    seen = Managed()
    api = stage.api

    def timed(what: str, act: Callable[[], object]) -> None:
        start = time.monotonic()
        act()
        seen.seconds[what] = time.monotonic() - start

    await_kind(cluster, stage.applications)
    timed("webhook ready", lambda: _await_gate(stage, instances))
    before = _holder(stage)
    timed("created", lambda: _create(stage, 2))
    seen.leaders = list(dict.fromkeys([before, _holder(stage)]))
    created = api.get(objects.path(stage.deployment()))
    seen.creator = str(created["metadata"]["managedFields"][0]["manager"])
    timed("scaled up", lambda: _scale(stage, 3))
    timed("pods replaced", lambda: _pods_lost(stage, 3))
    timed("changed Deployment put right", lambda: _deployment_changed(stage, 3))
    timed("deleted Deployment made again", lambda: _made_again(stage, stage.deployment(), 3))
    timed("deleted Service made again", lambda: _made_again(stage, stage.service(), 3))
    timed("certificate renewed", lambda: _renew(stage, seen))
    timed("taken over", lambda: _take_over(stage, instances, seen))
    timed("scaled down by the other instance", lambda: _scale(stage, 1))
    timed("deleted", lambda: _delete(stage, seen))
    _end(stage, instances)
    return seen


def _await_gate(stage: _Stage, instances: Instances) -> None:
    """Wait until the operator leads, and its webhook accepts and refuses."""

    def judged() -> bool:
        try:
            good, bad = stage.ask(), stage.ask(gate.REFUSED_DATA)
        except httpx.TimeoutException:
            return False
        return good.ok and not bad.ok and gate.REFUSAL in bad.message

    if waiting.until(judged, stage.api.patient(_GATE_SECONDS), pause=0.5):
        return
    good, bad = stage.ask(), stage.ask(gate.REFUSED_DATA)
    if len(instances.running) < len(_INSTANCES):
        raise Blocked("controller", f"of the operator's instances only {instances.running or 'none'} run")
    if bad.ok:
        raise NotObserved(f"an application that the webhook refuses was accepted: {bad.status}")
    raise NotObserved(
        f"the operator's webhook judges: not within {_GATE_SECONDS:.0f} s; a good application: {good.status} "
        f"{good.message}; a bad one: {bad.status} {bad.message}"
    )


def _create(stage: _Stage, replicas: int) -> None:
    stage.api.request(
        "POST", stage.applications, program.application(stage.group, stage.namespace, _NAME, replicas)
    ).required()
    _await_ready(stage, replicas, "an operator makes what a new application asks for")


def _scale(stage: _Stage, replicas: int) -> None:
    stage.api.patch(f"{stage.applications}/{_NAME}", {"spec": {"replicas": replicas}})
    _await_ready(stage, replicas, f"an operator scales an application to {replicas}")


def _await_ready(stage: _Stage, replicas: int, what: str) -> None:
    """Wait until the application has so many pods, all ready, and its status and its Service say so."""

    def complete(item: Object) -> bool:
        status = item.get("status", {})
        counts = {status.get(f"{kind}eplicas", 0) for kind in ("r", "updatedR", "readyR")}
        return item["spec"]["replicas"] == replicas and counts == {replicas}

    stage.api.observe_one(stage.deployment(), complete, what=what, timeout=_ACTED_SECONDS)
    stage.api.observe(
        stage.applications,
        lambda items: [item.get("status", {}).get("ready") for item in items] == [replicas],
        what=f"{what}: the status of the application has {replicas} ready",
        timeout=_ACTED_SECONDS,
    )
    stage.api.observe(
        f"/apis/discovery.k8s.io/v1/namespaces/{stage.namespace}/endpointslices",
        lambda items: sum(_ready_endpoints(item) for item in items) == replicas,
        what=f"{what}: its Service has {replicas} endpoints",
        timeout=_ACTED_SECONDS,
        labelSelector=f"kubernetes.io/service-name={_NAME}",
    )


def _ready_endpoints(item: Object) -> int:
    return sum(bool(each["conditions"].get("ready")) for each in item.get("endpoints") or [])


def _pods_lost(stage: _Stage, replicas: int) -> None:
    pods = objects.core(stage.namespace, "pods")
    lost = stage.api.items(pods, labelSelector=f"application={_NAME}")
    for item in lost:
        stage.api.delete(f"{pods}/{objects.name(item)}")
    uids = {item["metadata"]["uid"] for item in lost}
    stage.api.observe(
        pods,
        lambda items: len(items) == replicas and not uids & {item["metadata"]["uid"] for item in items},
        what="the pods of an application that were deleted are replaced",
        timeout=_ACTED_SECONDS,
        labelSelector=f"application={_NAME}",
    )
    _await_ready(stage, replicas, "an application whose pods were deleted is complete again")


def _deployment_changed(stage: _Stage, replicas: int) -> None:
    stage.api.patch(objects.path(stage.deployment()), {"spec": {"replicas": 0}})
    _await_ready(stage, replicas, "an operator puts right a Deployment that somebody scaled to 0")


def _made_again(stage: _Stage, manifest: Object, replicas: int) -> None:
    kind, uid = manifest["kind"], stage.api.get(objects.path(manifest))["metadata"]["uid"]
    stage.api.delete(objects.path(manifest), propagationPolicy="Background")
    stage.api.observe_one(
        manifest,
        lambda item: bool(item["metadata"]["uid"] != uid),
        what=f"an operator makes a {kind} again that somebody deleted",
        timeout=_ACTED_SECONDS,
    )
    _await_ready(stage, replicas, f"an application whose {kind} was deleted is complete again")


def _renew(stage: _Stage, seen: Managed) -> None:
    """Have the webhook's certificate renewed while applications are judged."""
    seen.trusted.append(gate.trusted(stage.api, stage.configuration))

    def judge() -> None:
        try:
            good, bad = stage.ask(), stage.ask(gate.REFUSED_DATA)
        except httpx.HTTPError as error:
            seen.wrong.append(f"no answer: {type(error).__name__}")
            return
        if good.ok:
            seen.accepted += 1
        else:
            seen.wrong.append(f"a good application got {good.status} {good.message}")
        if bad.ok:
            seen.wrong.append("an application that the webhook refuses was accepted")
        elif gate.REFUSAL in bad.message:
            seen.refusals.append(bad.message)
        else:
            seen.wrong.append(f"a bad application got {bad.status} {bad.message}")

    def renewed() -> bool:
        now = gate.trusted(stage.api, stage.configuration)
        return now.count("BEGIN CERTIFICATE") == 1 and now != seen.trusted[0]

    with Repeated(judge, pause=_QUESTIONS_APART):
        gate.renew(stage.api, stage.configuration, 2)
        if not waiting.until(renewed, stage.api.patient(_RENEWED_SECONDS), pause=0.5):
            raise NotObserved(
                f"the certificate of the operator's webhook is renewed: not within {_RENEWED_SECONDS:.0f} s"
            )
        # What is trusted now is asked for a few more times.
        time.sleep(1)
    seen.trusted.append(gate.trusted(stage.api, stage.configuration))


def _take_over(stage: _Stage, instances: Instances, seen: Managed) -> None:
    seen.killed = _holder(stage)
    instances.kill(seen.killed)

    def other() -> str:
        found = _holder(stage)
        return "" if found == seen.killed else found

    limit = stage.api.patient(_TAKEN_OVER_SECONDS)
    seen.second_leader = waiting.until(other, limit, pause=0.2) or ""
    if not seen.second_leader:
        raise NotObserved(
            f"another instance of the operator leads: not within {limit:.0f} s after the leader was killed"
        )
    seen.transitions = int(stage.lease()["spec"].get("leaseTransitions", 0))


def _holder(stage: _Stage) -> str:
    return str(stage.lease()["spec"].get("holderIdentity") or "")


def _delete(stage: _Stage, seen: Managed) -> None:
    stage.api.delete(f"{stage.applications}/{_NAME}")
    for manifest in (stage.deployment(), stage.service()):
        what = f"the {manifest['kind']} of an application that was deleted goes with it"
        stage.api.observe_gone(manifest, what=what, timeout=_GONE_SECONDS)
    selected = {"labelSelector": f"application={_NAME}"}
    pods = objects.core(stage.namespace, "pods")
    stage.api.observe(
        pods, lambda items: not items, what="the pods of an application go with it", timeout=_GONE_SECONDS, **selected
    )
    seen.left = [
        f"{resource} {objects.name(item)}"
        for resource, path in (
            ("ReplicaSet", f"/apis/apps/v1/namespaces/{stage.namespace}/replicasets"),
            ("Deployment", f"/apis/apps/v1/namespaces/{stage.namespace}/deployments"),
            ("Service", objects.core(stage.namespace, "services")),
        )
        for item in stage.api.items(path, **selected)
        if "deletionTimestamp" not in item["metadata"]
    ]


def _end(stage: _Stage, instances: Instances) -> None:
    """Let operator and webhook go, whose pod takes a while to, before the verification waits for it."""
    for identity in instances.running:
        instances.kill(identity)
    stage.api.delete(objects.path(gate.configuration(stage.configuration)))
    metadata = {"name": gate.NAME, "namespace": stage.namespace}
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}
    stage.api.delete(objects.path(owner), propagationPolicy="Background")


def _settings(cluster: Cluster, workspace: Workspace, stage: _Stage, manifests: Manifests) -> Settings:
    api, namespace = stage.api, stage.namespace
    here = Manifests(namespace, manifests.image, manifests.nodes, manifests.patience)
    accounts.account(api, namespace, _ACCOUNT)
    made = ("get", "list", "watch", "create", "patch")
    rules = [
        Rule(("get", "list", "watch"), (program.PLURAL,), stage.group),
        Rule(("patch",), (f"{program.PLURAL}/status",), stage.group),
        Rule(made, ("deployments",), "apps"),
        Rule(made, ("services",)),
        Rule(("get", "create"), ("secrets",)),
        Rule(("list",), ("pods",)),
        Rule(("get", "create", "update"), ("leases",), "coordination.k8s.io"),
    ]
    accounts.allow(cluster, namespace, _ACCOUNT, rules)
    webhooks = Rule(("get", "patch"), ("validatingwebhookconfigurations",), "admissionregistration.k8s.io")
    accounts.allow_everywhere(cluster, workspace, namespace, _ACCOUNT, [webhooks])
    probe = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "periodSeconds": 1}
    pod = here.pod("", [here.server("server", readinessProbe=probe)])
    return Settings(
        server=api.access.server,
        ca=api.access.ca,
        token=accounts.token(api, namespace, _ACCOUNT),
        patience=api.patience,
        namespace=namespace,
        group=stage.group,
        identity="",
        lease_seconds=max(_LEASE_SECONDS, round(min(api.patient(_LEASE_SECONDS), 3 * _LEASE_SECONDS))),
        pod=pod["spec"],
        gate_configuration=stage.configuration,
        gate_deployment=gate.deployment(here),
        gate_service=gate.service(here),
        parent=0,
    )
