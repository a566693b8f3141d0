"""The API server: the cluster's one front door, and what it does with who and what comes in."""

from __future__ import annotations

import base64
import datetime
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kubeproof.api.kubeconfig import Anonymous, Credentials, Token
from kubeproof.core import waiting
from kubeproof.settings.urls import in_url
from kubeproof.verify.act import accounts, client_certificates, disruption, leader_election
from kubeproof.verify.act.accounts import Rule
from kubeproof.verify.act.every_server import await_kind
from kubeproof.verify.act.pods import Blocked, Manifests, Pod
from kubeproof.verify.act.sample_operator import Operator
from kubeproof.verify.act.workspace import RESOURCE_DOMAIN, Workspace
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import early, prepared
from kubeproof.verify.observe import objects, sockets
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.cluster import CA_FILE, CREDENTIALS, Cluster, ComponentCredentials
from kubeproof.verify.observe.hosts import Host, NotObservable, on_hosts
from kubeproof.verify.observe.objects import Object
from kubeproof.verify.observe.sockets import Connection

# etcd asks every 30 seconds after a client that is silent: connections from a host that was switched off end by then.
_FORGOTTEN_SECONDS = 35.0
_LOOK_AGAIN_SECONDS = 2.0
# Kubelets renew their leases every ten seconds, and may have to find another server first.
_MISSED_SECONDS = 60.0
# Of a virtual address: two failed checks and three advertisements that stay away, each of a second, on a busy machine.
_MOVED_SECONDS = 20.0
_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_NEW_KIND_SECONDS = 20.0
_RECONCILED_SECONDS = 15.0
# The garbage collector looks for new kinds of objects every 30 seconds.
_COLLECTED_SECONDS = 60.0


