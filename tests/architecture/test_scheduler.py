"""The scheduler: which node a pod gets, and that nobody else decides it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from kubeproof.api.kubeconfig import Token
from kubeproof.verify.act import accounts, leader_election
from kubeproof.verify.act.accounts import Rule
from kubeproof.verify.act.disruption import await_recovery, stopped, stopped_everywhere
from kubeproof.verify.act.pods import Blocked, Manifests, Pod, is_running
from kubeproof.verify.act.traffic import Traffic
from kubeproof.verify.act.workspace import Workspace, advertise, withdraw
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import Workloads, early, prepared_together
from kubeproof.verify.observe import audit, objects, runtime
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.cluster import Cluster, Node
from kubeproof.verify.observe.hosts import NotObservable, on_hosts
from kubeproof.verify.observe.objects import Object

_SCHEDULER = "system:kube-scheduler"
# A pod that did not fit waits a second, then two, then four … before it is looked at again.
_BOUND_SECONDS = 15.0
_EVENT_SECONDS = 10.0
# Of the nodes of a large cluster only so many are asked to be choosy with.
_MAX_NODES = 3
# As long as nothing is to happen.
_QUIET_SECONDS = 5.0
# A scheduler that comes back waits until the lease of the one that went has run out.
_BACK_SECONDS = 60.0
_HOSTNAME = "kubernetes.io/hostname"
_SECOND = "kubeproof-verify-second"


@pytest.fixture(scope="module", autouse=True)
def _placed(workloads: Workloads) -> Iterator[None]:
    """Pods that are only placed, of which each costs its kubelet all the time, go with the tests that look at them.

    Tests that come late have others.
    """
    yield
    workloads.release_placed()


def _is_bound(item: Object) -> bool:
    return bool(item["spec"].get("nodeName"))


def _is_judged(item: Object) -> bool:
    return _is_bound(item) or objects.condition(item, "PodScheduled").get("reason") == "Unschedulable"


@prepared_together(until=_is_bound)
def scheduled(manifests: Manifests) -> list[Object]:
    """Pods that the scheduler has to find nodes for."""
    return [manifests.placed(f"scheduled-{number}") for number in range(2)]


@pytest.mark.claim("sched-binding")
def test_pods_are_bound_by_the_scheduler_through_the_api(
    cluster: Cluster, scheduled: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    _need_audit_log(cluster)
    names = [pod.name for pod in scheduled]

    def bindings(records: list[audit.Record]) -> list[audit.Record]:
        return [each for each in records for pod in names if audit.concerns(each, "pods", "create", pod, "binding")]

    records = audit.await_records(
        cluster.control_plane,
        manifests.namespace,
        lambda found: len(bindings(found)) >= len(names),
        what=f"bindings of {', '.join(names)}",
        timeout=5,
    )
    for pod in scheduled:
        mine = [audit.brief(record) for record in bindings(records) if record["objectRef"]["name"] == pod.name]
        created = pod.item["metadata"]["creationTimestamp"]
        evidence[pod.name] = {"created": created, "node": pod.node, "bindings": mine}
        assert len(mine) == 1, f"pod {pod.name} was bound {len(mine)} times"
        assert mine[0]["user"] == _SCHEDULER, f"pod {pod.name} was bound by {mine[0]['user']}, not by the scheduler"
        assert mine[0]["received"] >= created.rstrip("Z"), f"pod {pod.name} was bound before it was created"
    others = {record["user"]["username"] for record in bindings(records)} - {_SCHEDULER}
    assert not others, f"pods were bound by {others}"
    evidence.headline = f"{len(names)} pods, each bound once, by {_SCHEDULER}, after their creation"


@pytest.mark.claim("sched-resources")
def test_a_pod_goes_where_what_it_requests_is_left(
    cluster: Cluster, api: Api, workspace: Workspace, manifests: Manifests, evidence: Evidence
) -> None:
    node, resource = cluster.workers[-1].name, f"{workspace.resource}-scarce"
    workspace.on_exit(lambda: withdraw(api, node, resource))
    advertise(api, node, resource, 1)
    first, second = (_pod_requesting(manifests, f"scarce-{number}", resource) for number in range(2))

    placed = _observe(api, first, _is_bound, f"a pod that fits on {node} alone is bound")
    assert placed["spec"]["nodeName"] == node, (
        f"a pod that fits on {node} alone was put on {placed['spec']['nodeName']}, which has none of {resource}"
    )
    refused = _observe(api, second, _is_judged, "a second pod is judged")
    reason = objects.condition(refused, "PodScheduled").get("message", "")
    evidence["only node that fits"] = node
    evidence["second pod"] = reason
    assert not _is_bound(refused), f"a pod was put on {refused['spec'].get('nodeName')} though nothing was left there"
    assert f"Insufficient {resource}" in reason, f"the pod waits for another reason than the one that holds: {reason}"

    promised = _promised(api, (resource,))
    evidence["requested of allocatable"] = promised
    for where, shares in promised.items():
        for what, (asked, available) in shares.items():
            assert asked <= available, f"pods on {where} were promised {asked} of {what}, it has {available}"
    evidence.headline = f"placed on {node}, the only fit; the next one waits; no node promises more than it has"


@pytest.mark.claim("sched-pending")
def test_a_pod_that_fits_nowhere_waits_until_a_node_fits(
    cluster: Cluster, api: Api, workspace: Workspace, manifests: Manifests, evidence: Evidence
) -> None:
    node, resource = cluster.workers[0].name, f"{workspace.resource}-late"
    manifest = _pod_requesting(manifests, "waiting", resource)
    waiting = _observe(api, manifest, _is_judged, "a pod that fits nowhere is said to be unschedulable")
    assert not _is_bound(waiting), f"a pod that fits nowhere was put on {waiting['spec'].get('nodeName')}"
    assert waiting["status"]["phase"] == "Pending", f"a pod that fits nowhere is {waiting['status']['phase']}"
    evidence["reason"] = objects.condition(waiting, "PodScheduled")["message"]
    # Events are sent on the side: one may come after the pod's own condition.
    api.observe(
        objects.core(manifests.namespace, "events"),
        bool,
        what="a FailedScheduling event tells the pod's owner why it waits",
        timeout=_EVENT_SECONDS,
        fieldSelector=f"involvedObject.uid={waiting['metadata']['uid']},reason=FailedScheduling",
    )

    workspace.on_exit(lambda: withdraw(api, node, resource))
    advertise(api, node, resource, 1)
    bound = _observe(api, manifest, _is_bound, f"the pod is bound after {node} was made fit")
    scheduled_at = objects.condition(bound, "PodScheduled")["lastTransitionTime"]
    evidence["bound"] = {"node": bound["spec"]["nodeName"], "at": scheduled_at}
    assert bound["spec"]["nodeName"] == node, f"bound to {bound['spec']['nodeName']}, which does not fit"
    evidence.headline = f"waited ({evidence['reason'][:40]}…), bound to {node} when that was made fit"


@early
def affine(cluster: Cluster, api: Api, manifests: Manifests) -> list[Object]:
    """Pods that shun each other, one more than there are nodes for them, and one that follows a pod where it is."""
    nodes = _several(cluster)
    shunning = {"app": "shunning"}
    apart = _terms("podAntiAffinity", shunning)
    made = [
        _choosy(manifests, f"shunning-{number}", nodes, shunning, affinity=apart) for number in range(len(nodes) + 1)
    ]
    leader = manifests.placed("leader", labels={"app": "leader"}, **manifests.on_node(nodes[-1].name))
    # It would rather be elsewhere: where it is put is its affinity's doing.
    follower = _choosy(
        manifests, "follower", nodes, {}, rather=nodes[0], affinity=_terms("podAffinity", {"app": "leader"})
    )
    return [api.create(manifest) for manifest in (*made, leader, follower)]


@pytest.mark.claim("sched-affinity")
def test_pods_that_shun_each_other_share_no_node(
    cluster: Cluster, api: Api, affine: list[Object], evidence: Evidence
) -> None:
    nodes = _several(cluster)
    judged = _observe_all(api, [item for item in affine if objects.name(item).startswith("shunning")])
    evidence["nodes to choose from"] = [node.name for node in nodes]
    evidence["placed"] = _placement(judged)
    for node, count in Counter(_nodes_of(judged)).items():
        assert count == 1, f"{node} was given {count} pods that shun each other: {_placement(judged)}"
    waiting = [item for item in judged if not _is_bound(item)]
    assert len(waiting) == 1, f"{len(waiting)} of {len(judged)} pods wait, though there are {len(nodes)} nodes for them"
    reason = objects.condition(waiting[0], "PodScheduled").get("message", "")
    evidence["one too many"] = reason
    assert "anti-affinity" in reason, f"the pod that is one too many waits for another reason: {reason}"
    evidence.headline = f"{len(nodes)} pods that shun each other on {len(nodes)} nodes, one more waits"


@pytest.mark.claim("sched-affinity")
def test_a_pod_follows_the_one_it_wants_to_be_with(
    cluster: Cluster, api: Api, affine: list[Object], evidence: Evidence
) -> None:
    nodes = _several(cluster)
    [follower] = _observe_all(api, [item for item in affine if objects.name(item) == "follower"])
    evidence["leader on"], evidence["follower would rather be on"] = nodes[-1].name, nodes[0].name
    evidence["follower"] = _placement([follower])
    where = follower["spec"].get("nodeName")
    assert where == nodes[-1].name, f"a pod that must be with one on {nodes[-1].name} is put on {where}"
    evidence.headline = f"follower with its leader on {where}, though it prefers {nodes[0].name}"


@early
def constrained(cluster: Cluster, api: Api, manifests: Manifests) -> list[Object]:
    """Pods with a node selector, with and without a toleration, and with a constraint on how they are spread."""
    made = []
    for number, node in enumerate(_several(cluster)):
        made.append(manifests.placed(f"selecting-{number}", nodeSelector=_selector(node)))
    made.append(manifests.placed("selecting-nothing", nodeSelector={"verify.kubeproof.io/none": "such"}))
    for node in _tainted(cluster)[:1]:
        for name, tolerations in (("tolerating", [{"operator": "Exists"}]), ("frail", [])):
            made.append(manifests.placed(name, nodeSelector=_selector(node), tolerations=tolerations))
    made.extend(_spread(manifests, _several(cluster)))
    return [api.create(manifest) for manifest in made]


@pytest.mark.claim("sched-constraints")
def test_node_selectors_are_honoured(cluster: Cluster, api: Api, constrained: list[Object], evidence: Evidence) -> None:
    judged = _observe_all(api, [item for item in constrained if objects.name(item).startswith("selecting")])
    evidence["placed"] = _placement(judged)
    for item in judged:
        selector = item["spec"]["nodeSelector"]
        if not _is_bound(item):
            assert _HOSTNAME not in selector, f"{objects.name(item)} waits, though {selector} selects a node"
            continue
        labels = cluster.node(item["spec"]["nodeName"]).item["metadata"]["labels"]
        assert selector.items() <= labels.items(), (
            f"{objects.name(item)} is put on {item['spec']['nodeName']}, which its node selector {selector} rules out"
        )
    evidence.headline = f"{len(judged) - 1} pods on the nodes that they select; one that selects none waits"


@pytest.mark.claim("sched-constraints")
def test_taints_keep_pods_away_that_do_not_tolerate_them(
    cluster: Cluster, api: Api, constrained: list[Object], evidence: Evidence
) -> None:
    tainted = _tainted(cluster)
    if not tainted:
        raise NotObservable("no node is tainted")
    node = tainted[0]
    frail, tolerating = (
        _observe_all(api, [item for item in constrained if objects.name(item) == name])[0]
        for name in ("frail", "tolerating")
    )
    reason = objects.condition(frail, "PodScheduled").get("message", "")
    evidence["taints"] = {node.name: node.item["spec"]["taints"]}
    evidence["placed"] = _placement([frail, tolerating])
    assert not _is_bound(frail), (
        f"a pod that tolerates nothing is put on {frail['spec'].get('nodeName')}, which is tainted"
    )
    assert "taint" in reason, f"a pod that tolerates nothing is kept from {node.name} by something else: {reason}"
    assert _is_bound(tolerating), (
        f"a pod that tolerates the taint of {node.name} is not put there: "
        f"{objects.condition(tolerating, 'PodScheduled').get('message')}"
    )
    evidence.headline = f"{node.name} is tainted: a pod that tolerates it is put there, one that does not waits"


@pytest.mark.claim("sched-constraints")
def test_pods_are_spread_as_they_must_be(
    cluster: Cluster, api: Api, constrained: list[Object], evidence: Evidence
) -> None:
    nodes = _several(cluster)
    judged = _observe_all(api, [item for item in constrained if objects.name(item).startswith("spread")])
    evidence["all prefer"] = nodes[0].name
    evidence["placed"] = _placement(judged)
    counts = Counter({node.name: 0 for node in nodes})
    counts.update(_nodes_of(judged))
    assert sum(counts.values()) == len(judged), f"some wait, though every node has room: {_placement(judged)}"
    skew = max(counts.values()) - min(counts.values())
    assert skew <= 1, f"pods whose skew must not exceed 1 are placed with {skew}: {dict(counts)}"
    evidence.headline = f"{len(judged)} pods that all prefer {nodes[0].name} are spread {sorted(counts.values())}"


@early
def ranked(cluster: Cluster, api: Api, manifests: Manifests) -> tuple[list[Object], list[Object]]:
    """Pods of one service that can go to two nodes: some have no preference, those that come later have one."""
    nodes = _several(cluster)[:2]
    labels = {"app": "ranked"}
    api.create(manifests.service("ranked", labels))
    even = [api.create(_choosy(manifests, f"ranked-{number}", nodes, labels)) for number in range(4)]
    _observe_all(api, even)
    partial = [
        api.create(_choosy(manifests, f"ranked-partial-{number}", nodes, labels, rather=nodes[0]))
        for number in range(2)
    ]
    return even, partial


@pytest.mark.claim("sched-rank")
def test_of_the_nodes_that_fit_the_best_is_taken(
    cluster: Cluster, api: Api, ranked: tuple[list[Object], list[Object]], evidence: Evidence
) -> None:
    first, second = _several(cluster)[:2]
    even, partial = (_observe_all(api, items) for items in ranked)
    evidence["no preference"] = _placement(even)
    evidence[f"{first.name} preferred"] = _placement(partial)
    counts = Counter(_nodes_of(even))
    assert counts[first.name] == counts[second.name] == len(even) // 2, (
        f"pods of one service are not spread over nodes that all fit: {dict(counts)}"
    )
    assert set(_nodes_of(partial)) == {first.name}, (
        f"pods that prefer {first.name}, which fits, are placed otherwise: {_placement(partial)}"
    )
    evidence.headline = (
        f"{len(even)} equal pods: {sorted(counts.values())}; {len(partial)} that prefer {first.name}: there"
    )


@pytest.mark.claim("sched-only-decides")
def test_a_bound_pod_waits_for_its_kubelet(
    cluster: Cluster, api: Api, manifests: Manifests, evidence: Evidence
) -> None:
    node = cluster.workers[-1]
    manifest = manifests.pod(
        "decided",
        [manifests.container("pause", ["pause"])],
        affinity={"nodeAffinity": _among([node])},
    )
    with stopped(node.host, "kubelet"):
        bound = _observe(api, manifest, _is_bound, f"a pod for {node.name} is bound while the kubelet there is stopped")
        started = _happens(api, manifest, is_running, _QUIET_SECONDS)
        made = runtime.containers(node.host, bound["metadata"]["uid"])
    evidence["bound to"] = bound["spec"]["nodeName"]
    evidence["containers while the kubelet was stopped"] = [container.name for container in made]
    try:
        running = api.observe_one(
            manifest,
            is_running,
            what=f"the pod runs after the kubelet of {node.name} was started",
            timeout=_BACK_SECONDS,
        )
    finally:
        await_recovery(api, f"{node.name} is ready after its kubelet was stopped")
    evidence["phase after the kubelet was started"] = running["status"]["phase"]
    assert not started, f"the pod is said to run on {node.name} though the kubelet there is stopped"
    assert not made, f"the runtime of {node.name} has containers of the pod though the kubelet is stopped"
    evidence.headline = f"bound to {node.name}, where nothing of it was until the kubelet ran again"


@pytest.mark.claim("sched-needed")
def test_without_a_scheduler_new_pods_wait_and_others_keep_running(
    cluster: Cluster, api: Api, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    cluster.hosts.require("control_plane")
    service = api.get(f"{objects.core(manifests.namespace, 'services')}/agents-outside")
    manifest = manifests.placed("newcomer")
    port = service["spec"]["ports"][0]["nodePort"]
    address = cluster.nodes[0].address
    with Traffic(address, port, "hostname", timeout=5, patience=api.patience) as traffic:
        if not traffic.await_answer(_BOUND_SECONDS):
            raise Blocked("kube-proxy", f"port {port} of {cluster.nodes[0].name} is not answered: {traffic.summary()}")
        with stopped_everywhere(cluster.control_plane, "kube-scheduler"):
            api.create(manifest)
            bound = _happens(api, manifest, _is_bound, _QUIET_SECONDS)
            served = traffic.summary()
            failed = traffic.failed
        placed = api.observe_one(
            manifest, _is_bound, what="the pod is bound when schedulers run again", timeout=_BACK_SECONDS
        )
    evidence["requests to pods that run"] = served
    evidence["bound after the schedulers were started, to"] = placed["spec"]["nodeName"]
    assert not bound, f"a pod is bound to {placed['spec']['nodeName']} though no scheduler runs"
    assert not failed, f"{len(failed)} of {served['requests']} requests failed without a scheduler: {failed[0].error}"
    assert set(served["answered by"]) <= {pod.name for pod in agents}, f"others answered: {served['answered by']}"
    evidence.headline = (
        f"unbound for {_QUIET_SECONDS:.0f} s without a scheduler, then bound; {served['requests']} requests answered"
    )


@pytest.mark.claim("sched-leader")
def test_when_the_acting_scheduler_is_killed_another_acts(
    cluster: Cluster, api: Api, manifests: Manifests, evidence: Evidence
) -> None:
    manifest = manifests.placed("inherited")
    with leader_election.leader_killed(cluster, "kube-scheduler") as takeover:
        api.create(manifest)
        placed = api.observe_one(
            manifest, _is_bound, what=f"the scheduler of {takeover.after} binds a pod", timeout=_BACK_SECONDS
        )
    evidence["takeover"] = dataclasses.asdict(takeover)
    evidence["pod bound to"] = placed["spec"]["nodeName"]
    evidence.headline = (
        f"killed on {takeover.before}, {takeover.after} took over after {takeover.seconds} s of a lease of "
        f"{takeover.lease_seconds} s, and binds"
    )


@early
def named(api: Api, manifests: Manifests) -> list[Object]:
    """Pods that name another scheduler."""
    return [api.create(manifests.placed(f"named-{number}", schedulerName=_SECOND)) for number in range(2)]


@early
def assigned(cluster: Cluster, api: Api, manifests: Manifests) -> dict[str, Object]:
    """A pod for each further scheduler that the cluster has."""
    return {
        name: api.create(manifests.placed(f"assigned-{name}", schedulerName=name))
        for name in cluster.settings["scheduler_more"]
    }


@pytest.mark.claim("sched-multiple")
def test_each_configured_scheduler_binds_what_names_it(
    cluster: Cluster, api: Api, manifests: Manifests, assigned: dict[str, Object], evidence: Evidence
) -> None:
    for scheduler, pod in assigned.items():
        placed = _observe(api, pod, _is_bound, f"a pod that names the scheduler {scheduler} is bound")
        who = _binders(cluster, manifests.namespace, [objects.name(pod)])[objects.name(pod)]
        evidence[f"{objects.name(pod)}, which names {scheduler}"] = {**_placement([placed]), "bound by": who}
        expected = f"{_SCHEDULER}:{scheduler}"
        assert who == [expected], f"{objects.name(pod)} names {scheduler}, and was bound by {who}, not by {expected}"
    evidence.headline = (
        f"{len(assigned)} pods, each bound by the scheduler that it names"
        if assigned
        else "no further schedulers are configured"
    )


@pytest.mark.claim("sched-multiple")
def test_each_scheduler_binds_its_own_pods_only(
    cluster: Cluster, api: Api, workspace: Workspace, manifests: Manifests, named: list[Object], evidence: Evidence
) -> None:
    # It comes after those that name another one: when it is bound, the scheduler has seen them.
    other = manifests.placed("unnamed")
    api.create(other)
    with _second_scheduler(cluster, workspace, manifests.namespace) as second:
        ignored = api.items(objects.core(manifests.namespace, "pods"), fieldSelector=f"spec.schedulerName={_SECOND}")
        evidence["before the second scheduler begins"] = _placement(ignored)
        bound_already = {objects.name(item): item["spec"]["nodeName"] for item in ignored if _is_bound(item)}
        theirs = _observe(api, other, _is_bound, "a pod that names no scheduler is bound")
        bound = _schedule(second, manifests.namespace, cluster.workers[0].name)
    evidence["bound by the second scheduler"] = bound
    evidence["bound by the default scheduler"] = _placement([theirs])
    who = _binders(cluster, manifests.namespace, [objects.name(item) for item in (*named, other)])
    evidence["bound by, says the audit log"] = who
    account = f"system:serviceaccount:{manifests.namespace}:{_SECOND}"
    for item in named:
        name = objects.name(item)
        assert name not in bound_already, f"{name} names {_SECOND}, and was bound to {bound_already[name]} without it"
        assert who[name] == [account], f"{name} names {_SECOND}, and was bound by {who[name]}"
    assert who["unnamed"] == [_SCHEDULER], f"a pod that names no scheduler was bound by {who['unnamed']}"
    evidence.headline = f"{len(named)} pods bound by {_SECOND}, to which they were left; the other by {_SCHEDULER}"


@contextmanager
def _second_scheduler(cluster: Cluster, workspace: Workspace, namespace: str) -> Iterator[Api]:
    """The API as a scheduler sees it that has the rights it needs, and no more."""
    look, api = ("get", "list", "watch"), cluster.api
    accounts.account(api, namespace, _SECOND)
    accounts.allow(cluster, namespace, _SECOND, [Rule(look, ("pods",)), Rule(("create",), ("pods/binding",))])
    accounts.allow_everywhere(cluster, workspace, namespace, _SECOND, [Rule(look, ("nodes",))])
    with api.using(Token(accounts.token(api, namespace, _SECOND))) as second:
        yield second


def _schedule(scheduler: Api, namespace: str, node: str) -> dict[str, str]:
    """Bind the pods that name this scheduler, as far as they have no node; all to the same, which must be there."""
    scheduler.get(f"/api/v1/nodes/{node}")
    bound = {}
    pods = objects.core(namespace, "pods")
    for item in scheduler.items(pods, fieldSelector=f"spec.schedulerName={_SECOND},spec.nodeName="):
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": objects.name(item), "namespace": namespace},
            "target": target,
        }
        scheduler.request("POST", f"{pods}/{objects.name(item)}/binding", binding).required()
        bound[objects.name(item)] = node
    return bound


def _binders(cluster: Cluster, namespace: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Who has bound each of some pods, as the audit log has it."""
    _need_audit_log(cluster)

    def of(records: list[audit.Record]) -> dict[str, list[str]]:
        return {
            name: [
                record["user"]["username"]
                for record in records
                if audit.concerns(record, "pods", "create", name, "binding") and record["responseStatus"]["code"] < 300
            ]
            for name in names
        }

    records = audit.await_records(
        cluster.control_plane,
        namespace,
        lambda found: all(of(found).values()),
        what=f"bindings of {', '.join(names)}",
        timeout=_BOUND_SECONDS,
    )
    return of(records)


