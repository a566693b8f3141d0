"""etcd: the cluster's memory, complete on every member and closed to everybody but the API servers."""

from __future__ import annotations

import http
import json
import ssl
import time

import httpx
import pytest

from kubeproof.api.kubeconfig import Credentials
from kubeproof.settings.urls import in_url
from kubeproof.verify.act import client_certificates, disruption
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import objects, sockets
from kubeproof.verify.observe.api import MERGE_PATCH, Api, tls_context
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import CommandFailed, Host, NotObservable, on_hosts

_ROUNDS = 5
_FEWEST = 3
_PROBE_KEY = "/kubeproof-verify/refused"
# A member that is gone is noticed within an election, and by the API servers within a request.
_FAILOVER_SECONDS = 30.0
_REFUSED_SECONDS = 15.0
_RECOVERY_SECONDS = 60.0
_POLL_SECONDS = 0.2
_RANGE = {"key": "Lw==", "range_end": "AA==", "limit": 1, "keys_only": True}


@pytest.mark.claim("etcd-replicated")
def test_every_host_is_a_healthy_member_with_the_same_data(cluster: Cluster, evidence: Evidence) -> None:
    members = cluster.etcd.members()
    evidence["members"] = [member.name for member in members]
    hosts = {host.name: host.address for host in cluster.hosts.described("etcd")}
    assert len(members) == len(hosts), (
        f"etcd has {len(members)} members, {[member.name for member in members]}, its hosts are {list(hosts)}"
    )
    for member in members:
        assert not member.learner, f"member {member.name} does not vote"
        urls = " ".join(member.client_urls)
        at = [address for address in hosts.values() if f"//{in_url(address)}:" in urls]
        assert at, f"member {member.name} at {member.client_urls} is none of the inventory's etcd hosts"

    endpoints = [url for member in members for url in member.client_urls]
    statuses = cluster.etcd.statuses(endpoints)
    leaders = {status["leader"] for status in statuses.values()}
    evidence["leader"] = [member.name for member in members if member.id in leaders]
    evidence["versions"] = {endpoint: status["version"] for endpoint, status in statuses.items()}
    assert statuses.keys() == set(endpoints), f"of {endpoints} only {list(statuses)} answer"
    assert len(leaders) == 1, f"members follow different leaders: {leaders}"
    assert leaders <= {member.id for member in members}, "etcd has no leader"
    faults = {endpoint: status["errors"] for endpoint, status in statuses.items() if status.get("errors")}
    assert not faults, f"members report faults: {faults}"

    revision = min(status["header"]["revision"] for status in statuses.values())
    hashes = cluster.etcd.hashes(endpoints, revision)
    evidence["hashes"] = {"revision": revision, **hashes}
    assert len(set(hashes.values())) == 1, f"members have different data at revision {revision}: {hashes}"
    evidence.headline = f"{len(members)} of {len(hosts)} members healthy, same hash at revision {revision}"


@pytest.mark.claim("etcd-private")
def test_nobody_gets_in_without_a_certificate_of_etcds_ca(cluster: Cluster, api: Api, evidence: Evidence) -> None:
    ports = {int(cluster.settings["cluster_etcd_port"]), int(cluster.settings["etcd_peer_port"])}
    addresses = on_hosts(cluster.etcd_hosts, lambda host: _addresses(host, ports))
    reached = 0
    for host in cluster.etcd_hosts:
        for address, port in addresses[host.name]:
            # Loopback can only be tried from the host itself, with what there is there.
            metrics = (address, port) == ("127.0.0.1", int(cluster.settings["etcd_metrics_port"]))
            answers = _call_from_inside(host, address, port, metrics=metrics)
            if not address.startswith("127."):
                answers |= _call_from_outside(address, port, api.access.credentials)
            for shown, answer in answers.items():
                assert answer.startswith("refused"), f"etcd at {address}:{port} answers a caller with {shown}: {answer}"
            reached += len(answers)
            evidence[f"{address}:{port}"] = answers
    assert cluster.etcd.revision() > 0, "etcd does not answer its operator either, so that refusals prove nothing"
    tried = sum(map(len, addresses.values()))
    evidence.headline = f"{reached} attempts at {tried} addresses refused: plain, no, foreign, Kubernetes' certificate"