def _config_map(namespace: str, name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def _etcd_key(manifest: Object) -> str:
    return f"/registry/configmaps/{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"


@pytest.mark.claim("api-front-end")
def test_only_api_servers_are_connected_to_etcd(cluster: Cluster, evidence: Evidence) -> None:
    port = int(cluster.settings["cluster_etcd_port"])
    api_port = cluster.api_servers[0][1]
    listeners = on_hosts(cluster.hosts.all, sockets.listening)
    connections, hidden = _etcd_connections(cluster, port)

    allowed = {}
    for host, sockets_there in listeners.items():
        servers = {socket.program: socket.pids for socket in sockets_there if socket.local[1] in {port, api_port}}
        allowed[host] = frozenset().union(*servers.values())
    # A backup that is being made meanwhile is a client of the member on its own host, a defragmentation one of all.
    backup_users = on_hosts(cluster.etcd_hosts, lambda host: _user(host, "etcd-backup"))
    defragment_users = on_hosts(cluster.etcd_hosts, lambda host: _user(host, "etcd-defragment"))
    clients = {(each.host, each.server): (each.origin, each.client) for each in connections}
    served = list(clients)
    seen = [f"{client.program or client.state} on {origin}" for origin, client in clients.values() if client]
    evidence["connections"] = dict(sorted(Counter(seen).items()))
    assert served, f"no connection to etcd's port {port} is open on its hosts, though an API server answers"
    # A connection may have ended between looking at the two ends of it, so that only those seen at both are judged,
    # and every other one must not be from where no host of the cluster is.
    cluster_addresses = {host.address for host in (*cluster.hosts.all, *cluster.hosts.away)}
    cluster_addresses |= {"127.0.0.1", "::1"}
    for host_name, socket in served:
        origin, client = clients[host_name, socket]
        assert client or socket.peer[0] in cluster_addresses, (
            f"{socket.peer[0]}, which is no host of the cluster, is connected to etcd on {host_name}"
        )
        if client and origin == host_name and client.uid and client.uid == backup_users[host_name]:
            continue
        if client and client.uid and client.uid == defragment_users.get(origin):
            continue
        assert client is None or client.pids <= allowed[origin], (
            f"{client.program} on {origin}, which is no API server, is connected to etcd on {host_name}"
        )
    lent = next(iter(hidden), None)
    assert lent is None, (
        f"port {lent.server.peer[1]} of {lent.server.peer[0]} is connected to etcd on {lent.host}, and is no socket of "
        "that host itself: it lends its address to another network namespace, in which no API server is"
    )
    evidence.headline = f"{len(served)} connections to etcd, all from API servers"


def _etcd_connections(cluster: Cluster, port: int) -> tuple[list[Connection], list[Connection]]:
    """The connections to etcd's members, and those of them that last and have no other end on the host they are from.

    One that began or ended between looking at its two ends is looked for again.
    """
    members = {host.name for host in cluster.etcd_hosts}
    looked_at = {host.address for host in cluster.hosts.all} | {"127.0.0.1", "::1"}
    looks: list[list[Connection]] = []

    def nothing_hidden() -> bool:
        found = on_hosts(cluster.hosts.all, lambda host: sockets.connected(host, port))
        looks.append([each for each in sockets.served(found, port) if each.host in members])
        return not sockets.hidden(looks, looked_at)

    waiting.until(nothing_hidden, _FORGOTTEN_SECONDS, pause=_LOOK_AGAIN_SECONDS)
    return sockets.merged(looks), sockets.hidden(looks, looked_at)


def _user(host: Host, name: str) -> int:
    """The ID of a user of programs that ask etcd; 0 if a host has none."""
    status, uid, _ = host.attempt("id -u %s", name)
    return int(uid) if status == 0 else 0


@pytest.mark.claim("api-front-end")
def test_components_credentials_do_not_open_etcd(cluster: Cluster, evidence: Evidence) -> None:
    endpoints = [url for member in cluster.etcd.members() for url in member.client_urls]
    hosts = {who.component: cluster.hosts.group(who.group)[0] for who in CREDENTIALS}
    # A component that runs as a pod of a daemonset has a token of the API's instead, which is nothing to etcd.
    without = {
        "kube-proxy": cluster.settings["kube_proxy_form"] != "service",
        "flannel": cluster.settings["pod_network_plugin"] != "flannel",
        "network-policy": cluster.settings["network_policy_engine"] == "none",
    }
    asking = [who for who in CREDENTIALS if not without.get(who.component)]
    with ThreadPoolExecutor(len(asking)) as pool:
        answers = pool.map(lambda who: _ask_etcd(hosts[who.component], who, endpoints), asking)
    refusals: dict[str, str] = {}
    for who, answers_to in zip(asking, answers, strict=True):
        for url, answer in zip(endpoints, answers_to, strict=True):
            assert answer.get("refused"), (
                f"etcd at {url} talks to the {who.component} of {hosts[who.component]}: {answer}"
            )
            refusals[f"{who.component} of {hosts[who.component]} at {url}"] = answer["error"]
    evidence["refused"] = refusals
    evidence.headline = f"{len(asking)} other components' certificates refused by etcd"


@pytest.mark.claim("api-authentication")
def test_callers_who_cannot_show_who_they_are_are_turned_away(
    cluster: Cluster, api: Api, namespace: str, evidence: Evidence
) -> None:
    token = _service_account_token(api, namespace, "known")
    now = datetime.datetime.now(datetime.UTC)
    intruders: dict[str, Credentials] = {
        "nothing": Anonymous(),
        "a certificate of a foreign CA": client_certificates.foreign(),
        "a garbage token": Token("kubeproof-verify-garbage"),
        "a service account's token, altered": Token(_altered(token)),
    }
    known: dict[str, Credentials] = {
        "the administrator's certificate": api.access.credentials,
        "a service account's token": Token(token),
    }
    pki_directory = cluster.inventory.state / "pki"
    if (pki_directory / "kubernetes.key").is_file():
        intruders["an expired certificate"] = client_certificates.issued(
            pki_directory, now - datetime.timedelta(days=3650)
        )
        known["the same certificate, not expired"] = client_certificates.issued(pki_directory, now)

    for server in cluster.each_access():
        for shown, credentials in intruders.items():
            with Api(server).using(credentials) as stranger:
                answer = stranger.request("GET", "/api/v1/namespaces")
            evidence[f"{server.server}: {shown}"] = answer.status
            assert answer.status == 401, f"{server.server} answers {answer.status} to a caller who shows {shown}"
        for shown, credentials in known.items():
            with Api(server).using(credentials) as caller:
                review = caller.request("POST", _REVIEW, _self_review())
            assert review.ok, f"{server.server} answers {review.status} to a caller who shows {shown}: {review.message}"
            evidence[f"{server.server}: {shown}"] = review.body["status"]["userInfo"]["username"]
    evidence.headline = f"401 to {', '.join(intruders)}; known: {', '.join(known)}"


@pytest.mark.claim("api-authorization")
def test_an_account_without_rights_may_do_nothing(api: Api, namespace: str, evidence: Evidence) -> None:
    token = _service_account_token(api, namespace, "powerless")
    attempts = [
        ("GET", objects.core(namespace, "secrets"), None),
        ("GET", "/api/v1/nodes", None),
        ("POST", objects.core(namespace, "configmaps"), _config_map(namespace, "not-allowed")),
        ("DELETE", f"{objects.core(namespace, 'configmaps')}/kube-root-ca.crt", None),
    ]
    with api.using(Token(token)) as caller:
        for method, path, body in attempts:
            answer = caller.request(method, path, body)
            evidence[f"{method} {path}"] = answer.status
            assert answer.status == 403, f"a service account without rights gets {answer.status} for {method} {path}"
    evidence.headline = f"{len(attempts)} requests of an account without rights: 403"


@prepared(until=lambda item: bool(item["status"].get("podIP")))
def secret_user(manifests: Manifests) -> Object:
    """A pod that uses a Secret, which need not be there for it to run."""
    volume = {"name": "secret", "secret": {"secretName": "of-mine", "optional": True}}
    container = manifests.container("pause", ["pause"], volumeMounts=[{"name": "secret", "mountPath": "/secret"}])
    return manifests.pod("secret-user", [container], volumes=[volume], **manifests.on_node(manifests.nodes[-1]))


@pytest.mark.claim("api-authorization")
def test_a_node_reaches_only_what_concerns_it(
    cluster: Cluster, api: Api, secret_user: Pod, manifests: Manifests, evidence: Evidence
) -> None:
    mine, other = cluster.node(secret_user.node), cluster.nodes[0]
    if mine is other:
        raise NotObservable("it takes two nodes to tell one node's business from another's")
    for secret in ("of-mine", "of-other"):
        metadata = {"name": secret, "namespace": manifests.namespace}
        api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})

    secrets = objects.core(manifests.namespace, "secrets")
    # Should it be allowed, nothing is to come of it.
    merge, dry = {"Content-Type": "application/merge-patch+json"}, "?dryRun=All"
    label = json.dumps({"metadata": {"labels": {"kubeproof.io/intruder": "yes"}}})
    taint = json.dumps({"spec": {"unschedulable": True}})
    granted, foreign_secret, all_secrets, foreign_node, foreign_status, binding = _as_component(
        cluster,
        mine.host,
        "kubelet",
        {"url": f"{secrets}/of-mine"},
        {"url": f"{secrets}/of-other"},
        {"url": "/api/v1/secrets"},
        {"url": f"/api/v1/nodes/{other.name}{dry}", "method": "PATCH", "body": label, "headers": merge},
        {"url": f"/api/v1/nodes/{other.name}/status{dry}", "method": "PATCH", "body": taint, "headers": merge},
        {"url": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"},
    )
    evidence["node"] = mine.name
    evidence["a Secret that a pod on it uses"] = granted.get("status")
    evidence["a Secret that no pod on it uses"] = foreign_secret.get("status")
    evidence["all Secrets"] = all_secrets.get("status")
    evidence[f"changing node {other.name}"] = [foreign_node.get("status"), foreign_status.get("status")]
    evidence["cluster role bindings"] = binding.get("status")
    assert granted.get("status") == 200, f"{mine.name} cannot read the Secret of its own pod: {granted}"
    assert foreign_secret.get("status") == 403, f"{mine.name} may read a Secret that no pod on it uses"
    assert all_secrets.get("status") == 403, f"{mine.name} may list all Secrets"
    assert foreign_node.get("status") == 403, f"{mine.name} may change node {other.name}"
    assert foreign_status.get("status") == 403, f"{mine.name} may change the status of node {other.name}"
    assert binding.get("status") == 403, f"{mine.name} may read cluster role bindings"
    evidence.headline = f"node {mine.name}: own pod's Secret 200, another's 403, node {other.name} 403"


@pytest.mark.claim("api-authorization")
def test_the_scheduler_cannot_read_secrets(cluster: Cluster, evidence: Evidence) -> None:
    host = cluster.control_plane[0]
    pods, secrets = _as_component(
        cluster, host, "scheduler", {"url": "/api/v1/pods?limit=1"}, {"url": "/api/v1/secrets"}
    )
    evidence["pods"], evidence["secrets"] = pods.get("status"), secrets.get("status")
    assert pods.get("status") == 200, f"the scheduler cannot read pods, so its credentials prove nothing: {pods}"
    assert secrets.get("status") == 403, f"the scheduler may read all Secrets: {secrets.get('status')}"
    evidence.headline = "scheduler: pods 200, Secrets 403"


@pytest.mark.claim("api-validation")
def test_an_invalid_object_leaves_no_trace(cluster: Cluster, api: Api, namespace: str, evidence: Evidence) -> None:
    invalid = _config_map(namespace, "validated", **{"not a key!": "value"})
    refused = api.request("POST", objects.collection(invalid), invalid)
    evidence["create"] = {"status": refused.status, "fields": refused.fields, "message": refused.message}
    assert refused.status == 422, f"an invalid ConfigMap is answered {refused.status}, not 422"
    assert any("data" in field for field in refused.fields), f"the refusal does not name the field: {refused.message}"
    assert cluster.etcd.get(_etcd_key(invalid)) is None, "a refused object is in etcd nevertheless"

    valid = api.create(_config_map(namespace, "validated", colour="green"))
    before = cluster.etcd.get(_etcd_key(valid))
    refused = api.request("PUT", objects.path(invalid), {**invalid, "metadata": valid["metadata"]})
    after = cluster.etcd.get(_etcd_key(valid))
    assert before, "an accepted object is not in etcd"
    assert after, "an object is gone from etcd after a refused change"
    evidence["update"] = {"status": refused.status, "fields": refused.fields}
    evidence["etcd"] = {"key": before.key, "revision before": before.modified, "revision after": after.modified}
    assert refused.status == 422, f"an invalid change is answered {refused.status}, not 422"
    assert after == before, f"a refused change moved {before.key} in etcd from {before.modified} to {after.modified}"
    evidence.headline = f"422 naming {refused.fields[0]}; etcd stays at revision {after.modified}"


@pytest.mark.claim("api-persistence")
def test_what_is_accepted_is_in_etcd(cluster: Cluster, api: Api, namespace: str, evidence: Evidence) -> None:
    manifest = _config_map(namespace, "persistent", colour="kubeproof-blue")
    created = api.create(manifest)
    stored = cluster.etcd.get(_etcd_key(manifest))
    assert stored, f"etcd has no key {_etcd_key(manifest)} after the API server acknowledged it"
    assert b"kubeproof-blue" in stored.value, "etcd's value does not have the object's data"
    assert stored.created == stored.modified == objects.revision(created), (
        f"the API server returned revision {objects.revision(created)}, etcd has {stored.modified}"
    )

    changed = api.replace({**created, "data": {"colour": "kubeproof-red"}})
    rewritten = cluster.etcd.get(_etcd_key(manifest))
    assert rewritten, "the key is gone after an update"
    assert b"kubeproof-red" in rewritten.value, "etcd still has the object's old data after an acknowledged update"
    assert rewritten.modified == objects.revision(changed), (
        f"the API server returned revision {objects.revision(changed)} for the update, etcd has {rewritten.modified}"
    )

    api.delete(objects.path(manifest))
    assert cluster.etcd.get(_etcd_key(manifest)) is None, "the key is still in etcd after an acknowledged deletion"
    evidence["key"] = stored.key
    evidence["revisions"] = {"created": stored.modified, "updated": rewritten.modified}
    evidence.headline = f"{stored.key} at revisions {stored.modified} and {rewritten.modified}, as returned; then gone"


@pytest.mark.claim("api-watch")
def test_a_watch_tells_every_change_in_order(api: Api, namespace: str, evidence: Evidence) -> None:
    collection = objects.core(namespace, "configmaps")
    since = api.get(collection)["metadata"]["resourceVersion"]
    selected = {"fieldSelector": "metadata.name=watched"}
    acknowledged: list[tuple[str, int, float]] = []
    with api.watching(collection, since=since, timeout=10, **selected) as events:
        writer = threading.Thread(target=_write, args=(api, _config_map(namespace, "watched"), acknowledged))
        writer.start()
        seen = []
        for event in events:
            seen.append((event.kind, objects.revision(event.item), event.at))
            if event.kind == "DELETED":
                break
        writer.join()
    latencies = [round((told - sent) * 1000, 1) for (_, _, told), (_, _, sent) in zip(seen, acknowledged, strict=False)]
    evidence["written"] = [entry[:2] for entry in acknowledged]
    evidence["notified"] = [entry[:2] for entry in seen]
    evidence["milliseconds from sending to notification"] = latencies
    # The revision of a deletion is etcd's, which the answer to the deletion does not tell.
    assert [entry[:2] for entry in seen[:-1]] == [entry[:2] for entry in acknowledged[:-1]], (
        "the watch did not report each change once, in order and at the revision that the writer was given"
    )
    assert seen[-1][0] == "DELETED", "the watch did not report the deletion within 10 s"
    assert seen[-1][1] > seen[-2][1], "the watch reported the deletion at an older revision than the change before it"
    evidence.headline = f"{len(seen)} changes reported in order, within {max(latencies):.0f} ms"


@pytest.mark.claim("api-conflict")
def test_a_write_based_on_an_old_version_is_refused(api: Api, namespace: str, evidence: Evidence) -> None:
    original = api.create(_config_map(namespace, "contested", winner="nobody"))
    first = api.replace({**original, "data": {"winner": "first"}})
    second = api.request("PUT", objects.path(original), {**original, "data": {"winner": "second"}})
    kept = api.get(objects.path(original))
    evidence["versions"] = {"both read": objects.revision(original), "first wrote": objects.revision(first)}
    evidence["second"] = {"status": second.status, "message": second.message}
    assert second.status == 409, f"a write with a stale resourceVersion is answered {second.status}, not 409"
    assert kept["data"] == {"winner": "first"}, f"the first writer's change was overwritten: {kept['data']}"


@pytest.mark.claim("api-conflict")
def test_no_increment_of_concurrent_writers_is_lost(api: Api, namespace: str, evidence: Evidence) -> None:
    writers, increments = 4, 5
    counter = api.create(_config_map(namespace, "counter", count="0"))
    with ThreadPoolExecutor(writers) as pool:
        conflicts = sum(pool.map(lambda _: _increment(api, counter, increments), range(writers)))
    total = int(api.get(objects.path(counter))["data"]["count"])
    evidence["counter"] = {"writers": writers, "increments": writers * increments, "total": total, "refused": conflicts}
    assert total == writers * increments, f"{writers * increments} increments were acknowledged, {total} are stored"
    evidence.headline = (
        f"stale write 409; {total} increments by {writers} writers kept, {conflicts} stale writes refused"
    )


@pytest.mark.claim("api-load-balanced")
def test_any_one_api_server_can_be_missed(cluster: Cluster, workspace: Workspace, evidence: Evidence) -> None:
    servers = leader_election.several_control_plane_hosts(cluster)
    nodes = tuple(node.host for node in cluster.nodes)
    evidence["connections through load balancers"] = _all_reached(cluster, nodes, "in normal times")
    evidence["virtual address"] = str(cluster.settings["cluster_virtual_address"]) or "none is configured"
    _look_at_virtual_address(cluster)
    for host in servers:
        with leader_election.api_without(cluster, host) as api:
            start = time.monotonic()
            with disruption.stopped(host, "kube-apiserver"):
                away = leader_election.servers_reached(cluster, nodes)
                for name, reached in away.items():
                    strangers = set(reached) - {server.name for server in servers if server is not host}
                    assert not strangers, f"with the API server of {host} stopped, {name} gets {strangers} for answers"
                _look_at_virtual_address(cluster, stopped=host)
                heard = _await_news_of_all_nodes(api, host)
                account = _account(workspace.namespace(f"without-{host.name}", api))
                what = f"controllers act while the API server of {host} is stopped"
                api.observe_one(account, lambda _: True, what=what, timeout=_MISSED_SECONDS)
            problem = leader_election.await_ready(cluster, host, _MISSED_SECONDS)
            assert not problem, f"the API server of {host} is not ready after it was started: {problem}"
        evidence[host.name] = {
            "answers without it": away,
            "all nodes heard of after": round(heard, 1),
            "away for": round(time.monotonic() - start, 1),
        }
    _await_all_reached(cluster, nodes)
    evidence.headline = f"{len(servers)} servers, all reached from {len(nodes)} nodes; each was stopped once"


def _look_at_virtual_address(cluster: Cluster, stopped: Host | None = None) -> None:
    """If the cluster has one, one host holds it, and not the one whose API server is stopped."""
    address = str(cluster.settings["cluster_virtual_address"])
    if not address:
        return
    leader_election.await_answer(cluster, f"https://{in_url(address)}:{cluster.api_servers[0][1]}", _MOVED_SECONDS)
    holders = leader_election.address_holders(cluster, address)
    names = ", ".join(host.name for host in holders) or "nobody"
    assert len(holders) == 1, f"the virtual address {address} is held by {names}, not by one host"
    assert holders[0] is not stopped, f"{stopped} holds the virtual address {address}, and its API server is stopped"


def _all_reached(cluster: Cluster, nodes: tuple[Host, ...], when: str) -> dict[str, dict[str, int]]:
    reached = leader_election.servers_reached(cluster, nodes)
    for name, servers in reached.items():
        missing = {host.name for host in cluster.control_plane} - set(servers)
        assert not missing, (
            f"{when} connections from {name} do not reach the API server of {', '.join(missing)}: {servers}"
        )
    return reached


def _await_all_reached(cluster: Cluster, nodes: tuple[Host, ...]) -> None:
    """Load balancers check once in a while whether a server is back."""
    deadline = time.monotonic() + _MISSED_SECONDS
    while True:
        try:
            _all_reached(cluster, nodes, "with all servers back")
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _await_news_of_all_nodes(api: Api, stopped: Host) -> float:
    """Wait until every kubelet has renewed its lease once more; how long that took."""
    start = time.monotonic()
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    before = {objects.name(item): item["spec"]["renewTime"] for item in api.items(leases)}

    def all_renewed(items: list[Object]) -> bool:
        return all(item["spec"]["renewTime"] > before.get(objects.name(item), "") for item in items)

    what = f"all kubelets report while the API server of {stopped} is stopped"
    api.observe(leases, all_renewed, what=what, timeout=_MISSED_SECONDS)
    return time.monotonic() - start


def _account(namespace: str) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}


