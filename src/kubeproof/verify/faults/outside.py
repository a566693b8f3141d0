"""A client outside the cluster, on this machine, which asks an application at an address of a Service."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kubeproof.verify.act import accounts, announced
from kubeproof.verify.act.pods import HTTP_PORT, READY_SECONDS, Manifests, is_ready
from kubeproof.verify.act.traffic import Request, Traffic
from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.faults.checker import longest_gap
from kubeproof.verify.observe.api import NotObserved
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable
from kubeproof.verify.observe.objects import Object

_NAME = "outside"
_REQUEST_SECONDS = 1.0
_ANSWERED_SECONDS = 15.0


@dataclass(frozen=True)
class Asked:
    """What the client saw. ``shift``: from the monotonic clock, which requests have, to seconds since 1970."""

    requests: Sequence[Request]
    shift: float

    @classmethod
    def of(cls, traffic: Traffic) -> Asked:
        """What it has seen until now."""
        return cls(traffic.requests, time.time() - time.monotonic())

    def failed(self, begin: float, end: float) -> int:
        """How many of the requests that ended in a time, in seconds since 1970, failed."""
        return sum(bool(each.error) and begin <= each.over + self.shift <= end for each in self.requests)

    def unavailable(self, begin: float, end: float) -> float:
        """The longest time in seconds, from one answer to the next, of those that overlap a time."""
        return longest_gap([each.over + self.shift for each in self.requests if not each.error], begin, end).seconds


class Outside:
    """The application: one pod, on a host that no fault ends, so that only the way to it is lost; and its Services."""

    def __init__(self, cluster: Cluster, workspace: Workspace, manifests: Manifests, home: Host) -> None:
        """Nothing is created before the first fault that takes it."""
        self._cluster, self._workspace, self._home = cluster, workspace, home
        self._manifests = manifests
        self._services: dict[int, Object] = {}
        self._address = ""

    def announcer(self, among: Sequence[Host]) -> Host:
        """The host, of these, that answers for an address now; that address is asked. Raises NotObservable."""
        announced.ranges_heard(self._cluster)
        names = {host.name for host in among}
        nodes = {node.name: node for node in self._cluster.nodes if node.host.name in names}
        if not nodes:
            raise NotObservable("it takes a worker besides the one that asks, which answers for an address")
        try:
            if not self._services:
                self._prepare()
            self._address, node = announced.announced_by(self._cluster, self._service, nodes)
        except NotObserved as error:
            raise NotObservable(f"there is nothing to ask from outside: {error}") from None
        return node.host

    @contextmanager
    def asked(self) -> Iterator[Traffic]:
        """Ask at the address of the last announcer, for the time of the block. Raises NotObservable if none answers."""
        with Traffic(self._address, 80, "hostname", timeout=_REQUEST_SECONDS) as traffic:
            if not traffic.await_answer(self._cluster.api.patient(_ANSWERED_SECONDS)):
                raise NotObservable(f"{self._address} is not answered on this machine: {traffic.summary()['errors']}")
            yield traffic

    def _prepare(self) -> None:
        # The pods of the other application are counted by their namespace.
        self._manifests = dataclasses.replace(self._manifests, namespace=self._workspace.namespace(_NAME))
        accounts.await_default(self._cluster.api, self._manifests.namespace)
        node = next(node.name for node in self._cluster.nodes if node.host.name == self._home.name)
        probe = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "periodSeconds": 1}
        server = self._manifests.server("server", readinessProbe=probe)
        pod = self._manifests.pod(_NAME, [server], labels={"app": _NAME}, **self._manifests.on_node(node))
        self._cluster.api.create(pod)
        self._cluster.api.observe_one(pod, is_ready, what=f"pod {_NAME} is ready", timeout=READY_SECONDS)

    def _service(self, number: int) -> Object:
        if number not in self._services:
            service = self._manifests.service(f"{_NAME}-{number}", {"app": _NAME}, type="LoadBalancer")
            self._services[number] = self._cluster.api.create(service)
        return self._services[number]
