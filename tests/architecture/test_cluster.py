"""The cluster as a whole, as its users meet it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import httpx
import pytest
from tests.architecture.outage import Outage, given_up_later

from kubeproof.api import kubectl
from kubeproof.core import process
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.act import disruption, leader_election
from kubeproof.verify.act.pods import Manifests, Pod, is_ready
from kubeproof.verify.act.traffic import Traffic
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api, ApiError
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable
from kubeproof.verify.observe.objects import Object

_SCHEDULED_SECONDS = 15.0
_COMMAND_SECONDS = 60.0
_READY_SECONDS = 45.0
# An election in etcd, leases that expire, load balancers that notice.
_TAKEN_OVER_SECONDS = 90.0
_POLL_SECONDS = 0.5
# From a node's death to the last request that is still sent to what ran there: the time that it may be silent before it
# is given up, where that is the usual one, and what it takes to tell all others.
_ERROR_SECONDS = 80.0


@pytest.mark.claim("masters-unscheduled")
def test_control_plane_hosts_take_no_workloads_unless_configured_to(
    cluster: Cluster, api: Api, manifests: Manifests, evidence: Evidence
) -> None:
    for node in cluster.nodes:
        told_to = "workers" in node.host.groups
        evidence[node.name] = {
            "control plane": node.control_plane,
            "worker": told_to,
            "taints": node.item["spec"].get("taints", []),
        }
        # Where it is cordoned, that is what keeps workloads away, or would do so.
        if not node.control_plane or objects.cordoned(node.item):
            continue
        manifest = manifests.pod(
            f"workload-for-{node.name}",
            [manifests.container("pause", ["pause"])],
            nodeSelector={"kubernetes.io/hostname": node.item["metadata"]["labels"]["kubernetes.io/hostname"]},
        )
        api.create(manifest)
        judged = api.observe_one(
            manifest,
            lambda item: bool(objects.condition(item, "PodScheduled")),
            what=f"the scheduler judges a pod that wants to {node.name}",
            timeout=_SCHEDULED_SECONDS,
        )
        bound, reason = (
            objects.holds(judged, "PodScheduled"),
            objects.condition(judged, "PodScheduled").get("message", ""),
        )
        evidence[node.name] |= {"a pod that wants there": "bound" if bound else reason}
        assert bound == told_to, (
            f"{node.name} is of the control plane and {'' if told_to else 'not '}of the workers, "
            f"but a workload is {'placed there' if bound else 'kept away: ' + reason}"
        )
        assert bound or "taint" in reason, f"the pod is kept from {node.name} by something else than a taint: {reason}"
    control_plane = [node for node in cluster.nodes if node.control_plane and not objects.cordoned(node.item)]
    if not control_plane:
        raise NotObservable("each node of the control plane is cordoned")
    kept_free = [node.name for node in control_plane if not node.schedulable]
    evidence.headline = f"{len(kept_free)} of {len(control_plane)} control-plane nodes kept free, by a taint"


@pytest.mark.claim("kubectl")
def test_a_users_first_commands(
    cluster: Cluster, kubeconfig_path: Path, manifests: Manifests, evidence: Evidence
) -> None:
    try:
        binary = kubectl.binary(cluster.inventory.state)
    except KubeproofError as error:
        raise NotObservable(str(error)) from None

    def run(*arguments: str) -> str:
        # By the server that this verification has found to be ready.
        command = [str(binary), "--kubeconfig", str(kubeconfig_path), "--server", cluster.api.access.server]
        environment = kubectl.environment(kubeconfig_path)
        limit = cluster.api.patient(_COMMAND_SECONDS)
        result = process.attempt([*command, *arguments], env=environment, timeout=limit)
        # Where this kubectl lies, and which options it has, is of no interest.
        shown = " ".join(argument for argument in arguments if not argument.startswith("--"))
        said = result.stderr.strip() or result.stdout.strip()
        assert result.ok, f"`kubectl {shown}` ended with {result.returncode}: {said}"
        return result.stdout

    namespace = f"--namespace={manifests.namespace}"
    overrides = manifests.pod("hello-minikube", [])["spec"]
    del overrides["containers"]
    ready = cluster.api.patient(_READY_SECONDS)
    created = run(
        "run", "hello-minikube", f"--image={manifests.image}", namespace, "--override-type=strategic",
        f"--overrides={json.dumps({'apiVersion': 'v1', 'spec': overrides})}",
    )  # fmt: skip
    waited = run("wait", "pod/hello-minikube", namespace, "--for=condition=Ready", f"--timeout={ready:.0f}s")
    information = re.sub(r"\x1b\[[0-9;]*m", "", run("cluster-info"))
    nodes = json.loads(run("get", "nodes", "--output=json"))["items"]
    evidence["kubectl run hello-minikube"] = [created.strip(), waited.strip()]
    evidence["kubectl cluster-info"] = information.strip().splitlines()
    evidence["kubectl get nodes"] = {objects.name(node): objects.holds(node, "Ready") for node in nodes}
    assert cluster.api.access.server in information, (
        f"cluster-info does not show the API at {cluster.api.access.server}"
    )
    assert all(objects.holds(node, "Ready") for node in nodes), "not all nodes are ready"
    expected = sorted(map(objects.name, cluster.api.items("/api/v1/nodes")))
    shown = sorted(map(objects.name, nodes))
    assert shown == expected, f"kubectl shows the nodes {', '.join(shown)}, the API {', '.join(expected)}"
    evidence.headline = f"hello-minikube runs, cluster-info and {len(nodes)} nodes are shown"


@pytest.mark.claim("node-loss")
def test_an_application_outlives_a_node(cluster: Cluster, outage: Outage, evidence: Evidence) -> None:
    failed, requests = outage.failed, outage.requests
    last = max((request.over for request in failed), default=outage.cut) - outage.cut
    after = [request for request in requests if request.sent - outage.cut > last]
    evidence["node"] = outage.node
    evidence["requests while it was gone"] = outage.traffic.summary() | {
        "requests": len(requests),
        "failed": len(failed),
    }
    evidence["last error after seconds"] = round(last, 1)
    evidence["answered after the last error"] = len(after)
    assert len(failed) < len(requests), f"with {outage.node} the whole application is gone: {failed[0].error}"
    assert last <= _error_seconds(cluster), (
        f"requests to an application with pods elsewhere still fail {last:.0f} s after {outage.node} died: "
        f"{failed[-1].error}"
    )
    assert after, f"no request was answered after the last error, {last:.0f} s after {outage.node} died"
    evidence.headline = (
        f"{outage.node} cut off: {len(failed)} of {len(requests)} requests failed, the last after {last:.0f} s"
    )


@pytest.mark.claim("control-plane-loss")
def test_the_control_plane_outlives_one_of_its_hosts(
    cluster: Cluster, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    hosts = leader_election.several_control_plane_hosts(cluster)
    # The one that leads: the others have to take over all of its duties.
    leader = leader_election.holder(cluster, leader_election.lease(cluster.api, "kube-controller-manager"))
    lost = leader or hosts[0]
    others = [node for node in cluster.nodes if node.host is not lost]
    manifest = manifests.pod("after-the-loss", [manifests.container("pause", ["pause"])])
    with leader_election.api_without(cluster, lost) as api:
        service = api.get(f"{objects.core(manifests.namespace, 'services')}/agents-outside")
        port = service["spec"]["ports"][0]["nodePort"]
        with Traffic(others[0].address, port, "hostname", timeout=1) as traffic, disruption.cut_off(lost):
            start = time.monotonic()
            reached = _await_answers(cluster, tuple(node.host for node in others), lost)
            written = time.monotonic() - start
            _create_in_time(api, manifest)
            _run_in_time(api, manifest, f"without {lost} a new pod runs")
            ran = time.monotonic() - start
            answered = traffic.await_answer(_error_seconds(cluster))
        disruption.await_recovery(api, f"all nodes ready after {lost} is back")
    problem = leader_election.await_ready(cluster, lost, _TAKEN_OVER_SECONDS)
    evidence["lost"] = lost.name
    evidence["API servers reached by the other nodes"] = reached
    evidence["seconds until"] = {"all load balancers answer": round(written, 1), "a new pod runs": round(ran, 1)}
    evidence["requests meanwhile"] = traffic.summary()
    assert answered, f"without {lost} the application does not answer any more: {traffic.summary()['errors']}"
    assert not problem, f"the API server of {lost} is not ready after its return: {problem}"
    evidence.headline = f"{lost} cut off: load balancers answer after {written:.0f} s, a new pod runs after {ran:.0f} s"


def _error_seconds(cluster: Cluster) -> float:
    return cluster.api.patient(_ERROR_SECONDS + given_up_later(cluster.settings))


def _await_answers(cluster: Cluster, hosts: tuple[Host, ...], lost: Host) -> dict[str, dict[str, int]]:
    """Wait until the load balancers of these hosts only use servers that answer; which ones they use then."""
    deadline = time.monotonic() + _TAKEN_OVER_SECONDS
    expected = {host.name for host in cluster.control_plane} - {lost.name}
    while True:
        reached = leader_election.servers_reached(cluster, hosts, without=lost)
        if all(set(servers) <= expected for servers in reached.values()):
            return reached
        assert time.monotonic() < deadline, f"{_TAKEN_OVER_SECONDS:.0f} s after {lost} was lost, nodes get: {reached}"


def _run_in_time(api: Api, manifest: Object, what: str) -> None:
    try:
        api.observe_one(manifest, is_ready, what=what, timeout=_TAKEN_OVER_SECONDS)
    except ApiError as error:
        # What the servers that are left can't tell is what the lost one has taken with it.
        raise AssertionError(f"{what}: not within {_TAKEN_OVER_SECONDS:.0f} s; {error}") from None


def _create_in_time(api: Api, manifest: Object) -> None:
    """Create an object, while etcd may still have to agree on a leader."""
    deadline = time.monotonic() + _TAKEN_OVER_SECONDS
    while True:
        try:
            answer = api.request("POST", objects.collection(manifest), manifest)
            # It may have been created by a request whose answer was an error.
            if answer.ok or answer.status == 409:
                return
            problem = f"{answer.status} {answer.message}"
        except httpx.HTTPError as error:
            # A server keeps waiting for an etcd member that is gone, for ten seconds.
            problem = f"{type(error).__name__}: {error}"
        assert time.monotonic() < deadline, f"nothing can be created: {problem}"
        time.sleep(_POLL_SECONDS)
