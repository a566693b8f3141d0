"""DNS: names for services, asked as the pods ask."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from kubeproof.verify.act import outside_resolver
from kubeproof.verify.act.outside_resolver import ANSWER, Resolvers
from kubeproof.verify.act.pods import Manifests, Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import dns, runtime
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host

_DNS_PORT = 53
# Longer than CoreDNS lets an answer about the cluster grow old.
_FOLLOW_SECONDS = 15.0
_PAUSE = 0.3
# Longer than CoreDNS waits for those that it asks (plugin forward, 5 s in all).
_OUTSIDE_SECONDS = 6.0
_UDP, _TCP = "datagram", "framed"


@dataclass(frozen=True)
class _Client:
    """A pod that asks: where its network is, and how DNS is configured in it."""

    pod: Pod
    host: Host
    pid: int
    server: str
    search: tuple[str, ...]

    @classmethod
    def of(cls, cluster: Cluster, pod: Pod) -> _Client:
        """The client that a pod is."""
        host = cluster.node(pod.node).host
        pid = runtime.process(host, pod.uid, "server")
        lines = [line.split() for line in host.run("cat %s", f"/proc/{pid}/root/etc/resolv.conf").splitlines() if line]
        server = next(words[1] for words in lines if words[0] == "nameserver")
        search = tuple(domain for words in lines if words[0] == "search" for domain in words[1:])
        return cls(pod, host, pid, server, search)

    def ask(self, *questions: dns.Question, server: str = "", do: str = _UDP, seconds: float = 2.0) -> list[dns.Answer]:
        """Ask from the pod's network the server that is configured in the pod, or another one."""
        asked = server or self.server
        requests = [
            {"do": do, "address": asked, "port": _DNS_PORT, "timeout": seconds, "data": _base64(question.message)}
            for question in questions
        ]
        answers = []
        for question, answer in zip(questions, self.host.probe(*requests, inside=self.pid), strict=True):
            silent = f"from pod {self.pod.name} on {self.host} the DNS at {asked} does not answer"
            assert "data" in answer, f"{silent}: {answer['error']}"
            answers.append(dns.read(question, base64.b64decode(answer["data"])))
        return answers


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
    addresses = cluster.service_addresses(manifests.namespace, "agents")
    by_ipv4, by_ipv6 = (tuple(each for each in addresses if (":" in each) == ipv6) for ipv6 in (False, True))
    kind = dns.AAAA if ":" in agents[0].address else dns.A
    questions = [
        dns.ask(f"agents.{domain}", dns.A),
        dns.ask(f"_http._tcp.agents.{domain}", dns.SRV),
        dns.ask(f"agents-headless.{domain}", kind),
        dns.ask(f"no-such-service.{domain}", dns.A),
        dns.ask(f"agents.{domain}", dns.AAAA),
    ]
    with ThreadPoolExecutor(len(agents)) as pool:
        resolved = list(pool.map(lambda pod: _resolve_settled(cluster, pod, questions, len(agents)), agents))
    for pod, told in zip(agents, resolved, strict=True):
        service, port, headless, nothing, ipv6 = told.answers
        evidence[f"{pod.name} on {pod.node}, asking {told.server}"] = {
            "agents": service.addresses + ipv6.addresses,
            "_http._tcp.agents": port.services,
            "agents-headless": sorted(headless.addresses),
            "no-such-service": f"code {nothing.code}",
        }
        assert domain in told.search, f"pod {pod.name} does not search {domain}, but {told.search}"
        # Of a family that a service has no address of there are no records, and its name is one all the same.
        assert (service.code, service.addresses) == (dns.NOERROR, by_ipv4), (
            f"agents.{domain} is {service.addresses} (code {service.code}), the service is {by_ipv4}"
        )
        assert (ipv6.code, ipv6.addresses) == (dns.NOERROR, by_ipv6), (
            f"agents.{domain} is {ipv6.addresses} by IPv6 (code {ipv6.code}), the service {by_ipv6}"
        )
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


