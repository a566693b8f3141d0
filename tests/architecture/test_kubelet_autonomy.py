"""Nodes on their own: what keeps running, and what is restarted, while no API server runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubeproof.settings.urls import in_url
from kubeproof.verify.act.disruption import await_recovery, stopped_everywhere
from kubeproof.verify.act.pods import HTTP_PORT, Blocked, Manifests, Pod, is_ready
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import prepared_together
from kubeproof.verify.observe import runtime
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, on_hosts
from kubeproof.verify.observe.objects import Object

_UNIT = "kube-apiserver"
_RESTART_SECONDS = 40.0
_CONVERGED_SECONDS = 60.0
_ANSWER_SECONDS = 20.0
_APART_SECONDS = 0.2


@prepared_together()
def enduring(manifests: Manifests) -> list[Object]:
    """A server on each of two nodes, and the service in front of them. The last one's process will be killed."""
    everyone = {"app": "enduring"}
    probe = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}, "periodSeconds": 1}
    pods = [
        manifests.pod(
            f"enduring-{number}",
            [manifests.server("server", readinessProbe=probe)],
            labels=everyone,
            **manifests.on_node(node),
        )
        for number, node in enumerate(sorted({manifests.nodes[0], manifests.nodes[-1]}))
    ]
    return [*pods, manifests.service("enduring", everyone)]


@dataclass
class Outage:
    """What was seen while no API server ran: answers to those who asked pods and their service, and a restart."""

    pods: Sequence[Pod]
    seconds: float = 0.0
    before: dict[str, Any] = field(default_factory=dict)
    during: dict[str, Any] = field(default_factory=dict)
    after_kill: dict[str, Any] = field(default_factory=dict)
    killed: int = 0
    restarted_as: int = 0
    restart_seconds: float = 0.0


@pytest.fixture(scope="module")
def outage(cluster: Cluster, api: Api, enduring: list[Pod], manifests: Manifests) -> Outage:
    """Stop all API servers, look at what runs, kill a container, look again, and start them."""
    cluster.hosts.require("control_plane")
    seen = Outage(enduring)
    urls = [f"http://{in_url(pod.address)}:{HTTP_PORT}/hostname" for pod in enduring]
    urls.append(f"http://{in_url(cluster.service_address(manifests.namespace, 'enduring'))}/hostname")
    seen.before = _ask(cluster, urls, patience=_ANSWER_SECONDS)
    if _unanswered(seen.before, enduring):
        raise Blocked("kube-proxy or pod-network", f"before the outage: {_unanswered(seen.before, enduring)}")
    victim, servers = enduring[-1], cluster.api_servers
    host = cluster.node(victim.node).host
    start = time.monotonic()
    with stopped_everywhere(cluster.control_plane, _UNIT):
        if answering := _answering(cluster, servers):
            raise Blocked("apiserver", f"stopped, but still answering: {answering}")
        seen.during = _ask(cluster, urls)
        seen.killed = _process(host, victim)
        if seen.killed:
            # It may just have ended by itself, which is for the tests to tell.
            host.attempt(f"kill -KILL {seen.killed}")
        at = time.monotonic()
        while seen.restarted_as in {0, seen.killed} and time.monotonic() - at < _RESTART_SECONDS:
            seen.restarted_as = _process(host, victim)
            time.sleep(_APART_SECONDS)
        seen.restart_seconds = time.monotonic() - at
        seen.restarted_as = 0 if seen.restarted_as == seen.killed else seen.restarted_as
        if seen.restarted_as:
            seen.after_kill = _ask(cluster, urls, patience=_ANSWER_SECONDS)
    seen.seconds = time.monotonic() - start
    await_recovery(api, "all nodes are ready after the API servers were stopped")
    return seen


@pytest.mark.claim("kubelet-autonomous")
def test_what_runs_keeps_running_without_the_control_plane(outage: Outage, evidence: Evidence) -> None:
    evidence["seconds without an API server"] = round(outage.seconds, 1)
    evidence["asked during that time"] = outage.during
    problems = _unanswered(outage.during, outage.pods)
    assert not problems, f"without an API server: {'; '.join(problems)}"
    evidence.headline = f"{len(outage.during)} questions to pods and their service answered without an API server"