@early
def greetings(cluster: Cluster, api: Api, workspace: Workspace, namespace: str) -> Iterator[Operator]:
    """A kind of objects that is new to the API, and an operator for it, with a first object."""
    definition = _definition(f"{workspace.run_id}.{RESOURCE_DOMAIN}")
    workspace.create_outside(definition)
    try:
        api.observe_one(
            definition,
            lambda item: objects.holds(item, "Established"),
            what=f"kind {objects.name(definition)} established",
            timeout=_NEW_KIND_SECONDS,
        )
        operator = Operator(api, namespace, definition["spec"]["group"])
        await_kind(cluster, operator.collection)
    except NotObserved as error:
        raise Blocked("apiserver", str(error)) from None
    accounts.account(api, namespace, operator.ACCOUNT)
    accounts.allow(
        cluster,
        namespace,
        operator.ACCOUNT,
        [
            Rule(("get", "list", "watch"), ("greetings",), operator.group),
            Rule(("patch",), ("greetings/status",), operator.group),
            Rule(("create", "patch"), ("configmaps",)),
        ],
    )
    with api.using(Token(accounts.token(api, namespace, operator.ACCOUNT))) as own, operator.at_work(own):
        operator.greet("early", "world")
        yield operator


@pytest.mark.claim("api-extensible")
def test_objects_of_a_new_kind_are_validated_and_stored(
    cluster: Cluster, greetings: Operator, evidence: Evidence
) -> None:
    refused = greetings.submit("invalid", {"whom": 7})
    evidence["invalid"] = {"status": refused.status, "fields": refused.fields, "message": refused.message}
    assert refused.status == 422, f"an object that its schema rules out is answered {refused.status}, not 422"
    assert "spec.whom" in refused.fields, f"the refusal does not name the field spec.whom: {refused.message}"
    assert cluster.etcd.get(greetings.etcd_key("invalid")) is None, "a refused object is in etcd nevertheless"
    created = greetings.greet("stored", "etcd")
    stored = cluster.etcd.get(greetings.etcd_key("stored"))
    assert stored, f"etcd has no key {greetings.etcd_key('stored')} after the API server acknowledged it"
    evidence["key"], evidence["revision"] = stored.key, stored.created
    assert stored.created == objects.revision(created), (
        f"the API server returned revision {objects.revision(created)}, etcd has {stored.created}"
    )
    assert b'"etcd"' in stored.value, "etcd's value does not have the object's data"
    evidence.headline = f"422 naming spec.whom; a valid one at {stored.key}"


