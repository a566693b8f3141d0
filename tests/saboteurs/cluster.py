"""What makes the claims about the cluster as a whole false."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator

from tests.saboteurs.framework.mutations import (
    admission,
    await_health,
    changed_object,
    done,
    etcdctl,
    exchanged_program,
    flags,
    followers,
    meddling,
    running,
    stopped,
    three_members,
)
from tests.saboteurs.framework.registry import saboteur

from kubeproof.core import waiting
from kubeproof.core.versions import Version
from kubeproof.settings import runtimes, traefik
from kubeproof.verify.act import charts, ctr
from kubeproof.verify.act.application_operator import gate
from kubeproof.verify.act.workspace import PREFIX
from kubeproof.verify.observe import component_control
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable
from kubeproof.verify.observe.objects import Object, holds, name

_SCHEDULER = "kube-scheduler"
# A directory that each system has.
_IN_USR = "/usr/local/bin"
# Of the same length, so that the program still works. The shell gives it the file and both versions.
_OTHER_VERSION = """
import sys
path, version, other = sys.argv[1:]
with open(path, "r+b") as stream:
    content = stream.read()
    stream.seek(0)
    stream.write(content.replace(version.encode(), other.encode()))
"""


@saboteur(
    "masters-unscheduled",
    breaks="A control-plane node's taint is removed",
    says="is of the control plane and not of the workers, but a workload is placed there",
    quick=True,
)
def control_plane_open_to_workloads(cluster: Cluster) -> Iterator[None]:
    def untainted(node: Object) -> None:
        node["spec"].pop("taints", None)

    host = next(node for node in cluster.nodes if node.control_plane)
    with changed_object(cluster.api, f"/api/v1/nodes/{host.name}", untainted):
        yield


@saboteur(
    "container-os",
    breaks="A node's kubelet is run out of /usr, where it cannot be changed",
    says="out of its read-only /usr",
)
def kubelet_in_read_only_usr(cluster: Cluster) -> Iterator[None]:
    host = cluster.nodes[-1].host
    if host.attempt("test ! -w /usr")[0] != 0:
        raise NotObservable(f"/usr of {host} can be written")
    own = host.run("readlink -f /proc/$(systemctl show --property=MainPID --value kubelet.service)/exe").strip()
    directory = shlex.quote(own.rpartition("/")[0])
    # Nothing can be put there, but be mounted over what is.
    mounted = done(host, f"mount --bind {directory} {_IN_USR}", f"umount --lazy {_IN_USR}")
    with mounted, flags(host, "kubelet", program=f"{_IN_USR}/kubelet"):
        yield


@saboteur(
    "pod-way",
    breaks="Someone writes pods into etcd, past the API servers",
    says="was written past them",
)
def pods_written_past_the_api(cluster: Cluster) -> Iterator[None]:
    written: set[str] = set()

    def write_again() -> bool:
        for key in cluster.etcd.keys(f"/registry/pods/{PREFIX}-"):
            # As it is, once: what matters is who writes, not what.
            if key.endswith("/pod-way") and key not in written and (found := cluster.etcd.get(key)):
                value = base64.b64encode(found.value).decode()
                cluster.etcd.host.run(f"echo %s | base64 --decode | {etcdctl(cluster)} put %s", value, key)
                written.add(key)
        return False

    with meddling(write_again):
        yield


# By itself, since it takes long to find: all that is asked of a cluster without a majority waits.
@saboteur(
    "control-plane-loss",
    breaks="A control-plane host more would be one too many: one etcd member is down already",
    says="nothing can be created|a new pod runs|was lost, nodes get",
)
def a_control_plane_without_a_spare(cluster: Cluster) -> Iterator[None]:
    members = three_members(cluster)
    # The claim's test takes the host that leads: its own member must be one of those that are left.
    following = followers(cluster, "kube-controller-manager")
    with stopped(next(host for host in members if host in following), "etcd"):
        yield


@saboteur(
    "controlplane-forms",
    breaks="The scheduler of a host was started manually",
    says="kube-scheduler on .* runs as service kubeproof-saboteur-.*, not as",
)
def scheduler_started_manually(cluster: Cluster) -> Iterator[None]:
    host = cluster.control_plane[0]
    pid = component_control.processes(host, _SCHEDULER)[0]
    flags = host.run("tr '\\0' '\\n' < %s", f"/proc/{pid}/cmdline").splitlines()[1:]
    with stopped(host, _SCHEDULER), running(host, f"exec {_SCHEDULER} {shlex.join(flags)}"):
        await_health(host, _SCHEDULER)
        yield


@saboteur(
    "operator",
    breaks="An admission policy takes away what the operator's webhook would refuse",
    says="an application that the webhook refuses was accepted",
)
def nothing_to_refuse(cluster: Cluster) -> Iterator[None]:
    whole = 'has(object.data) ? [JSONPatch{op: "remove", path: "/data"}] : []'
    with admission(cluster.api, "*/v1/applications", whole, operations=["CREATE"]):
        yield


@saboteur(
    "operator",
    breaks="An admission policy has the operator's lease last for ten minutes",
    says="another instance of the operator leads: not within",
)
def lease_that_lasts(cluster: Cluster) -> Iterator[None]:
    longer = "Object{spec: Object.spec{leaseDurationSeconds: 600}}"
    with admission(cluster.api, "coordination.k8s.io/v1/leases", longer):
        yield


@saboteur(
    "helm-chart",
    breaks="An admission policy has what charts install keep its first greeting",
    says="after helm upgrade the greeting is 'first'",
)
def greetings_that_stay(cluster: Cluster) -> Iterator[None]:
    charts.found(cluster.inventory)
    first = '[JSONPatch{op: "replace", path: "/data/greeting", value: "first"}]'
    only = [{"name": "greeter", "expression": "object.metadata.name == 'greeter'"}]
    with admission(cluster.api, "/v1/configmaps", first, matchConditions=only):
        yield


@saboteur(
    "versions-locked",
    breaks="A node's kubelet is a copy with a byte more",
    says="kubelet on .* is not what the lock has|kubelet on .* runs a program that the lock does not have",
)
def program_with_a_byte_more(cluster: Cluster) -> Iterator[None]:
    host = cluster.workers[-1].host
    with exchanged_program(host, _program(host, "kubelet"), 'printf x >> "$copy"', "kubelet", restart=True):
        yield


@saboteur(
    "versions-locked",
    breaks="A node's kubelet was replaced by the same file, and not restarted",
    says="kubelet on .* runs a file that is no longer there",
)
def process_of_a_replaced_file(cluster: Cluster) -> Iterator[None]:
    host = cluster.workers[-1].host
    with exchanged_program(host, _program(host, "kubelet"), "true", "kubelet", restart=False):
        yield


@saboteur(
    "versions-locked",
    breaks="CoreDNS's image on a node may be removed by the kubelet, and is in no registry",
    says="the image .*coredns.* on .* is not pinned",
)
def image_that_may_be_removed(cluster: Cluster) -> Iterator[None]:
    if cluster.runtime != runtimes.CONTAINERD:
        raise NotObservable("images are pinned in containerd only")
    host = cluster.workers[-1].host
    (image,) = (each for each in ctr.images(host) if "/coredns:" in each)
    with ctr.unpinned(host, image):
        yield


@saboteur(
    "versions-skew",
    "versions-locked",
    breaks="The scheduler of a host is two minor versions older than the API servers",
    says="kube-scheduler .* is too old for kube-apiserver|kube-scheduler on .* is not what the lock has",
)
def scheduler_of_an_old_version(cluster: Cluster) -> Iterator[None]:
    host = cluster.control_plane[0]
    if not isinstance(component_control.component(host, _SCHEDULER), component_control.Service):
        raise NotObservable("the program of a static pod is in its image")
    version = Version.of(cluster.api.get("/version")["gitVersion"])
    older = f"v{version.series.plus(-2)}.{version.patch}"
    change = f"python3 -c {shlex.quote(_OTHER_VERSION)} $copy v{version} {older}"
    with exchanged_program(host, _program(host, _SCHEDULER), change, _SCHEDULER, restart=True):
        yield


@saboteur(
    "versions-skew",
    breaks="An API server works as the minor version before its own, and kubelets do not",
    says="is newer than kube-apiserver",
)
def emulation_left_over(cluster: Cluster) -> Iterator[None]:
    series = Version.of(cluster.api.get("/version")["gitVersion"]).series
    with flags(cluster.control_plane[0], "kube-apiserver", f"--emulated-version={series.plus(-1)}"):
        yield


def _program(host: Host, unit: str) -> str:
    """The file that a unit's process runs."""
    pid = component_control.processes(host, unit)[0]
    return host.run("readlink %s", f"/proc/{pid}/exe").strip()