@pytest.mark.claim("kubelet-autonomous")
def test_what_crashes_is_restarted_without_the_control_plane(outage: Outage, evidence: Evidence) -> None:
    victim = outage.pods[-1]
    evidence["process"] = {"node": victim.node, "killed": outage.killed, "restarted as": outage.restarted_as}
    evidence["asked after the restart"] = outage.after_kill
    assert outage.restarted_as, (
        f"without an API server, a container on {victim.node} whose process was killed is not restarted "
        f"within {_RESTART_SECONDS:.0f} s"
    )
    problems = _unanswered(outage.after_kill, outage.pods)
    assert not problems, f"after a container on {victim.node} was restarted without an API server: {problems}"
    evidence.headline = f"killed: restarted in {outage.restart_seconds:.1f} s without one"


@pytest.mark.claim("kubelet-autonomous")
def test_the_api_shows_afterwards_what_happened(api: Api, outage: Outage, evidence: Evidence) -> None:
    survivors, victim = outage.pods[:-1], outage.pods[-1]
    count = victim.container("server")["restartCount"]
    start = time.monotonic()
    item = api.observe_one(
        victim.manifest,
        lambda item: is_ready(item) and Pod(api, item).container("server")["restartCount"] > count,
        what=f"the restart on {victim.node} that happened without an API server is reported to it",
        timeout=_CONVERGED_SECONDS,
    )
    now = Pod(api, item)
    evidence[victim.name] = {"restarts": now.container("server")["restartCount"], "ready": is_ready(item)}
    assert (now.uid, now.address) == (victim.uid, victim.address), f"pod {victim.name} was replaced by the outage"
    for pod in survivors:
        same = pod.now()
        evidence[pod.name] = {"restarts": same.container("server")["restartCount"], "ready": is_ready(same.item)}
        assert same.container("server")["containerID"] == pod.container("server")["containerID"], (
            f"the container of {pod.name} on {pod.node} was replaced by the outage"
        )
        assert is_ready(same.item), f"pod {pod.name} on {pod.node} is not ready after the outage"
    evidence.headline = f"reported to the API {time.monotonic() - start:.1f} s after it was back"


def _process(host: Host, pod: Pod) -> int:
    """The PID of a pod's server on its host; 0 if there is none."""
    running = (one.pid for one in runtime.containers(host, pod.uid) if one.name == "server" and one.pid)
    return next(running, 0)


def _answering(cluster: Cluster, servers: Sequence[tuple[str, int]]) -> list[str]:
    """The API servers that answer anything at all, asked from a control-plane host."""
    found = []
    for address, port in servers:
        answer = cluster.control_plane[0].http(f"https://{in_url(address)}:{port}/livez", timeout=3.0)
        found += [f"{address}:{port}"] if "status" in answer else []
    return found


def _ask(cluster: Cluster, urls: Sequence[str], patience: float = 0.0) -> dict[str, str]:
    """Ask each URL from each node; with patience, those that do not answer again and again."""
    found: dict[str, str] = {}
    requests = [{"do": "http", "url": url} for url in urls]
    deadline = time.monotonic() + patience
    while True:
        answers = on_hosts((node.host for node in cluster.nodes), lambda host: host.probe(*requests))
        for host, told in answers.items():
            for url, answer in zip(urls, told, strict=True):
                found[f"{url} from {host}"] = str(answer.get("body", answer.get("error")))
        if time.monotonic() > deadline or all(body.startswith("enduring-") for body in found.values()):
            return found
        time.sleep(_APART_SECONDS)


def _unanswered(asked: dict[str, str], pods: Sequence[Pod]) -> list[str]:
    """What was not answered by one of the pods."""
    names = {pod.name for pod in pods}
    return [f"{question} is answered {answer!r}" for question, answer in asked.items() if answer not in names]