@pytest.mark.claim("etcd-consistent")
def test_a_read_sees_what_was_acknowledged_whichever_member_is_asked(
    cluster: Cluster, api: Api, namespace: str, evidence: Evidence
) -> None:
    members = _several_members(cluster)
    metadata = {"name": "consistent", "namespace": namespace}
    created = api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"round": "0"}})
    key = f"/registry/configmaps/{namespace}/consistent"
    reads = 0
    for number in range(1, _ROUNDS + 1):
        answer = api.request("PATCH", objects.path(created), {"data": {"round": str(number)}}, content_type=MERGE_PATCH)
        assert answer.status != 404, f"round {number - 1} was acknowledged, and is gone when the next one is written"
        written = answer.required()
        seen = on_hosts(members, lambda host: cluster.etcd_on(host).get(key))
        for name, found in seen.items():
            at = found.modified if found else None
            assert at == objects.revision(written), (
                f"round {number} was acknowledged at revision {objects.revision(written)}, {name} has it at {at}"
            )
            reads += 1
    evidence["members"] = [host.name for host in members]
    evidence["rounds"] = _ROUNDS
    evidence.headline = f"{_ROUNDS} writes, each read at once from {len(members)} members at the revision returned"


@pytest.mark.claim("etcd-quorum")
def test_any_one_member_can_be_missed(cluster: Cluster, api: Api, namespace: str, evidence: Evidence) -> None:
    members = _several_members(cluster)
    metadata = {"name": "counted", "namespace": namespace}
    path = objects.path(api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": "0"}}))
    number = 0
    for host in members:
        led = cluster.etcd_on(host).leads()
        start = time.monotonic()
        with disruption.stopped(host, "etcd"):
            worst = 0.0
            for _ in range(_ROUNDS):
                number += 1
                worst = max(worst, _write_until_acknowledged(api, path, number, f"without the member on {host}"))
            left = next(other for other in members if other is not host)
            found = cluster.etcd_on(left).get(f"/registry/configmaps/{namespace}/counted")
            assert found, f"without the member on {host} the object is gone"
        away = time.monotonic() - start
        stored = api.get(path)["data"]["n"]
        assert stored == str(number), f"write {number} was acknowledged without {host}, {stored} is stored"
        caught_up = _await_same_data(cluster, f"after its return the member on {host} catches up")
        evidence[host.name] = {
            "was leader": led,
            "away for": round(away, 1),
            "slowest write": round(worst, 2),
            "caught up after": round(caught_up, 2),
        }
    slowest = max(each["slowest write"] for each in evidence.values() if isinstance(each, dict))
    evidence.headline = f"{len(members)} members stopped in turn, {number} of {number} writes kept, slowest {slowest} s"


@pytest.mark.claim("etcd-no-split")
def test_without_a_majority_writes_are_refused(cluster: Cluster, evidence: Evidence) -> None:
    members = _several_members(cluster)
    majority, rest = members[: len(members) // 2 + 1], members[len(members) // 2 + 1 :]
    before = cluster.etcd.revision()
    with disruption.stopped_everywhere(majority, "etcd"):
        answers = on_hosts(rest, lambda host: cluster.etcd_on(host).try_to_write(_PROBE_KEY, "without a majority"))
        evidence["stopped"] = [host.name for host in majority]
        evidence["answers"] = answers
        for name, answer in answers.items():
            assert answer["refused"], f"without a majority the member on {name} accepts a write"
            assert answer["seconds"] < _REFUSED_SECONDS, f"{name} takes {answer['seconds']} s to refuse a write"
    # A write without an answer may have stayed in a log, and be carried out then; but on all members, or on none.
    try:
        _await_same_data(cluster, "the members have the same data after the majority is back")
        there = on_hosts(members, lambda host: cluster.etcd_on(host).get(_PROBE_KEY) is not None)
        assert len(set(there.values())) == 1, f"a write that was not acknowledged is on some members only: {there}"
    finally:
        cluster.etcd.delete(_PROBE_KEY)
    disruption.await_recovery(cluster.api, "all nodes ready after etcd is back")
    evidence["revisions"] = {"before": before, "after": cluster.etcd.revision()}
    evidence["the write without an answer"] = "carried out later" if any(there.values()) else "never carried out"
    slowest = max(answer["seconds"] for answer in answers.values())
    evidence.headline = f"{len(majority)} of {len(members)} stopped: writes refused within {slowest} s, same data after"


@pytest.mark.claim("etcd-separate")
def test_its_hosts_are_its_own(cluster: Cluster, evidence: Evidence) -> None:
    shared = {host.name for host in cluster.etcd_hosts} & {host.name for host in cluster.control_plane}
    if shared:
        raise NotObservable(f"on this cluster etcd shares hosts with the control plane: {', '.join(sorted(shared))}")
    port = int(cluster.settings["cluster_etcd_port"])
    peers = {
        socket.peer[0]
        for host in cluster.etcd_hosts
        for socket in sockets.established(host, port)
        if socket.local[1] == port and socket.peer[0] != host.address and not socket.peer[0].startswith("127.")
    }
    servers = {host.address for host in cluster.hosts.described("control_plane")}
    evidence["etcd hosts"] = {host.name: host.address for host in cluster.etcd_hosts}
    evidence["clients"] = sorted(peers)
    assert peers, "no API server is connected to etcd"
    strangers = peers - servers - {host.address for host in cluster.hosts.described("etcd")}
    assert not strangers, f"clients of etcd are not API servers: {sorted(strangers)}"
    evidence.headline = f"etcd on {len(cluster.etcd_hosts)} hosts of its own serves {len(peers & servers)} API servers"


def _several_members(cluster: Cluster) -> tuple[Host, ...]:
    cluster.hosts.require("etcd")
    if len(cluster.etcd_hosts) < _FEWEST:
        raise NotObservable(f"it takes {_FEWEST} etcd members, there are {len(cluster.etcd_hosts)}")
    return cluster.etcd_hosts


def _write_until_acknowledged(api: Api, path: str, number: int, when: str) -> float:
    """Write a number; an API server may have to find another member first. The time it took."""
    start = time.monotonic()
    while True:
        try:
            answer = api.request("PATCH", path, {"data": {"n": str(number)}}, content_type=MERGE_PATCH)
            problem = f"{answer.status} {answer.message}"
            if answer.ok:
                return time.monotonic() - start
        except httpx.HTTPError as error:
            problem = f"{type(error).__name__}: {error}"
        assert time.monotonic() - start < _FAILOVER_SECONDS, (
            f"{when} no write was acknowledged for {_FAILOVER_SECONDS:.0f} s: {problem}"
        )


def _await_same_data(cluster: Cluster, what: str) -> float:
    """Wait until all members have the same data; how long that took."""
    start = time.monotonic()
    endpoints = [
        f"https://{in_url(host.address)}:{cluster.settings['cluster_etcd_port']}" for host in cluster.etcd_hosts
    ]
    problem = ""
    while time.monotonic() - start < _RECOVERY_SECONDS:
        try:
            statuses = cluster.etcd.statuses(endpoints)
            revision = min(status["header"]["revision"] for status in statuses.values())
            hashes = cluster.etcd.hashes(endpoints, revision)
            if len(hashes) == len(endpoints) and len(set(hashes.values())) == 1:
                return time.monotonic() - start
            problem = f"at revision {revision}: {hashes}"
        except CommandFailed as error:
            problem = str(error)
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"{what}: not within {_RECOVERY_SECONDS:.0f} s; {problem}")


def _addresses(host: Host, ports: set[int]) -> list[tuple[str, int]]:
    """Where etcd takes connections, whatever port that is: the processes that have its ports may have more."""
    listeners = sockets.listening(host)
    etcd = frozenset().union(*(socket.pids for socket in listeners if socket.local[1] in ports))
    found = sorted({socket.local for socket in listeners if socket.pids & etcd})
    assert found, f"nothing on {host} listens on etcd's ports {sorted(ports)}"
    return [(host.address if address in {"*", "0.0.0.0", "::"} else address, port) for address, port in found]


def _call_from_inside(host: Host, address: str, port: int, *, metrics: bool) -> dict[str, str]:
    """How etcd answers callers without a certificate. ``metrics``: where it serves these to all, and nothing else."""
    paths = ("/v3/kv/range", "/version")
    requests = {
        f"{scheme} and no certificate, {path}": {
            "do": "http",
            "url": f"{scheme}://{in_url(address)}:{port}{path}",
            "method": "POST" if path == paths[0] else "GET",
            "body": json.dumps(_RANGE) if path == paths[0] else None,
        }
        for scheme in ("http", "https")
        for path in paths
    }
    answers = host.probe(*requests.values())
    return {
        shown: f"refused: {answer.get('error', 'not found')}"
        if answer.get("refused") or (metrics and answer.get("status") == http.HTTPStatus.NOT_FOUND)
        else str(answer)[:200]
        for shown, answer in zip(requests, answers, strict=True)
    }


def _call_from_outside(address: str, port: int, administrator: Credentials) -> dict[str, str]:
    callers = {"a foreign certificate": client_certificates.foreign(), "the Kubernetes administrator's": administrator}
    return {shown: _call(f"https://{in_url(address)}:{port}/v3/kv/range", who) for shown, who in callers.items()}


def _call(url: str, credentials: Credentials) -> str:
    # Whom etcd trusts is the question here, not whether it is to be trusted.
    context = tls_context("", credentials)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        response = httpx.post(url, json=_RANGE, verify=context, trust_env=False, timeout=5)
    except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout) as error:
        return f"refused: {error}"
    return f"{response.status_code} {response.text[:200]}"
