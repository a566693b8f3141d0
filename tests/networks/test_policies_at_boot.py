"""Network policies while a node starts, when its kernel has none of their rules: a few minutes for each setting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests import disposable_cluster
from tests.networks import cells
from tests.vm.machines import ready

from kubeproof.core import waiting
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle, podman
from kubeproof.local_hosts.plan import plan
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.act import accounts
from kubeproof.verify.act.pods import HTTP_PORT, Manifests, Pod, is_ready
from kubeproof.verify.act.repeated import Repeated
from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.engine.preparations import Workloads
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster, recorded_image
from kubeproof.verify.observe.objects import Object

pytestmark = [pytest.mark.local, pytest.mark.cluster]

_FORBIDDEN_PORT = 8090
# Until the engine has rules for pods that have just become ready, as the claim `policy-new-pods` has it.
_IN_FORCE_SECONDS = 15.0
_BACK_SECONDS = 180.0
_REQUESTS, _LEAST = 20, 5


@pytest.fixture(params=["isolated", "open"])
def new_pods(request: pytest.FixtureRequest) -> str:
    """The setting ``network_policy_new_pods``."""
    return str(request.param)


@pytest.fixture
def made(new_pods: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """A control plane and a worker with a cluster on them."""
    document = cells.describe(local_host_network=cells.SEGMENT, network_policy_new_pods=new_pods)
    with cells.made(tmp_path_factory.mktemp("boot"), document) as hosts:
        assert playbook.run("cluster", hosts.sources, hosts.state).ok
        yield hosts


@pytest.fixture
def cluster(made: Inventory) -> Iterator[Cluster]:
    """It, as the verification looks at it."""
    with disposable_cluster.opened(made) as found:
        yield found


class Requests(Repeated):
    """Requests from one pod to a port of another one, at whichever address that has by then."""

    def __init__(self, client: Pod, server: Pod, port: int) -> None:
        """Nothing is sent before the ``with`` block."""
        super().__init__(self._send, pause=0.05)
        self._client, self._server, self._port = client, server, port
        self.seen: Counter[str] = Counter()

    def _send(self) -> None:
        address = self._server.api.get(self._server.path)["status"].get("podIP")
        if address:
            told = self._client.dial(address, self._port, "serverport")
            self.seen["passed" if told.responses else "did not pass"] += 1


def _server(manifests: Manifests, name: str, node: str) -> Object:
    ports = {"server": HTTP_PORT, "second": _FORBIDDEN_PORT}
    containers = [
        manifests.server(each, port, readinessProbe={"tcpSocket": {"port": port}, "periodSeconds": 1})
        for each, port in ports.items()
    ]
    return manifests.pod(name, containers, labels={"app": name}, **manifests.on_node(node))


def _policy(manifests: Manifests, name: str) -> Object:
    """One that lets everybody in at the first port, and nobody at the second."""
    spec: dict[str, Any] = {
        "podSelector": {"matchLabels": {"app": name}},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": HTTP_PORT}]}],
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": manifests.namespace},
        "spec": spec,
    }


def test_a_node_that_starts_again_forbids_what_it_forbade(
    cluster: Cluster, made: Inventory, new_pods: str, capsys: pytest.CaptureFixture[str]
) -> None:
    api = cluster.api
    with Workspace(api) as workspace:
        image = recorded_image(made, cluster.nodes)
        manifests = Manifests(workspace.namespace(), image, ("cp1", "w1"), api.patience)
        accounts.await_default(api, manifests.namespace)
        workloads = Workloads(api, manifests)
        client, server = (
            workloads.run(_server(manifests, "client", "cp1")),
            workloads.run(_server(manifests, "server", "w1")),
        )
        assert client.dial(server.address, _FORBIDDEN_PORT, "serverport").responses, "nothing is forbidden yet"
        api.create(_policy(manifests, "server"))
        assert waiting.until(lambda: _is_closed(client, server), api.patient(_IN_FORCE_SECONDS), pause=0.2)

        former = server.container_id("second")
        with Requests(client, server, _FORBIDDEN_PORT) as asked:
            podman.stop(next(host.unique_name for host in plan(made).hosts if host.name == "w1"))
            with capsys.disabled():
                lifecycle.create(plan(made), print)
            assert waiting.until(lambda: ready(made, "w1"), api.patient(_BACK_SECONDS), pause=0.5)
            assert waiting.until(lambda: _is_back(api, server, former), api.patient(_BACK_SECONDS), pause=0.2)
        with capsys.disabled():
            print(f"{new_pods}: while w1 started {dict(asked.seen)}")
        # Each that does not pass takes seconds.
        assert asked.seen["did not pass"] >= _LEAST
        if new_pods == "isolated":
            assert not asked.seen["passed"]

        again = server.now()
        assert waiting.until(lambda: _is_closed(client, again), api.patient(_IN_FORCE_SECONDS), pause=0.2)
        assert client.dial(again.address, HTTP_PORT, "serverport").responses
        assert not client.dial(again.address, _FORBIDDEN_PORT, "serverport", tries=_REQUESTS).responses


def _is_closed(client: Pod, server: Pod) -> bool:
    return not client.dial(server.address, _FORBIDDEN_PORT, "serverport").responses


def _is_back(api: Api, server: Pod, former: str) -> bool:
    """Whether a pod is ready, in a container that has started since."""
    return is_ready(api.get(server.path)) and server.now().container_id("second") not in ("", former)
