"""Kube-proxy and a service whose pods are all replaced while requests come in without a pause."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

from kubeproof.core import waiting
from kubeproof.verify.act.pods import HTTP_PORT, Blocked, Dialled, Manifests, Pod, is_ready
from kubeproof.verify.act.repeated import Repeated
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import Workloads, prepared_together
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object

_LABEL = {"app": "stable"}
_PORT = 80
# A pod that is to end serves for this long: nodes learn within it that they should send it nothing more.
_FAREWELL_SECONDS = 5
_TRIES = 10
_ANSWER_SECONDS = 20.0
_REPLACED_SECONDS = 40.0
_PAUSE = 0.05
# Requests that were sent after the last of the old pods was gone.
_REQUESTS_AFTER = 20


@prepared_together()
def replaceable(manifests: Manifests) -> list[Object]:
    """The first servers of a service, and the service."""
    return [*_generation(manifests, "old"), manifests.service("stable", _LABEL, port=_PORT)]


@pytest.mark.claim("service-stable")
def test_pods_are_replaced_and_no_request_fails(
    cluster: Cluster,
    api: Api,
    workloads: Workloads,
    agents: list[Pod],
    replaceable: list[Pod],
    manifests: Manifests,
    evidence: Evidence,
) -> None:
    service = f"{objects.core(manifests.namespace, 'services')}/stable"
    before = api.get(service)
    address, name = (
        before["spec"]["clusterIP"],
        f"stable.{manifests.namespace}.svc.{cluster.settings['cluster_domain']}",
    )
    evidence["service"] = {"address": address, "name": name}
    clients = {
        f"{agents[0].name} to {address}": (agents[0], address),
        f"{agents[-1].name} to {name}": (agents[-1], name),
    }
    old = {pod.name for pod in replaceable}
    for client, (pod, host) in clients.items():
        _await_answer(pod, host, client)
    with Requests(agents[0], address) as by_address, Requests(agents[-1], name) as by_name:
        sent = dict(zip(clients, (by_address, by_name), strict=True))
        fresh = workloads.await_all([api.create(pod) for pod in _generation(manifests, "new")], is_ready)
        new = {pod.name for pod in fresh}
        _await(
            api,
            lambda: (
                any(by_address.errors + by_name.errors)
                or all(new <= requests.answered.keys() for requests in sent.values())
            ),
            f"requests come to {sorted(new)}",
        )
        for pod in replaceable:
            api.delete(pod.path)
        for pod in replaceable:
            api.observe_gone(pod.manifest, what=f"pod {pod.name} on {pod.node} is gone", timeout=_REPLACED_SECONDS)
        alone = {client: requests.since_now() for client, requests in sent.items()}
        _await(
            api,
            lambda: (
                any(by_address.errors + by_name.errors)
                or all(since().total() >= _REQUESTS_AFTER for since in alone.values())
            ),
            f"{_REQUESTS_AFTER} requests after the old pods were gone",
        )
        last = {client: since() for client, since in alone.items()}
    for client, requests in sent.items():
        evidence[f"requests from {client}"] = {
            "answered by": dict(requests.answered),
            "failed": len(requests.errors),
            "errors": requests.errors[:5],
            "after the old pods were gone, answered by": dict(last[client]),
        }
    for client, requests in sent.items():
        total = requests.answered.total() + len(requests.errors)
        assert not requests.errors, (
            f"{len(requests.errors)} of {total} requests from {client} failed while pods were replaced: "
            f"{requests.errors[0]}"
        )
        assert requests.answered.keys() == old | new, f"requests from {client} went to {sorted(requests.answered)}"
        assert last[client].keys() <= new, (
            f"requests from {client} after the old pods were gone are answered by {sorted(last[client])}"
        )
    after = api.get(service)
    assert (after["metadata"]["uid"], after["spec"]["clusterIP"]) == (before["metadata"]["uid"], address), (
        f"service stable at {address} has another address after its pods were replaced: {after['spec']['clusterIP']}"
    )
    count = sum(requests.answered.total() for requests in sent.values())
    evidence.headline = f"{len(old)} of {len(old)} pods replaced, {count} requests to address and name, none failed"


class Requests(Repeated):
    """Requests that a pod sends without a pause to a service, each over a connection of its own."""

    def __init__(self, client: Pod, host: str) -> None:
        """Nothing is sent before the ``with`` block."""
        super().__init__(self._send)
        self._client, self._host = client, host
        self.answered: Counter[str] = Counter()
        self.errors: list[str] = []
        self._rounds = 0

    def since_now(self) -> Callable[[], Counter[str]]:
        """A function that returns what is answered to requests that were sent after this."""
        began, before = self._rounds, Counter[str]()

        def since() -> Counter[str]:
            # The current round has requests from before in it.
            if self._rounds > began and not before:
                before.update(self.answered)
            return self.answered - before if before else Counter[str]()

        return since

    def _send(self) -> None:
        answered = _dial(self._client, self._host, _TRIES)
        self.answered += Counter(answered.responses)
        self.errors += answered.errors
        self._rounds += 1


def _generation(manifests: Manifests, name: str) -> list[Object]:
    """A server on each of two nodes, which says good-bye slowly."""
    probe = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "periodSeconds": 1}
    server = manifests.server("server", readinessProbe=probe)
    farewell = manifests.farewell(_FAREWELL_SECONDS)
    server["args"].append(f"--delay-shutdown={farewell}")
    return [
        manifests.pod(
            f"{name}-{number}",
            [server],
            labels=_LABEL,
            **manifests.on_node(node),
            terminationGracePeriodSeconds=farewell + 4,
        )
        for number, node in enumerate((manifests.nodes[0], manifests.nodes[-1]))
    ]


def _dial(client: Pod, host: str, tries: int) -> Dialled:
    return client.dial(host, _PORT, "hostname", tries=tries)


def _await_answer(client: Pod, host: str, what: str) -> None:
    """Wait for the service to be there at all, which is not what is in question here."""
    deadline = time.monotonic() + client.api.patient(_ANSWER_SECONDS)
    while (answered := _dial(client, host, 1)).errors:
        if time.monotonic() > deadline:
            raise Blocked("kube-proxy or dns", f"before any pod was replaced, {what} fails: {answered.errors[0]}")
        time.sleep(_PAUSE)


def _await(api: Api, condition: Callable[[], bool], what: str) -> None:
    limit = api.patient(_REPLACED_SECONDS)
    assert waiting.until(condition, limit, pause=_PAUSE), f"{what}: not within {limit:.0f} s"
