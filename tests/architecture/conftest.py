"""What tests of several files share, besides the fixtures of kubeproof.verify.engine.plugin."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.architecture.outage import Outage, observe

from kubeproof.verify.act.pods import HTTP_PORT, Manifests, Pod
from kubeproof.verify.act.workspace import Departure, Workspace, departing
from kubeproof.verify.engine.preparations import early, prepared_together
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object

pytest_plugins = ["kubeproof.verify.engine.plugin"]

# Enough nodes to tell a rule from an exception; on a large cluster not all of them are bothered.
_MAX_AGENTS = 8
# One that is not chosen among so many, which is rare, is chosen among the next.
_TRIES_PER_POD = 10
_SETTLE_SECONDS = 10.0


@prepared_together()
def agents(manifests: Manifests) -> list[Object]:
    """A server on each node, which is also a client for tests, and two services that have all of them behind them.

    They are put on their nodes without the scheduler's help, so that its faults are not taken for the network's.
    """
    everyone = {"app": "agent"}
    probe = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "periodSeconds": 1}
    pods = [
        manifests.pod(
            f"agent-{number}",
            [manifests.server("server", readinessProbe=probe)],
            labels={**everyone, "agent": str(number)},
            automountServiceAccountToken=True,
            **manifests.on_node(node),
        )
        for number, node in enumerate(manifests.nodes[:_MAX_AGENTS])
    ]
    return [
        *pods,
        # One address, or one of each IP family that the cluster has.
        manifests.service("agents", everyone, ipFamilyPolicy="PreferDualStack"),
        manifests.service("agents-headless", everyone, clusterIP="None"),
        manifests.service("agents-outside", everyone, type="NodePort", ipFamilyPolicy="PreferDualStack"),
        manifests.service("agent-alone", {"agent": "0"}),
    ]


@pytest.fixture(scope="session")
def settled(cluster: Cluster, api: Api, agents: list[Pod], manifests: Manifests) -> None:
    """Give every node's rules the time to follow the agents' readiness. Whether they do is for tests to say."""
    names = {pod.name for pod in agents}
    behind = {"agents": names, "agent-alone": {agents[0].name}}
    services = [
        (address, 80, expected)
        for service, expected in behind.items()
        for address in cluster.service_addresses(manifests.namespace, service)
    ]
    outside = api.get(f"{objects.core(manifests.namespace, 'services')}/agents-outside")["spec"]["ports"][0]["nodePort"]
    deadline = time.monotonic() + api.patient(_SETTLE_SECONDS)

    def await_answers(pod: Pod) -> None:
        targets = services + [(address, outside, names) for address in cluster.node(pod.node).addresses]
        for address, port, expected in targets:
            # Endpoints that become ready one after the other come into the rules so, too: all of them have to answer.
            seen: set[str] = set()
            while not expected <= seen and time.monotonic() < deadline:
                # While none answers, one request: each that is dropped takes seconds.
                answered = pod.dial(address, port, "hostname", tries=_TRIES_PER_POD * len(expected) if seen else 1)
                seen.update(answered.responses)
                if not answered.responses:
                    time.sleep(0.1)

    with ThreadPoolExecutor(len(agents)) as pool:
        list(pool.map(await_answers, agents))


@early
def going(cluster: Cluster, api: Api, workspace: Workspace) -> Iterator[Departure]:
    """A namespace with content, on its way out: its controller waits five seconds before it begins."""
    namespace = workspace.namespace("going")
    metadata = {"name": "content", "namespace": namespace}
    for manifest in (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata},
    ):
        api.create(manifest)
    with departing(api, cluster.etcd, namespace) as departure:
        yield departure


@pytest.fixture(scope="session")
def outage(cluster: Cluster, api: Api, manifests: Manifests) -> Outage:
    """A node dies, once, for all claims that say what then happens."""
    return observe(cluster, api, manifests)
