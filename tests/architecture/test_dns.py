"""DNS: names for services, asked as the pods ask."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pytest

from kubeproof.verify import dns, runtime
from kubeproof.verify.cluster import Cluster
from kubeproof.verify.evidence import Evidence
from kubeproof.verify.hosts import Host
from kubeproof.verify.pods import Pod, Setting

_DNS_PORT = 53


@dataclass(frozen=True)
class _Resolver:
    """What a pod was told about DNS, and where to ask from."""

    host: Host
    pid: int
    server: str
    search: tuple[str, ...]

    def ask(self, name: str, kind: int) -> dns.Answer:
        question = dns.ask(name, kind)
        data = base64.b64encode(question.message).decode()
        request = {"do": "datagram", "address": self.server, "port": _DNS_PORT, "data": data}
        [answer] = self.host.probe(request, inside=self.pid)
        assert "data" in answer, (
            f"from {self.host} the DNS at {self.server} does not answer about {name}: {answer['error']}"
        )
        return dns.read(question, base64.b64decode(answer["data"]))


@pytest.mark.claim("service-dns")
def test_services_have_names_and_records(lab: Cluster, agents: list[Pod], setting: Setting, evidence: Evidence) -> None:
    domain = f"{setting.namespace}.svc.{lab.settings['cluster_domain']}"
    address = lab.service_address(setting.namespace, "agents")
    for pod in agents:
        resolver = _resolver(lab, pod)
        assert domain in resolver.search, f"pod {pod.name} does not search {domain}, but {resolver.search}"
        service = resolver.ask(f"agents.{domain}", dns.A)
        port = resolver.ask(f"_http._tcp.agents.{domain}", dns.SRV)
        headless = resolver.ask(f"agents-headless.{domain}", dns.A)
        nothing = resolver.ask(f"no-such-service.{domain}", dns.A)
        evidence[f"{pod.name} on {pod.node}, asking {resolver.server}"] = {
            "agents": service.addresses,
            "_http._tcp.agents": port.services,
            "agents-headless": sorted(headless.addresses),
            "no-such-service": f"code {nothing.code}",
        }
        assert service.addresses == (address,), f"agents.{domain} is {service.addresses}, the service is {address}"
        assert port.services == ((f"agents.{domain}", 80),), f"the port's record is {port.services}"
        expected = {each.address for each in agents}
        assert set(headless.addresses) == expected, (
            f"the headless name is {headless.addresses}, its pods are {expected}"
        )
        assert nothing.code == dns.NXDOMAIN, f"a service that does not exist is answered with code {nothing.code}"
    evidence.headline = f"A, SRV and headless records right, unknown name denied, from pods on {len(agents)} nodes"


@pytest.mark.claim("service-dns")
def test_a_program_reaches_a_service_by_its_short_name(agents: list[Pod], evidence: Evidence) -> None:
    for pod in agents:
        answered = pod.dial("agents", 80, "hostname")
        evidence[f"{pod.name} on {pod.node}"] = answered.responses or answered.errors
        assert answered.responses, f"pod {pod.name} on {pod.node} does not reach http://agents: {answered.errors}"
    evidence.headline = "short names work"


def _resolver(lab: Cluster, pod: Pod) -> _Resolver:
    host = lab.node(pod.node).host
    pid = runtime.process(host, pod.uid, "server")
    lines = [line.split() for line in host.run("cat %s", f"/proc/{pid}/root/etc/resolv.conf").splitlines() if line]
    servers = [words[1] for words in lines if words[0] == "nameserver"]
    search = [domain for words in lines if words[0] == "search" for domain in words[1:]]
    return _Resolver(host, pid, servers[0], tuple(search))
