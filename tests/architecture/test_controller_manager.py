"""The controller manager: loops that make what is into what should be."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from kubeproof.verify import objects, redundancy, runtime
from kubeproof.verify.api import Api
from kubeproof.verify.cluster import AUTHORITY, Cluster
from kubeproof.verify.evidence import Evidence
from kubeproof.verify.objects import Object
from kubeproof.verify.pods import Pod, Setting, is_running
from kubeproof.verify.workloads import Workloads, prepared_together
from kubeproof.verify.workspace import Departure, Workspace, keys_of

_LOOP_SECONDS = 20.0
# One that has just taken over fills its caches first.
_INHERITED_SECONDS = 40.0
_REPLICAS = 2
_GRPC_PORT = 5000
# Past the links to it, which belong to the pod's user: root may not follow those where anybody may put some.
_TOKENS = "/var/run/secrets/kubernetes.io/serviceaccount/..data"


@prepared_together()
def answering(setting: Setting) -> list[Object]:
    """A pod that can be told to be ready or not, and a service before it."""
    probe = {"grpc": {"port": _GRPC_PORT}, "periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 1}
    container = setting.container("server", ["grpc-health-checking"], readinessProbe=probe)
    labels = {"app": "answering"}
    pod = setting.pod("answering", [container], labels=labels, **setting.on_node(setting.nodes[-1]))
    return [pod, setting.service("answering", labels)]


@prepared_together()
def replicated(setting: Setting) -> list[Object]:
    """One owner of replicas of each kind."""
    pod = setting.pod("", [setting.container("pause", ["pause"])], **setting.on_node(setting.nodes[-1]))
    owners: list[Object] = []
    for kind, version in (("ReplicaSet", "apps/v1"), ("ReplicationController", "v1")):
        labels = {"app": kind.lower()}
        spec = {
            "replicas": _REPLICAS,
            "selector": {"matchLabels": labels} if version == "apps/v1" else labels,
            "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
        }
        metadata = {"name": kind.lower(), "namespace": setting.namespace}
        owners.append({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    return owners


@pytest.mark.claim("ctl-replicaset")
@pytest.mark.usefixtures("replicated")
@pytest.mark.parametrize("kind", ["ReplicaSet", "ReplicationController"])
def test_a_pod_that_goes_is_replaced(
    api: Api, workloads: Workloads, setting: Setting, evidence: Evidence, kind: str
) -> None:
    pods, selected = objects.core(setting.namespace, "pods"), {"labelSelector": f"app={kind.lower()}"}
    before = api.observe(
        pods, lambda items: len(items) == _REPLICAS, what=f"pods of a {kind}", timeout=_LOOP_SECONDS, **selected
    )
    # A pod that has not started yet would be gone at once, and tell less.
    workloads.await_all(before, is_running)
    lost = before[0]
    start = time.monotonic()
    api.delete(f"{pods}/{objects.name(lost)}")
    after = api.observe(
        pods,
        lambda items: len(_staying(items)) == _REPLICAS and lost["metadata"]["uid"] not in _uids(_staying(items)),
        what=f"a {kind} of {_REPLICAS} replaces a pod that was deleted",
        timeout=_LOOP_SECONDS,
        **selected,
    )
    seconds = time.monotonic() - start
    [new] = [item for item in after if item["metadata"]["uid"] not in _uids(before)]
    [owner] = new["metadata"]["ownerReferences"]
    evidence["deleted"], evidence["replaced by"] = objects.name(lost), objects.name(new)
    evidence["seconds"] = round(seconds, 2)
    assert (owner["kind"], owner["name"]) == (kind, kind.lower()), f"the new pod belongs to {owner}, not to the {kind}"
    assert owner["controller"], f"the {kind} does not rule the new pod"
    evidence.headline = f"{kind}: deleted pod replaced in {seconds:.1f} s, count {_REPLICAS} again"


@pytest.mark.claim("ctl-endpoints")
def test_endpoints_follow_readiness(api: Api, answering: list[Pod], setting: Setting, evidence: Evidence) -> None:
    [pod] = answering
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{setting.namespace}/endpointslices"
    _observe_endpoints(api, slices, [pod.address], "the pod is an endpoint once it is ready")
    delays = {}
    for command, expected in (("make-not-serving", []), ("make-serving", [pod.address])):
        start = time.monotonic()
        pod.http(command)
        state = "is an endpoint again" if expected else "is no endpoint any more"
        _observe_endpoints(api, slices, expected, f"a pod that was told {command} {state}")
        delays[command] = round(time.monotonic() - start, 2)
    evidence["endpoint"] = pod.address
    evidence["seconds"] = delays
    evidence.headline = f"unready: out after {delays['make-not-serving']} s; ready: in after {delays['make-serving']} s"


@pytest.mark.claim("ctl-serviceaccount")
def test_a_new_namespace_gets_an_account(api: Api, work: Workspace, evidence: Evidence) -> None:
    start = time.monotonic()
    namespace = work.namespace("account")
    for kind, name in (("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")):
        wanted = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
        api.observe_one(wanted, lambda _: True, what=f"{kind} {name} in a new namespace", timeout=_LOOP_SECONDS)
        evidence[f"{kind} {name}"] = f"{time.monotonic() - start:.2f} s"
    evidence.headline = f"account {time.monotonic() - start:.2f} s after its namespace"


@pytest.mark.claim("ctl-serviceaccount")
def test_a_pods_token_is_accepted_as_its_account(
    lab: Cluster, agents: list[Pod], setting: Setting, evidence: Evidence
) -> None:
    pod = agents[-1]
    host = lab.node(pod.node).host
    pid = runtime.process(host, pod.uid, "server")
    address, port = lab.api_servers[0]
    # Read and used on its host: the token is shown to nobody but the API server.
    answer = host.http(
        f"https://{address}:{port}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        method="POST",
        headers={"Content-Type": "application/json"},
        body='{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}',
        ca=AUTHORITY,
        token=f"/proc/{pid}/root{_TOKENS}/token",
    )
    assert answer.get("status") == 201, f"the token of pod {pod.name} is not accepted: {answer}"
    account = f"system:serviceaccount:{setting.namespace}:default"
    evidence["review"] = answer["body"]
    assert f'"username":"{account}"' in answer["body"], f"the token is not that of {account}: {answer['body']}"
    assert pod.uid in answer["body"], f"the token is not bound to pod {pod.name}: {answer['body']}"
    evidence.headline = f"token of {pod.name} accepted as {account}"


@pytest.mark.claim("ctl-gc")
def test_owned_objects_go_with_their_owner(api: Api, namespace: str, evidence: Evidence) -> None:
    owner = api.create(_config_map(namespace, "owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    owned = [api.create(_config_map(namespace, f"owned-{number}", ownerReferences=[reference])) for number in range(2)]
    bystander = api.create(_config_map(namespace, "bystander"))
    start = time.monotonic()
    api.delete(objects.path(owner), propagationPolicy="Background")
    for each in owned:
        api.observe_gone(each, what=f"{objects.name(each)} goes with its owner", timeout=_LOOP_SECONDS)
    seconds = time.monotonic() - start
    evidence["collected"] = {objects.name(each): each["metadata"]["uid"] for each in owned}
    evidence["seconds"] = round(seconds, 2)
    kept = api.request("GET", objects.path(bystander))
    assert kept.status == 200, "an object that belongs to nobody was collected, too"
    evidence.headline = f"{len(owned)} owned objects gone in {seconds:.1f} s, the one without owner kept"


@pytest.mark.claim("ctl-namespace")
def test_a_namespace_goes_with_all_that_is_in_it(lab: Cluster, going: Departure, evidence: Evidence) -> None:
    evidence["keys in etcd before"] = going.keys
    assert len(going.keys) > 4, f"etcd has only {going.keys} of what was created in {going.namespace}"
    seconds = going.seconds.result()
    after = keys_of(lab.etcd, going.namespace)
    evidence["keys in etcd after"] = after
    evidence["seconds"] = round(seconds, 2)
    assert not after, f"etcd still has {after} of a namespace that is gone"
    evidence.headline = f"{len(going.keys)} keys of it gone from etcd in {seconds:.1f} s"


@pytest.mark.claim("ctl-leader")
def test_when_the_acting_controller_manager_is_killed_another_acts(
    lab: Cluster, api: Api, work: Workspace, evidence: Evidence
) -> None:
    with redundancy.leader_killed(lab, "kube-controller-manager") as takeover:
        namespace = work.namespace("inherited")
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace},
        }
        what = f"the controller manager of {takeover.after} gives a new namespace its account"
        api.observe_one(account, lambda _: True, what=what, timeout=_INHERITED_SECONDS)
    evidence["takeover"] = dataclasses.asdict(takeover)
    evidence.headline = (
        f"killed on {takeover.before}, {takeover.after} took over after {takeover.seconds} s of a lease of "
        f"{takeover.lease_seconds} s, and acts"
    )


def _config_map(namespace: str, name: str, **metadata: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, **metadata}}


def _staying(items: list[Object]) -> list[Object]:
    return [item for item in items if not item["metadata"].get("deletionTimestamp")]


def _uids(items: list[Object]) -> set[str]:
    return {item["metadata"]["uid"] for item in items}


def _observe_endpoints(api: Api, slices: str, expected: list[str], what: str) -> None:
    def ready(items: list[Object]) -> list[str]:
        return [
            address
            for item in items
            for endpoint in item["endpoints"] or []
            if endpoint["conditions"]["ready"]
            for address in endpoint["addresses"]
        ]

    api.observe(
        slices,
        lambda items: ready(items) == expected,
        what=what,
        timeout=_LOOP_SECONDS,
        labelSelector="kubernetes.io/service-name=answering",
    )
