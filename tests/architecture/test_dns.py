"""DNS: names for services, asked as the pods ask."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from kubeproof.verify.act.pods import Manifests, Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import dns, runtime
from kubeproof.verify.observe.cluster import Cluster

_DNS_PORT = 53
# Longer than CoreDNS lets an answer about the cluster grow old.
_FOLLOW_SECONDS = 15.0
_PAUSE = 0.3


@dataclass(frozen=True)
class _Resolved:
    """How DNS is configured in a pod, and what it is answered."""

    server: str
    search: tuple[str, ...]
    answers: tuple[dns.Answer, ...]


@pytest.mark.claim("service-dns")
def test_services_have_names_and_records(
    cluster: Cluster, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    domain = f"{manifests.namespace}.svc.{cluster.settings['cluster_domain']}"
    address = cluster.service_address(manifests.namespace, "agents")
    questions = [
        dns.ask(f"agents.{domain}", dns.A),
        dns.ask(f"_http._tcp.agents.{domain}", dns.SRV),
        dns.ask(f"agents-headless.{domain}", dns.A),
        dns.ask(f"no-such-service.{domain}", dns.A),
    ]
    with ThreadPoolExecutor(len(agents)) as pool:
        resolved = list(pool.map(lambda pod: _resolve_settled(cluster, pod, questions, len(agents)), agents))
    for pod, told in zip(agents, resolved, strict=True):
        service, port, headless, nothing = told.answers
        evidence[f"{pod.name} on {pod.node}, asking {told.server}"] = {
            "agents": service.addresses,
            "_http._tcp.agents": port.services,
            "agents-headless": sorted(headless.addresses),
            "no-such-service": f"code {nothing.code}",
        }
        assert domain in told.search, f"pod {pod.name} does not search {domain}, but {told.search}"
        assert service.addresses == (address,), f"agents.{domain} is {service.addresses}, the service is {address}"
        assert port.services == ((f"agents.{domain}", 80),), f"the port's record is {port.services}"
        expected = {each.address for each in agents}
        assert set(headless.addresses) == expected, (
            f"the headless name is {headless.addresses}, its pods are {expected}"
        )
        assert nothing.code == dns.NXDOMAIN, f"a service that does not exist is answered with code {nothing.code}"
    evidence.headline = f"A, SRV and headless records right, unknown name denied, from pods on {len(agents)} nodes"


@pytest.mark.claim("service-dns")
@pytest.mark.usefixtures("settled")
def test_a_program_reaches_a_service_by_its_short_name(agents: list[Pod], evidence: Evidence) -> None:
    for pod in agents:
        answered = pod.dial("agents", 80, "hostname")
        evidence[f"{pod.name} on {pod.node}"] = answered.responses or answered.errors
        assert answered.responses, f"pod {pod.name} on {pod.node} does not reach http://agents: {answered.errors}"
    evidence.headline = "short names work"


def _resolve_settled(cluster: Cluster, pod: Pod, questions: Sequence[dns.Question], endpoints: int) -> _Resolved:
    """The answers once the headless name has all pods: records follow readiness, and old ones are kept a while."""
    deadline = time.monotonic() + pod.api.patient(_FOLLOW_SECONDS)
    while True:
        told = _resolve(cluster, pod, questions)
        if len(told.answers[2].addresses) == endpoints or time.monotonic() > deadline:
            return told
        time.sleep(_PAUSE)


def _resolve(cluster: Cluster, pod: Pod, questions: Sequence[dns.Question]) -> _Resolved:
    """Ask from a pod's network the server that is configured in the pod."""
    host = cluster.node(pod.node).host
    pid = runtime.process(host, pod.uid, "server")
    lines = [line.split() for line in host.run("cat %s", f"/proc/{pid}/root/etc/resolv.conf").splitlines() if line]
    server = next(words[1] for words in lines if words[0] == "nameserver")
    search = tuple(domain for words in lines if words[0] == "search" for domain in words[1:])
    requests = [
        {"do": "datagram", "address": server, "port": _DNS_PORT, "data": base64.b64encode(question.message).decode()}
        for question in questions
    ]
    answers = []
    for question, answer in zip(questions, host.probe(*requests, inside=pid), strict=True):
        assert "data" in answer, f"from pod {pod.name} on {host} the DNS at {server} does not answer: {answer['error']}"
        answers.append(dns.read(question, base64.b64decode(answer["data"])))
    return _Resolved(server, search, tuple(answers))
