"""What makes the claims about the API server false."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from tests.saboteurs.framework.mutations import (
    admission,
    bound_to_cluster_admin,
    changed_file,
    etcdctl,
    everywhere,
    flags,
    rules,
    running,
)
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act import leader_election
from kubeproof.verify.act.disruption import stopped_everywhere
from kubeproof.verify.observe import etcd
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable

_AUTHENTICATION = "/etc/kubernetes/apiserver/authentication.yaml"
_WRITTEN_TO = ("persistent", "watched")
# Runs on an etcd host, with the operator's certificate: keys go as soon as they are there.
_ERASER = """
import base64, http.client, json, ssl, time
context = ssl.create_default_context(cafile="{pki}/ca.crt")
context.load_cert_chain("{pki}/operator.crt", "{pki}/operator.key")
connection = http.client.HTTPSConnection("127.0.0.1", {port}, context=context)
def ask(path, **body):
    connection.request("POST", path, json.dumps(body))
    return json.loads(connection.getresponse().read())
def text(string):
    return base64.b64encode(string.encode()).decode()
prefix = "/registry/configmaps/kubeproof-verify-"
while True:
    found = ask("/v3/kv/range", key=text(prefix), range_end=text(prefix[:-1] + "."), keys_only=True)
    for entry in found.get("kvs", []):
        if base64.b64decode(entry["key"]).decode().endswith({names}):
            ask("/v3/kv/deleterange", key=entry["key"])
    time.sleep(0.005)
"""


@saboteur(
    "api-front-end",
    breaks="`etcdctl watch` is left running on an etcd host",
    says="etcdctl on .*, which is no API server, is connected to etcd",
    quick=True,
)
def second_client_of_etcd(cluster: Cluster) -> Iterator[None]:
    with running(cluster.etcd.host, f"exec {etcdctl(cluster)} watch --prefix /nothing"):
        yield


@saboteur(
    "api-front-end",
    "etcd-private",
    breaks="etcd trusts the Kubernetes CA, too",
    says=(
        "talks to the (scheduler|controller-manager|kubelet|kube-proxy|flannel|network-policy)|"
        "the Kubernetes administrator's: 200"
    ),
)
def etcd_trusts_kubernetes(cluster: Cluster) -> Iterator[None]:
    kubernetes = cluster.api.access.ca
    with everywhere(
        cluster.etcd_hosts, lambda host: changed_file(host, f"{etcd.PKI}/ca.crt", lambda own: own + kubernetes, "etcd")
    ):
        yield


@saboteur(
    "api-authentication",
    breaks="Anonymous requests are allowed everywhere, not only for health checks",
    says="answers 403 to a caller who shows nothing",
)
def anonymous_let_in(cluster: Cluster) -> Iterator[None]:
    def without_conditions(text: str) -> str:
        return text.partition("  conditions:")[0]

    with everywhere(
        cluster.control_plane, lambda host: changed_file(host, _AUTHENTICATION, without_conditions, "kube-apiserver")
    ):
        yield


@saboteur(
    "api-authorization",
    "kubelet-private",
    breaks="All authenticated users are bound to cluster-admin",
    says="(?s)account without rights gets 200.*may read a Secret that no pod on it uses.*may read all Secrets"
    "|answers 200 to an account without rights",
    quick=True,
)
def everybody_is_administrator(cluster: Cluster) -> Iterator[None]:
    with bound_to_cluster_admin(cluster.api, {"kind": "Group", "name": "system:authenticated"}):
        yield


@saboteur(
    "api-validation",
    breaks="An admission policy repairs an invalid ConfigMap instead of having it refused",
    says="an invalid ConfigMap is answered 201, not 422",
)
def invalid_objects_are_repaired(cluster: Cluster) -> Iterator[None]:
    invalid = "has(object.data) && object.data.exists(key, key.contains(' '))"
    with admission(
        cluster.api,
        "/v1/configmaps",
        '[JSONPatch{op: "remove", path: "/data"}]',
        matchConditions=[{"name": "invalid", "expression": invalid}],
    ):
        yield


@saboteur(
    "api-conflict",
    breaks="An admission policy drops the version that a writer started from",
    says="(?s)stale resourceVersion is answered 200, not 409.*increments were acknowledged",
)
def last_writer_wins(cluster: Cluster) -> Iterator[None]:
    drop = '[JSONPatch{op: "remove", path: "/metadata/resourceVersion"}]'
    with admission(cluster.api, "/v1/configmaps", drop, operations=["UPDATE"]):
        yield


@saboteur(
    "api-persistence",
    "api-watch",
    breaks="Keys are deleted in etcd behind the API server's back",
    says="after the API server acknowledged it|the key is gone after an update|did not report each change once",
)
def keys_deleted_in_etcd(cluster: Cluster) -> Iterator[None]:
    with erased(cluster, *_WRITTEN_TO):
        yield


@contextmanager
def erased(cluster: Cluster, *names: str) -> Iterator[None]:
    """Have verifications' ConfigMaps of these names deleted in etcd as soon as they are there."""
    endings = tuple(f"/{each}" for each in names)
    program = _ERASER.format(pki=etcd.PKI, port=cluster.settings["cluster_etcd_port"], names=endings)
    with running(cluster.etcd.host, f"exec python3 -c {shlex.quote(program)}"):
        yield