@pytest.mark.claim("api-extensible")
def test_an_operator_acts_on_objects_of_a_new_kind(
    api: Api, namespace: str, greetings: Operator, evidence: Evidence
) -> None:
    name = "acted-on"
    seconds: list[float] = []
    for whom in ("operator", "operator, again"):
        start = time.monotonic()
        if seconds:
            api.patch(f"{greetings.collection}/{name}", {"spec": {"whom": whom}})
        else:
            greetings.greet(name, whom)
        found = greetings.await_greeted(name, whom, _RECONCILED_SECONDS)
        seconds.append(round(time.monotonic() - start, 2))
    made = api.get(f"{objects.core(namespace, 'configmaps')}/{name}")
    evidence["object"] = {"spec": found["spec"], "status": found["status"]}
    evidence["made by the operator"] = {"data": made["data"], "by": made["metadata"]["managedFields"][0]["manager"]}
    evidence["seconds"] = dict(zip(("created", "changed"), seconds, strict=True))
    assert made["data"] == {"greeting": "Hello, operator, again!"}, (
        f"what the operator wrote is not kept: {made['data']}"
    )
    assert found["spec"] == {"whom": "operator, again"}, f"a write of the status has changed the rest: {found['spec']}"
    evidence.headline = f"operator acts on a new object after {seconds[0]} s, on a change after {seconds[1]} s"