_TRAEFIK = f"/api/v1/namespaces/{traefik.NAMESPACE}/pods"
_TRAEFIK_STARTED_SECONDS = 90.0


@saboteur(
    "ingress-routes",
    breaks="Traefik may not read which pods are behind Services",
    says="is not answered by site-",
)
def no_endpoint_slices(cluster: Cluster) -> Iterator[None]:
    _demand_traefik(cluster)

    def without(role: Object) -> None:
        role["rules"] = [rule for rule in role["rules"] if "endpointslices" not in rule["resources"]]

    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/traefik:routes"
    try:
        with changed_object(cluster.api, path, without):
            # A watch that is open continues without the right.
            _restart_traefik(cluster)
            yield
    finally:
        _restart_traefik(cluster)


@saboteur(
    "ingress-routes",
    breaks="Ingresses are of a class without a controller",
    says="is not answered by site-a: 404",
)
def unserved_class(cluster: Cluster) -> Iterator[None]:
    _demand_traefik(cluster)
    change = 'Object{spec: Object.spec{ingressClassName: "nobody"}}'
    with admission(cluster.api, "networking.k8s.io/v1/ingresses", change):
        yield


@saboteur(
    "ingress-routes",
    breaks="Hosts are given a certificate of others",
    says="asked over TLS .* is not answered by site-a: .*certificate verify failed",
)
def wrong_certificate(cluster: Cluster) -> Iterator[None]:
    _demand_traefik(cluster)
    other = gate.issue("other.test")
    data = {"tls.crt": other.certificate, "tls.key": other.key}
    changes = ", ".join(
        f'JSONPatch{{op: "replace", path: "/data/{key}", value: "{base64.b64encode(text.encode()).decode()}"}}'
        for key, text in data.items()
    )
    only = [{"name": "those-of-sites", "expression": "object.metadata.name.startsWith('site-')"}]
    with admission(cluster.api, "/v1/secrets", f"[{changes}]", operations=["CREATE"], matchConditions=only):
        yield