@saboteur(
    "api-extensible",
    breaks="An admission policy takes the schema out of definitions of new kinds of objects",
    says="that its schema rules out is answered 201, not 422",
    quick=True,
)
def new_kinds_without_schema(cluster: Cluster) -> Iterator[None]:
    anything = '{"type": dyn("object"), "x-kubernetes-preserve-unknown-fields": dyn(true)}'
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
    with admission(
        cluster.api,
        "apiextensions.k8s.io/v1/customresourcedefinitions",
        f'[JSONPatch{{op: "replace", path: "{path}", value: {anything}}}]',
        matchConditions=[{"name": "ours", "expression": "object.metadata.name.endsWith('.verify.kubeproof.io')"}],
    ):
        yield


@saboteur(
    "api-extensible",
    "operator",
    breaks="The controller manager runs without the loop that collects what has no owner any more",
    says="what the operator made goes with its object: not within"
    "|of an application that was deleted goes with it: not within",
)
def nothing_is_collected(cluster: Cluster) -> Iterator[None]:
    loops = "--controllers=*,-garbage-collector-controller"
    with everywhere(cluster.control_plane, lambda host: flags(host, "kube-controller-manager", loops)):
        yield


@saboteur(
    "api-load-balanced",
    breaks="One node reaches one API server only",
    says="do not reach the API server of",
)
def a_node_with_one_api_server(cluster: Cluster) -> Iterator[None]:
    others = ", ".join(host.address for host in leader_election.several_control_plane_hosts(cluster)[1:])
    family = "ip6" if ":" in others else "ip"
    node = next(node.host for node in cluster.nodes if not node.control_plane)
    port = cluster.api_servers[0][1]
    chain = f"""
  chain output {{
    type filter hook output priority 0; policy accept;
    {family} daddr {{ {others} }} tcp dport {port} reject with tcp reset
  }}"""
    with rules(node, chain):
        yield


@saboteur(
    "api-load-balanced",
    breaks="No host can take over the virtual address",
    says="(does not answer|is not ready).* within",
)
def an_address_without_a_successor(cluster: Cluster) -> Iterator[None]:
    address = str(cluster.settings["cluster_virtual_address"])
    if not address:
        raise NotObservable("the cluster has no virtual address")
    holders = leader_election.address_holders(cluster, address)
    others = [host for host in leader_election.several_control_plane_hosts(cluster) if host not in holders]
    with stopped_everywhere(others, "kube-virtual-address"):
        yield