def _need_audit_log(cluster: Cluster) -> None:
    cluster.hosts.require("control_plane")
    if not all(on_hosts(cluster.control_plane, lambda host: host.attempt("test -s %s", audit.LOG)[0] == 0).values()):
        raise NotObservable(f"the API servers write no audit log to {audit.LOG}")


def _several(cluster: Cluster) -> list[Node]:
    """Some of the nodes that take workloads: two at least, since a choice is to be made."""
    if len(cluster.workers) < 2:
        raise NotObservable(f"only {len(cluster.workers)} node takes workloads, so that there is no choice")
    return list(cluster.workers[:_MAX_NODES])


def _tainted(cluster: Cluster) -> list[Node]:
    """Those that keep pods away for good. A cordon, which is a taint as well, may end at any time."""
    return [node for node in cluster.nodes if not node.schedulable and not objects.cordoned(node.item)]


def _selector(node: Node) -> dict[str, str]:
    return {_HOSTNAME: node.item["metadata"]["labels"][_HOSTNAME]}


def _choosy(
    manifests: Manifests,
    name: str,
    nodes: Sequence[Node],
    labels: Mapping[str, str],
    *,
    rather: Node | None = None,
    affinity: Object | None = None,
    **spec: Any,
) -> Object:
    """A pod to be placed that can go to some nodes only, of which it may prefer one."""
    among = _among(nodes)
    if rather:
        among["preferredDuringSchedulingIgnoredDuringExecution"] = [{"weight": 100, "preference": _only(rather)}]
    whole = {"nodeAffinity": among, **(affinity or {})}
    return manifests.placed(name, labels=labels, affinity=whole, **spec)