@pytest.mark.claim("dns-outside")
def test_names_outside_are_forwarded_and_those_of_the_cluster_are_not(
    cluster: Cluster, agents: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    """The cluster's own DNS is asked, as it is, and a resolver of the test answers what it forwards.

    Nothing of the cluster is changed for that, so a resolver of the test has to be where CoreDNS asks already. That is
    known in two cases, and the claim can be observed in these only:

    - The settings let CoreDNS ask a port of a host of the cluster about the test's zone: ``dns_stub_domains:
      {outside.kubeproof.test: [ADDRESS:PORT]}``.
    - The nodes' resolvers (or ``dns_forwarders``) are addresses of hosts of the cluster at which nothing listens, as on
      isolated local hosts, which have no other resolver than themselves.

    Otherwise the answers of those that are asked are not known, and one that says "no such name", as to most names that
    a test could invent, looks the same as CoreDNS's own. A CoreDNS of the test's own with the same configuration
    would prove that configuration, and not that the cluster's pods reach anybody.
    """
    servers = outside_resolver.asked(cluster)
    assert servers, "the cluster's DNS forwards names outside the cluster to nobody"
    domain, inside = str(cluster.settings["cluster_domain"]), f"{manifests.namespace}.svc"
    pods = outside_resolver.pods(cluster)
    with outside_resolver.answering(cluster, servers) as resolvers:
        # As a pod's library tries each name with the search domains first, when it has few dots.
        unknown = [f"name.{resolvers.zone}.{inside}.{domain}", f"no-such-service.{inside}.{domain}"]
        clients = [_Client.of(cluster, pod) for pod in agents]
        settled = _forwarded(clients[0], resolvers)
        for client in clients:
            for do in (_UDP, _TCP):
                _check_outside(client, client.server, resolvers, do)
            answers = client.ask(*(dns.ask(each, dns.A) for each in unknown), seconds=_OUTSIDE_SECONDS)
            codes = {each: answer.code for each, answer in zip(unknown, answers, strict=True)}
            evidence[f"{client.pod.name} on {client.pod.node}, asking {client.server}"] = {
                "codes of unknown names": codes
            }
            strange = {each: code for each, code in codes.items() if code != dns.NXDOMAIN}
            assert not strange, f"names of the cluster that do not exist are answered with other codes: {strange}"
        for each in pods:
            # A Service's address leads to any of them.
            _check_outside(clients[0], each["status"]["podIP"], resolvers, _UDP)
        questions = resolvers.questions()
    evidence["pods of the cluster's DNS"] = outside_resolver.names(pods)
    evidence["resolvers of the test"] = [f"{server} on {server.host.name}" for server in resolvers.servers]
    evidence["questions that they were asked"] = sorted({f"{protocol} {asked}" for protocol, asked in questions})
    leaked = sorted({asked for _, asked in questions if f".{asked}".endswith(f".{domain}")})
    assert not leaked, f"names of the cluster were sent outside: {', '.join(leaked)}"
    protocols = sorted({protocol for protocol, asked in questions if asked.endswith(resolvers.zone)})
    assert protocols == ["tcp", "udp"], f"questions over UDP and TCP were forwarded over {' and '.join(protocols)} only"
    evidence.headline = (
        f"{len(pods)} pods of DNS forward over UDP and TCP, first answered after {settled:.1f} s; "
        f"nothing of {domain} was sent outside"
    )


def _forwarded(client: _Client, resolvers: Resolvers) -> float:
    """Seconds until the first answer: CoreDNS may have given up those that did not answer before."""
    start = time.monotonic()
    while True:
        # A new name each time: failures are kept for some seconds.
        number = f"{time.monotonic():.3f}".replace(".", "-")
        [answer] = client.ask(dns.ask(f"try-{number}.{resolvers.zone}", dns.A), seconds=_OUTSIDE_SECONDS)
        if answer.addresses == (ANSWER,):
            return time.monotonic() - start
        if time.monotonic() - start > client.pod.api.patient(_FOLLOW_SECONDS):
            raise AssertionError(f"names outside the cluster are answered with {_said(answer)}, and not with {ANSWER}")
        time.sleep(_PAUSE)


def _check_outside(client: _Client, server: str, resolvers: Resolvers, do: str) -> None:
    """One name that exists outside, and one that does not."""
    label = re.sub("[.:]", "-", f"{client.pod.name}-{server}-{do}")
    there, none = (dns.ask(f"{prefix}{label}.{resolvers.zone}", dns.A) for prefix in ("", "none."))
    known, unknown = client.ask(there, none, server=server, do=do, seconds=_OUTSIDE_SECONDS)
    way = f"asked by pod {client.pod.name} on {client.pod.node}, {server} answers over {'TCP' if do == _TCP else 'UDP'}"
    assert known.addresses == (ANSWER,), f"{way} {there.name} with {_said(known)}, and not with {ANSWER}"
    assert unknown.code == dns.NXDOMAIN, f"{way} {none.name}, which does not exist, with {_said(unknown)}"


def _said(answer: dns.Answer) -> str:
    return ", ".join(answer.addresses) or f"code {answer.code}"


def _resolve_settled(cluster: Cluster, pod: Pod, questions: Sequence[dns.Question], endpoints: int) -> _Resolved:
    """The answers once the headless name has all pods: records follow readiness, and old ones are kept a while."""
    deadline = time.monotonic() + pod.api.patient(_FOLLOW_SECONDS)
    client = _Client.of(cluster, pod)
    while True:
        told = _Resolved(client.server, client.search, tuple(client.ask(*questions)))
        if len(told.answers[2].addresses) == endpoints or time.monotonic() > deadline:
            return told
        time.sleep(_PAUSE)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