@pytest.mark.claim("api-extensible")
@pytest.mark.late
def test_what_an_operator_makes_goes_with_its_object(
    api: Api, namespace: str, greetings: Operator, evidence: Evidence
) -> None:
    greetings.await_greeted("early", "world", _RECONCILED_SECONDS)
    start = time.monotonic()
    api.delete(f"{greetings.collection}/early")
    made = _config_map(namespace, "early")
    api.observe_gone(made, what="what the operator made goes with its object", timeout=_COLLECTED_SECONDS)
    seconds = time.monotonic() - start
    evidence["seconds"] = round(seconds, 2)
    evidence.headline = f"what it made is gone {seconds:.1f} s after its object"


def _definition(group: str) -> Object:
    properties = {
        "spec": {
            "type": "object",
            "required": ["whom"],
            "properties": {"whom": {"type": "string", "minLength": 1}},
        },
        "status": {"type": "object", "properties": {"greeted": {"type": "string"}}},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": properties}},
    }
    names = {"plural": "greetings", "singular": "greeting", "kind": "Greeting", "listKind": "GreetingList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"greetings.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _ask_etcd(host: Host, who: ComponentCredentials, endpoints: list[str]) -> list[dict[str, Any]]:
    request = {"do": "http", "method": "POST", "body": json.dumps({"key": "Lw=="}), "cert": who.cert, "key": who.key}
    return host.probe(*({**request, "url": f"{url}/v3/kv/range"} for url in endpoints))


def _self_review() -> Object:
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


def _service_account_token(api: Api, namespace: str, account: str) -> str:
    accounts.account(api, namespace, account)
    return accounts.token(api, namespace, account)


def _altered(token: str) -> str:
    """A token whose claims were changed after it was signed."""
    header, payload, signature = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    told["exp"] += 3600
    changed = base64.urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")
    return f"{header}.{changed}.{signature}"


def _as_component(cluster: Cluster, host: Host, component: str, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask the API from a host with the credentials of one of its components, which do not leave it."""
    who = next(each for each in CREDENTIALS if each.component == component)
    trust = {"do": "http", "ca": CA_FILE, "cert": who.cert, "key": who.key}
    address, port = cluster.api_servers[0]
    return host.probe(
        *({**trust, **request, "url": f"https://{in_url(address)}:{port}{request['url']}"} for request in requests)
    )


def _write(api: Api, manifest: Object, acknowledged: list[tuple[str, int, float]]) -> None:
    """Create, change twice, delete; each with its revision and the time at which it was sent."""
    sent = time.monotonic()
    item = api.create(manifest)
    acknowledged.append(("ADDED", objects.revision(item), sent))
    for number in range(2):
        sent = time.monotonic()
        item = api.replace({**item, "data": {"number": str(number)}})
        acknowledged.append(("MODIFIED", objects.revision(item), sent))
    sent = time.monotonic()
    api.delete(objects.path(manifest))
    acknowledged.append(("DELETED", objects.revision(item), sent))


def _increment(api: Api, counter: Object, times: int) -> int:
    """Count up with optimistic concurrency; how often someone else was faster."""
    done = refused = 0
    while done < times:
        current = api.get(objects.path(counter))
        change = {"count": str(int(current["data"]["count"]) + 1)}
        answer = api.request("PUT", objects.path(counter), {**current, "kind": "ConfigMap", "data": change})
        if answer.status == 409:
            refused += 1
        else:
            answer.required()
            done += 1
    return refused