def _among(nodes: Sequence[Node]) -> Object:
    # A term can name one node only; of several terms one must match.
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_only(node) for node in nodes]}}


def _only(node: Node) -> Object:
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node.name]}]}


def _terms(kind: str, labels: Mapping[str, str]) -> Object:
    term = {"topologyKey": _HOSTNAME, "labelSelector": {"matchLabels": dict(labels)}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _spread(manifests: Manifests, nodes: Sequence[Node]) -> list[Object]:
    """As many pods as nodes, which all prefer the same node and must not be there together."""
    labels = {"app": "spread"}
    constraint = {
        "maxSkew": 1,
        "topologyKey": _HOSTNAME,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    return [
        _choosy(manifests, f"spread-{number}", nodes, labels, rather=nodes[0], topologySpreadConstraints=[constraint])
        for number in range(len(nodes))
    ]


def _observe_all(api: Api, created: Sequence[Object]) -> list[Object]:
    """Pods that were created, once the scheduler has judged each of them."""
    wanted = {item["metadata"]["uid"] for item in created}

    def judged(items: list[Object]) -> list[Object]:
        return [item for item in items if item["metadata"]["uid"] in wanted and _is_judged(item)]

    pods = objects.core(created[0]["metadata"]["namespace"], "pods")
    names = ", ".join(map(objects.name, created))
    try:
        found = api.observe(
            pods, lambda items: len(judged(items)) == len(wanted), what=f"judged: {names}", timeout=_BOUND_SECONDS
        )
    except NotObserved as error:
        raise Blocked("scheduler", str(error)) from None
    return sorted(judged(found), key=objects.name)


def _happens(api: Api, manifest: Object, until: Any, seconds: float) -> bool:
    """Whether something that should not happen does so within a time."""
    try:
        api.observe_one(manifest, until, what="it", timeout=seconds)
    except NotObserved:
        return False
    return True


def _nodes_of(items: Sequence[Object]) -> list[str]:
    return [item["spec"]["nodeName"] for item in items if _is_bound(item)]


def _placement(items: Sequence[Object]) -> dict[str, str]:
    """Of each pod, the node or why it has none."""
    return {
        objects.name(item): item["spec"].get("nodeName") or objects.condition(item, "PodScheduled").get("message", "")
        for item in items
    }


def _pod_requesting(manifests: Manifests, name: str, resource: str) -> Object:
    return manifests.placed(name, resources={part: {resource: "1"} for part in ("requests", "limits")})


def _observe(api: Api, manifest: Object, until: Any, what: str) -> Object:
    if not api.items(objects.collection(manifest), fieldSelector=f"metadata.name={objects.name(manifest)}"):
        api.create(manifest)
    return api.observe_one(manifest, until, what=what, timeout=_BOUND_SECONDS)


def _promised(api: Api, more: tuple[str, ...]) -> Mapping[str, Mapping[str, tuple[float, float]]]:
    """Of each node, what its pods request and what there is."""
    pods = [pod for pod in api.items("/api/v1/pods") if pod["status"]["phase"] not in {"Succeeded", "Failed"}]
    promised = {}
    for node in api.items("/api/v1/nodes"):
        there = [pod for pod in pods if pod["spec"].get("nodeName") == objects.name(node)]
        allocatable = node["status"]["allocatable"]
        promised[objects.name(node)] = {
            resource: (
                round(sum(objects.requested(pod, resource) for pod in there), 3),
                objects.quantity(allocatable.get(resource, 0)),
            )
            for resource in ("cpu", "memory", *more)
        }
    return promised