@saboteur(
    "ingress-routes",
    breaks="Routes lose the hosts that they are for",
    says="which has no route, is answered 200|is not answered by site-",
)
def routes_for_every_host(cluster: Cluster) -> Iterator[None]:
    _demand_traefik(cluster)
    # An Ingress's first rule alone: with two for every host it would be left to chance which one is asked.
    forget = '[JSONPatch{op: "remove", path: "/spec/rules/0/host"}]'
    with admission(cluster.api, "networking.k8s.io/v1/ingresses", forget):
        yield


def _demand_traefik(cluster: Cluster) -> None:
    if not traefik.on(cluster.settings):
        raise NotObservable("traefik_enabled is false: there is no Traefik")


def _restart_traefik(cluster: Cluster) -> None:
    """Have all its pods replaced, and wait until the new ones are ready."""
    before = {pod["metadata"]["uid"] for pod in cluster.api.items(_TRAEFIK)}
    for pod in cluster.api.items(_TRAEFIK):
        cluster.api.delete(f"{_TRAEFIK}/{name(pod)}")
    replicas = int(cluster.settings["traefik_replicas"])

    def there() -> bool:
        pods = cluster.api.items(_TRAEFIK)
        new = [pod for pod in pods if pod["metadata"]["uid"] not in before and holds(pod, "Ready")]
        return len(pods) == len(new) == replicas

    seconds = cluster.api.patient(_TRAEFIK_STARTED_SECONDS)
    if not waiting.until(there, seconds, pause=0.5):
        raise RuntimeError(f"Traefik's pods are not ready {seconds:.0f} s after they were replaced")
