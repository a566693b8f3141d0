"""The controller manager: loops that make what is into what should be."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.architecture.outage import Outage

from kubeproof.settings.urls import in_url
from kubeproof.verify.act import leader_election
from kubeproof.verify.act.disruption import stopped_everywhere
from kubeproof.verify.act.pods import HTTP_PORT, Blocked, Manifests, Pod, is_ready, is_running
from kubeproof.verify.act.traffic import Request, Traffic
from kubeproof.verify.act.workspace import Departure, Workspace, keys_of, unlabel_node
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import Workloads, early, prepared_together
from kubeproof.verify.observe import objects, runtime
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.cluster import CA_FILE, Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import Object

_LOOP_SECONDS = 20.0
# One that has just taken over fills its caches first.
_INHERITED_SECONDS = 40.0
_REPLICAS = 2
_GRPC_PORT = 5000
# A loop whose process comes back waits until the lease of the one that went has run out.
_BACK_SECONDS = 60.0
# As long as nothing is to happen.
_QUIET_SECONDS = 5.0
_ROLLOUT_SECONDS = 90.0
# A server keeps answering until every node has heard that it goes.
_FAREWELL_SECONDS = 10
_REVISION = "deployment.kubernetes.io/revision"
_TEMPLATE_HASH = "pod-template-hash"
# Of the nodes of a large cluster only so many get a pod of the DaemonSet.
_MAX_NODES = 4
_JOB_SECONDS = 60.0
_COMPLETIONS, _PARALLELISM, _BACKOFF_LIMIT = 3, 2, 1
_MINUTE_SECONDS = 75.0
# Of a minute's beginning; the CronJob's controller is triggered by its clock, and has one Job to create.
_PUNCTUAL_SECONDS = 10.0
_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
# Past the links to it, which belong to the pod's user: root may not follow those where anybody may put some.
_TOKENS = "/var/run/secrets/kubernetes.io/serviceaccount/..data"


@prepared_together()
def answering(manifests: Manifests) -> list[Object]:
    """A pod that can be made ready or not, and a service before it."""
    probe = {"grpc": {"port": _GRPC_PORT}, "periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 1}
    container = manifests.container("server", ["grpc-health-checking"], readinessProbe=probe)
    labels = {"app": "answering"}
    pod = manifests.pod("answering", [container], labels=labels, **manifests.on_node(manifests.nodes[-1]))
    return [pod, manifests.service("answering", labels)]


@prepared_together()
def replicated(manifests: Manifests) -> list[Object]:
    """One owner of replicas of each kind."""
    pod = manifests.pod("", [manifests.container("pause", ["pause"])], **manifests.on_node(manifests.nodes[-1]))
    owners: list[Object] = []
    for kind, version in (("ReplicaSet", "apps/v1"), ("ReplicationController", "v1")):
        labels = {"app": kind.lower()}
        spec = {
            "replicas": _REPLICAS,
            "selector": {"matchLabels": labels} if version == "apps/v1" else labels,
            "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
        }
        metadata = {"name": kind.lower(), "namespace": manifests.namespace}
        owners.append({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    return owners


@pytest.mark.claim("ctl-replicaset")
@pytest.mark.usefixtures("replicated")
@pytest.mark.parametrize("kind", ["ReplicaSet", "ReplicationController"])
def test_a_pod_that_goes_is_replaced(
    api: Api, workloads: Workloads, manifests: Manifests, evidence: Evidence, kind: str
) -> None:
    pods, selected = objects.core(manifests.namespace, "pods"), {"labelSelector": f"app={kind.lower()}"}
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
def test_endpoints_follow_readiness(api: Api, answering: list[Pod], manifests: Manifests, evidence: Evidence) -> None:
    [pod] = answering
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{manifests.namespace}/endpointslices"
    _observe_endpoints(api, slices, [pod.address], "the pod is an endpoint once it is ready")
    delays = {}
    for command, expected in (("make-not-serving", []), ("make-serving", [pod.address])):
        start = time.monotonic()
        pod.http(command)
        state = "is an endpoint again" if expected else "is no endpoint any more"
        _observe_endpoints(api, slices, expected, f"a pod that got {command} {state}")
        delays[command] = round(time.monotonic() - start, 2)
    evidence["endpoint"] = pod.address
    evidence["seconds"] = delays
    evidence.headline = f"unready: out after {delays['make-not-serving']} s; ready: in after {delays['make-serving']} s"


@pytest.mark.claim("ctl-serviceaccount")
def test_a_new_namespace_gets_an_account(api: Api, workspace: Workspace, evidence: Evidence) -> None:
    start = time.monotonic()
    namespace = workspace.namespace("account")
    for kind, name in (("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")):
        wanted = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
        api.observe_one(wanted, lambda _: True, what=f"{kind} {name} in a new namespace", timeout=_LOOP_SECONDS)
        evidence[f"{kind} {name}"] = f"{time.monotonic() - start:.2f} s"
    evidence.headline = f"account {time.monotonic() - start:.2f} s after its namespace"


@pytest.mark.claim("ctl-serviceaccount")
def test_a_pods_token_is_accepted_as_its_account(
    cluster: Cluster, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    pod = agents[-1]
    host = cluster.node(pod.node).host
    pid = runtime.process(host, pod.uid, "server")
    address, port = cluster.api_servers[0]
    # Read and used on its host: the token is shown to nobody but the API server.
    answer = host.http(
        f"https://{in_url(address)}:{port}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        method="POST",
        headers={"Content-Type": "application/json"},
        body='{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}',
        ca=CA_FILE,
        token=f"/proc/{pid}/root{_TOKENS}/token",
    )
    assert answer.get("status") == 201, f"the token of pod {pod.name} is not accepted: {answer}"
    account = f"system:serviceaccount:{manifests.namespace}:default"
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
def test_a_namespace_goes_with_all_that_is_in_it(cluster: Cluster, going: Departure, evidence: Evidence) -> None:
    evidence["keys in etcd before"] = going.keys
    assert len(going.keys) > 4, f"etcd has only {going.keys} of what was created in {going.namespace}"
    seconds = going.seconds.result()
    after = keys_of(cluster.etcd, going.namespace)
    evidence["keys in etcd after"] = after
    evidence["seconds"] = round(seconds, 2)
    assert not after, f"etcd still has {after} of a namespace that is gone"
    evidence.headline = f"{len(going.keys)} keys of it gone from etcd in {seconds:.1f} s"


@pytest.mark.claim("ctl-leader")
def test_when_the_acting_controller_manager_is_killed_another_acts(
    cluster: Cluster, api: Api, workspace: Workspace, evidence: Evidence
) -> None:
    with leader_election.leader_killed(cluster, "kube-controller-manager") as takeover:
        namespace = workspace.namespace("inherited")
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


@pytest.mark.claim("ctl-loop")
def test_what_happened_while_the_loops_were_away_is_repaired(
    cluster: Cluster, api: Api, workloads: Workloads, manifests: Manifests, evidence: Evidence
) -> None:
    cluster.hosts.require("control_plane")
    labels = {"app": "unattended"}
    manifest = _owner(manifests, "ReplicaSet", "unattended", labels, [manifests.container("pause", ["pause"])])
    api.create(manifest)
    pods, selected = objects.core(manifests.namespace, "pods"), {"labelSelector": "app=unattended"}
    before = _await_pods(api, pods, _REPLICAS, "pods of a ReplicaSet", selected)
    workloads.await_all(before, is_running)
    lost = before[0]
    with stopped_everywhere(cluster.control_plane, "kube-controller-manager"):
        api.delete(f"{pods}/{objects.name(lost)}")
        replaced = _happens(api, pods, lambda items: _new(items, before), selected)
    start = time.monotonic()
    after = api.observe(
        pods,
        lambda items: len(_staying(items)) == _REPLICAS and lost["metadata"]["uid"] not in _uids(_staying(items)),
        what="a pod that was deleted while no controller manager ran is replaced when it runs again",
        timeout=_BACK_SECONDS,
        **selected,
    )
    seconds = time.monotonic() - start
    evidence["deleted"] = objects.name(lost)
    evidence["then there were"] = [objects.name(item) for item in after]
    evidence["seconds after the start"] = round(seconds, 2)
    assert not replaced, f"a pod of the ReplicaSet appeared though no controller manager runs: {replaced}"
    evidence.headline = (
        f"deleted while no loop ran: gone for {_QUIET_SECONDS:.0f} s; replaced {seconds:.0f} s after the loops began"
    )


@dataclass
class Rollout:
    """What was seen of a Deployment that was rolled forward and back, under requests without a pause."""

    traffic: Traffic
    revisions: list[dict[str, str]] = field(default_factory=list)
    """The templates' hashes of the revisions: at first, after the update, and after it was undone."""
    templates: list[Object] = field(default_factory=list)
    pods: list[list[str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def failed(self) -> list[Request]:
        """The requests that were not answered."""
        return self.traffic.failed


@early
def rollout(cluster: Cluster, api: Api, manifests: Manifests) -> Iterator[Future[Rollout]]:
    """A Deployment on its way to another revision and back, while other claims are looked at."""
    labels = {"app": "rolled"}
    probe = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "periodSeconds": 1}
    server = manifests.server("server", readinessProbe=probe)
    farewell = manifests.farewell(_FAREWELL_SECONDS)
    server["args"].append(f"--delay-shutdown={farewell}")
    manifest = _owner(manifests, "Deployment", "rolled", labels, [server])
    manifest["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 3 * farewell
    api.create(manifest)
    service = api.create(manifests.service("rolled", labels, type="NodePort"))
    address, port = cluster.nodes[0].address, service["spec"]["ports"][0]["nodePort"]
    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(_roll, api, manifest, Traffic(address, port, "hostname", timeout=5, patience=api.patience))
        # As soon as nobody looks at its pods any more, which are probed as long as they are there.
        seen.add_done_callback(lambda _: api.delete(objects.path(manifest)))
        yield seen


def _roll(api: Api, manifest: Object, traffic: Traffic) -> Rollout:
    seen = Rollout(traffic)
    start = time.monotonic()
    _await_rollout(api, manifest, "a new Deployment is rolled out")
    with traffic:
        if not traffic.await_answer(api.patient(_LOOP_SECONDS)):
            raise Blocked("kube-proxy", f"the Deployment's service does not answer: {traffic.summary()}")
        traffic.forget()
        _note(api, manifest, seen, start)
        for template in ({"metadata": {"annotations": {"revision": "second"}}}, None):
            start = time.monotonic()
            # To undo is to give the first revision's template once more; its ReplicaSet is then used again.
            change = {"template": template} if template else {"template": {"metadata": {"annotations": None}}}
            api.patch(objects.path(manifest), {"spec": change})
            _await_rollout(api, manifest, "a changed Deployment is rolled out" if template else "it is rolled back")
            _note(api, manifest, seen, start)
    return seen


def _await_rollout(api: Api, manifest: Object, what: str) -> None:
    def complete(item: Object) -> bool:
        status = item["status"]
        counts = {status.get(f"{kind}eplicas", 0) for kind in ("r", "updatedR", "readyR", "availableR")}
        return status.get("observedGeneration") == item["metadata"]["generation"] and counts == {_REPLICAS}

    api.observe_one(manifest, complete, what=what, timeout=_ROLLOUT_SECONDS)


def _note(api: Api, manifest: Object, seen: Rollout, start: float) -> None:
    namespace = manifest["metadata"]["namespace"]
    sets = api.items(f"/apis/apps/v1/namespaces/{namespace}/replicasets", labelSelector="app=rolled")
    used = [each for each in sets if each["spec"]["replicas"]]
    seen.revisions.append(
        {each["metadata"]["annotations"][_REVISION]: each["metadata"]["labels"][_TEMPLATE_HASH] for each in sets}
    )
    seen.templates.append(api.get(objects.path(manifest))["spec"]["template"])
    pods = _staying(api.items(objects.core(namespace, "pods"), labelSelector="app=rolled"))
    hashes = {each["metadata"]["labels"][_TEMPLATE_HASH] for each in used}
    seen.pods.append([objects.name(pod) for pod in pods if pod["metadata"]["labels"][_TEMPLATE_HASH] in hashes])
    seen.seconds.append(round(time.monotonic() - start, 1))
    # They are ready as soon as the kubelet says so; kube-proxy has its own time to send them requests.
    seen.traffic.await_answer_of(seen.pods[-1], api.patient(_LOOP_SECONDS))


@pytest.mark.claim("ctl-deployment")
def test_a_deployment_rolls_forward_and_back_without_a_failed_request(
    rollout: Future[Rollout], evidence: Evidence
) -> None:
    seen = rollout.result()
    first, second, third = seen.revisions
    told = seen.traffic.summary()
    evidence["requests"] = told
    evidence["revisions, and their templates' hashes"] = seen.revisions
    evidence["seconds"] = dict(zip(("first", "forward", "back"), seen.seconds, strict=True))
    assert not seen.failed, (
        f"{len(seen.failed)} of {told['requests']} requests failed while the Deployment was rolled: "
        f"{seen.failed[0].error}"
    )
    silent = [names for names in seen.pods if not set(names) & told["answered by"].keys()]
    assert not silent, f"no request was answered by {silent[0]}, of whom the Deployment then consisted"
    assert list(first) == ["1"], f"a new Deployment has revisions {sorted(first)}, not 1"
    assert second.get("1") == first["1"], f"revision 1 was not kept to go back to: {second}"
    assert second.get("2") not in {None, first["1"]}, f"a change of the template is no revision of its own: {second}"
    assert third.get("3") == first["1"], f"revision 3 is not the first one again: {third}"
    assert seen.templates[2] == seen.templates[0], "the template after the rollback is not that of revision 1"
    evidence.headline = (
        f"forward in {seen.seconds[1]:.0f} s, back in {seen.seconds[2]:.0f} s; {told['requests']} requests, none failed"
    )


@early
def everywhere(cluster: Cluster, api: Api, workspace: Workspace, manifests: Manifests) -> str:
    """A DaemonSet for nodes with a label, which all but one of the nodes that are looked at have; the label."""
    label = f"{workspace.resource}-member"
    labels = {"app": "everywhere"}
    if len(cluster.nodes) < 2:
        raise NotObservable("it takes a second node to see one join")
    for node in cluster.nodes[:_MAX_NODES][:-1]:
        workspace.label_node(node.name, label)
    manifest = _owner(manifests, "DaemonSet", "everywhere", labels, [manifests.container("pause", ["pause"])])
    manifest["spec"]["template"]["spec"] |= {"nodeSelector": {label: ""}, "tolerations": [{"operator": "Exists"}]}
    api.create(manifest)
    return label


@pytest.mark.claim("ctl-daemonset")
def test_a_daemonset_has_a_pod_on_each_node_and_on_one_that_joins(
    cluster: Cluster, api: Api, workspace: Workspace, manifests: Manifests, everywhere: str, evidence: Evidence
) -> None:
    nodes = [node.name for node in cluster.nodes[:_MAX_NODES]]
    members, newcomer = nodes[:-1], nodes[-1]
    pods, selected = objects.core(manifests.namespace, "pods"), {"labelSelector": "app=everywhere"}

    def await_on(expected: list[str], what: str) -> float:
        start = time.monotonic()
        items = api.observe(
            pods,
            lambda items: sorted(_places(items)) == sorted(expected) and all(map(is_ready, items)),
            what=what,
            timeout=_LOOP_SECONDS,
            **selected,
        )
        evidence[what] = {objects.name(item): item["spec"]["nodeName"] for item in items}
        return round(time.monotonic() - start, 1)

    await_on(members, f"one pod of the DaemonSet runs on each of {', '.join(members)}")
    workspace.label_node(newcomer, everywhere)
    joined = await_on(nodes, f"one runs on {newcomer}, too, which has joined")
    unlabel_node(api, newcomer, everywhere)
    left = await_on(members, f"none runs on {newcomer} any more, which has left")
    api.delete(f"/apis/apps/v1/namespaces/{manifests.namespace}/daemonsets/everywhere")
    evidence["seconds"] = {"joined": joined, "left": left}
    evidence.headline = f"one pod on each of {len(members)} nodes; on one more {joined} s after it joined"


@early
def jobs(api: Api, manifests: Manifests) -> None:
    """A Job whose pods succeed, and one whose pods fail."""
    for name, arguments, spec in (
        ("succeeding", ["entrypoint-tester"], {"completions": _COMPLETIONS, "parallelism": _PARALLELISM}),
        ("failing", ["no-such-command"], {"backoffLimit": _BACKOFF_LIMIT}),
    ):
        api.create(_batch("Job", manifests, name, _job_spec(manifests, name, arguments) | spec))


@early
def every_minute(api: Api, manifests: Manifests) -> Object:
    """A CronJob that is due every minute."""
    template = {"spec": _job_spec(manifests, "every-minute", ["entrypoint-tester"])}
    # The first one is looked at, however long it takes until then; of three by default the oldest goes.
    keep = {"successfulJobsHistoryLimit": 1000}
    spec = {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": template, **keep}
    return api.create(_batch("CronJob", manifests, "every-minute", spec))


@pytest.mark.claim("ctl-job")
@pytest.mark.usefixtures("jobs")
def test_a_job_runs_to_completion(api: Api, manifests: Manifests, evidence: Evidence) -> None:
    done = _await_job(api, manifests, "succeeding", "Complete")
    pods = _pods_of_job(api, manifests, "succeeding")
    evidence["status"] = {key: done["status"].get(key) for key in ("succeeded", "startTime", "completionTime")}
    evidence["pods"] = pods
    assert done["status"]["succeeded"] == _COMPLETIONS, (
        f"a Job of {_COMPLETIONS} completions is complete after {done['status']['succeeded']}"
    )
    succeeded = [name for name, phase in pods.items() if phase == "Succeeded"]
    assert len(succeeded) == _COMPLETIONS, f"a Job of {_COMPLETIONS} completions is complete with pods {pods}"
    evidence.headline = f"{_COMPLETIONS} of {_COMPLETIONS} pods succeeded, then complete"


@pytest.mark.claim("ctl-job")
@pytest.mark.late
@pytest.mark.usefixtures("jobs")
def test_a_job_that_fails_is_given_up(api: Api, manifests: Manifests, evidence: Evidence) -> None:
    done = _await_job(api, manifests, "failing", "Failed")
    pods = _pods_of_job(api, manifests, "failing")
    why = objects.condition(done, "Failed")
    evidence["reason"], evidence["pods"] = why.get("message"), pods
    assert why.get("reason") == "BackoffLimitExceeded", f"the Job failed for another reason: {why.get('message')}"
    assert len(pods) == _BACKOFF_LIMIT + 1, f"a Job that may be tried {_BACKOFF_LIMIT} times again had pods {pods}"
    evidence.headline = f"given up after {len(pods)} failures"


@pytest.mark.claim("ctl-job")
@pytest.mark.late
def test_a_cronjob_is_on_time(api: Api, manifests: Manifests, every_minute: Object, evidence: Evidence) -> None:
    uid = every_minute["metadata"]["uid"]

    def of_it(items: list[Object]) -> list[Object]:
        return [item for item in items if uid in {each["uid"] for each in item["metadata"].get("ownerReferences", [])}]

    path = f"/apis/batch/v1/namespaces/{manifests.namespace}/jobs"
    found = of_it(
        api.observe(
            path,
            lambda items: bool(of_it(items)),
            what="a CronJob that is due every minute creates a Job",
            timeout=_MINUTE_SECONDS,
        )
    )
    job = min(found, key=lambda item: str(item["metadata"]["creationTimestamp"]))
    api.patch(objects.path(every_minute), {"spec": {"suspend": True}})
    due = datetime.datetime.fromisoformat(job["metadata"]["annotations"][_SCHEDULED])
    created = datetime.datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    late = (created - due).total_seconds()
    evidence["due"], evidence["created"] = due.isoformat(), created.isoformat()
    submitted = datetime.datetime.fromisoformat(every_minute["metadata"]["creationTimestamp"])
    assert due.second == 0, f"a Job of a CronJob that is due on the minute was scheduled for {due.time()}"
    assert due >= submitted, f"the CronJob is of {submitted.time()}, and its Job was due before that, at {due.time()}"
    assert (due - submitted).total_seconds() <= 60, f"a minute was left out: {submitted.time()}, then {due.time()}"
    assert 0 <= late <= _PUNCTUAL_SECONDS, f"the Job that was due at {due.time()} was created {late:.0f} s later"
    evidence.headline = f"the CronJob's Job due at {due.time()} created {late:.0f} s later"


@pytest.mark.claim("ctl-node")
def test_what_ran_on_a_dead_node_runs_elsewhere(outage: Outage, evidence: Evidence) -> None:
    evidence["node"] = outage.node
    evidence["seconds after it was cut off"] = outage.times
    evidence["on it at first"], evidence["elsewhere later"] = outage.lost, outage.replacements
    assert outage.not_ready, f"node {outage.node} was cut off, and is not said to be gone: {outage.trouble}"
    assert outage.evicted, f"pods on {outage.node}, which is dead, are not evicted: {outage.trouble}"
    assert outage.replaced, f"what ran on {outage.node}, which is dead, does not run elsewhere: {outage.trouble}"
    evidence.headline = (
        f"{outage.node} cut off: not ready after {outage.not_ready:.0f} s, its pod evicted after "
        f"{outage.evicted:.0f} s, another one ready elsewhere after {outage.replaced:.0f} s"
    )


def _owner(manifests: Manifests, kind: str, name: str, labels: dict[str, str], containers: list[Object]) -> Object:
    """An owner of pods, of the apps group."""
    spec: Object = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": manifests.pod("", containers)["spec"]},
    }
    if kind != "DaemonSet":
        spec["replicas"] = _REPLICAS
    metadata = {"name": name, "namespace": manifests.namespace}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _batch(kind: str, manifests: Manifests, name: str, spec: Object) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": manifests.namespace},
        "spec": spec,
    }


def _job_spec(manifests: Manifests, name: str, arguments: list[str]) -> Object:
    pod = manifests.pod("", [manifests.container("once", arguments)], restartPolicy="Never")["spec"]
    return {"template": {"metadata": {"labels": {"app": name}}, "spec": pod}}


def _await_job(api: Api, manifests: Manifests, name: str, condition: str) -> Object:
    return api.observe_one(
        _batch("Job", manifests, name, {}),
        lambda item: objects.holds(item, condition),
        what=f"Job {name} is {condition}",
        timeout=_JOB_SECONDS,
    )


def _pods_of_job(api: Api, manifests: Manifests, name: str) -> dict[str, str]:
    items = api.items(objects.core(manifests.namespace, "pods"), labelSelector=f"batch.kubernetes.io/job-name={name}")
    return {objects.name(item): item["status"]["phase"] for item in items}


def _await_pods(api: Api, pods: str, count: int, what: str, selected: dict[str, str]) -> list[Object]:
    try:
        return api.observe(pods, lambda items: len(items) == count, what=what, timeout=_LOOP_SECONDS, **selected)
    except NotObserved as error:
        raise Blocked("controller-manager", str(error)) from None


def _happens(api: Api, path: str, seen: Any, selected: dict[str, str]) -> list[str]:
    """What should not happen, if it does while nothing is to happen."""
    try:
        items = api.observe(path, lambda items: bool(seen(items)), what="it", timeout=_QUIET_SECONDS, **selected)
    except NotObserved:
        return []
    return [objects.name(item) for item in seen(items)]


def _new(items: list[Object], before: list[Object]) -> list[Object]:
    return [item for item in items if item["metadata"]["uid"] not in _uids(before)]


def _places(items: list[Object]) -> list[str]:
    return [item["spec"].get("nodeName", "") for item in items]


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
