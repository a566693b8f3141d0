"""etcd: the cluster's memory, complete on every member and closed to everybody but the API servers."""

from __future__ import annotations

import json
import ssl

import httpx
import pytest

from kubeproof.verify import certificates, sockets
from kubeproof.verify.api import Api, tls_context
from kubeproof.verify.cluster import Cluster
from kubeproof.verify.evidence import Evidence
from kubeproof.verify.hosts import Host, each
from kubeproof.verify.kubeconfig import Credentials

_RANGE = {"key": "Lw==", "range_end": "AA==", "limit": 1, "keys_only": True}


@pytest.mark.claim("etcd-replicated")
def test_every_host_is_a_healthy_member_with_the_same_data(lab: Cluster, evidence: Evidence) -> None:
    members = lab.etcd.members()
    evidence["members"] = [member.name for member in members]
    hosts = {host.name: host.address for host in lab.etcd_hosts}
    assert len(members) == len(hosts), (
        f"etcd has {len(members)} members, {[member.name for member in members]}, its hosts are {list(hosts)}"
    )
    for member in members:
        assert not member.learner, f"member {member.name} does not vote"
        at = [address for address in hosts.values() if any(f"//{address}:" in url for url in member.client_urls)]
        assert at, f"member {member.name} at {member.client_urls} is none of the inventory's etcd hosts"

    endpoints = [url for member in members for url in member.client_urls]
    statuses = lab.etcd.statuses(endpoints)
    leaders = {status["leader"] for status in statuses.values()}
    evidence["leader"] = [member.name for member in members if member.id in leaders]
    evidence["versions"] = {endpoint: status["version"] for endpoint, status in statuses.items()}
    assert statuses.keys() == set(endpoints), f"of {endpoints} only {list(statuses)} answer"
    assert len(leaders) == 1, f"members follow different leaders: {leaders}"
    assert leaders <= {member.id for member in members}, "etcd has no leader"
    faults = {endpoint: status["errors"] for endpoint, status in statuses.items() if status.get("errors")}
    assert not faults, f"members report faults: {faults}"

    revision = min(status["header"]["revision"] for status in statuses.values())
    hashes = lab.etcd.hashes(endpoints, revision)
    evidence["hashes"] = {"revision": revision, **hashes}
    assert len(set(hashes.values())) == 1, f"members have different data at revision {revision}: {hashes}"
    evidence.headline = f"{len(members)} of {len(hosts)} members healthy, same hash at revision {revision}"


@pytest.mark.claim("etcd-private")
def test_nobody_gets_in_without_a_certificate_of_etcds_authority(lab: Cluster, api: Api, evidence: Evidence) -> None:
    ports = {int(lab.settings["cluster_etcd_port"]), int(lab.settings["etcd_peer_port"])}
    addresses = each(lab.etcd_hosts, lambda host: _addresses(host, ports))
    reached = 0
    for host in lab.etcd_hosts:
        for address, port in addresses[host.name]:
            # Loopback can only be tried from the host itself, with what there is there.
            answers = _knock_from_inside(host, address, port)
            if not address.startswith("127."):
                answers |= _knock_from_outside(address, port, api.access.credentials)
            for shown, answer in answers.items():
                assert answer.startswith("refused"), f"etcd at {address}:{port} answers a caller with {shown}: {answer}"
            reached += len(answers)
            evidence[f"{address}:{port}"] = answers
    assert lab.etcd.revision() > 0, "etcd does not answer its operator either, so that refusals prove nothing"
    tried = sum(map(len, addresses.values()))
    evidence.headline = f"{reached} attempts at {tried} addresses refused: plain, no, foreign, Kubernetes' certificate"


def _addresses(host: Host, ports: set[int]) -> list[tuple[str, int]]:
    """Where etcd takes connections, whatever port that is: the processes that have its ports may have more."""
    listeners = sockets.listening(host)
    etcd = frozenset().union(*(socket.pids for socket in listeners if socket.local[1] in ports))
    found = sorted({socket.local for socket in listeners if socket.pids & etcd})
    assert found, f"nothing on {host} listens on etcd's ports {sorted(ports)}"
    return [(host.address if address in {"*", "0.0.0.0", "::"} else address, port) for address, port in found]


def _knock_from_inside(host: Host, address: str, port: int) -> dict[str, str]:
    paths = ("/v3/kv/range", "/version")
    requests = {
        f"{scheme} and no certificate, {path}": {
            "do": "http",
            "url": f"{scheme}://{address}:{port}{path}",
            "method": "POST" if path == paths[0] else "GET",
            "body": json.dumps(_RANGE) if path == paths[0] else None,
        }
        for scheme in ("http", "https")
        for path in paths
    }
    answers = host.probe(*requests.values())
    return {
        shown: f"refused: {answer['error']}" if answer.get("refused") else str(answer)[:200]
        for shown, answer in zip(requests, answers, strict=True)
    }


def _knock_from_outside(address: str, port: int, administrator: Credentials) -> dict[str, str]:
    callers = {"a foreign certificate": certificates.foreign(), "the Kubernetes administrator's": administrator}
    return {shown: _knock(f"https://{address}:{port}/v3/kv/range", who) for shown, who in callers.items()}


def _knock(url: str, credentials: Credentials) -> str:
    # Whom etcd trusts is the question here, not whether it is to be trusted.
    context = tls_context("", credentials)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        response = httpx.post(url, json=_RANGE, verify=context, trust_env=False, timeout=5)
    except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout) as error:
        return f"refused: {error}"
    return f"{response.status_code} {response.text[:200]}"
