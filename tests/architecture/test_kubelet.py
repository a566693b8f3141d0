"""The kubelet: a node's agent, which takes pods, keeps them running, and lets nobody else in."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import httpx
import pytest

from kubeproof.api.kubeconfig import Anonymous, Credentials, Token
from kubeproof.core import waiting
from kubeproof.settings.urls import in_url
from kubeproof.verify.act import client_certificates
from kubeproof.verify.act.pods import HTTP_PORT, Manifests, Pod, is_ready
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import prepared, prepared_together
from kubeproof.verify.observe import objects, runtime
from kubeproof.verify.observe.api import Api, NotObserved, tls_context
from kubeproof.verify.observe.cluster import Cluster, Node
from kubeproof.verify.observe.hosts import Host, on_hosts
from kubeproof.verify.observe.objects import Object

_GRPC_PORT = 5000
_RESTART_SECONDS = 30.0
# As long as the kubelet would take to stop a pod that it believed to be deleted, and some more.
_UNHARMED_SECONDS = 2.0
_READ_ONLY_PORT = 10255
_MIRROR = "kubernetes.io/config.mirror"
_FACTS = """
printf '%s\\n' "$(nproc)" "$(awk '/^MemTotal/ {print $2}' /proc/meminfo)" "$(uname -r)"
cat /etc/machine-id /proc/sys/kernel/random/boot_id
"""


@prepared()
def mortal(manifests: Manifests) -> Object:
    """A pod that can be made to fail its liveness check."""
    # More than one failure: on a busy host a single check may be late, and a container that is restarted for that a few
    # times has to wait for longer than the test does.
    probe = {"grpc": {"port": _GRPC_PORT}, "periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 3}
    # It gets its orders at another port than it is checked at, which may be open later.
    told = {"tcpSocket": {"port": HTTP_PORT}, "periodSeconds": 1}
    container = manifests.container("server", ["grpc-health-checking"], livenessProbe=probe, readinessProbe=told)
    return manifests.pod("mortal", [container], **manifests.on_node(manifests.nodes[-1]))


@prepared()
def victim(manifests: Manifests) -> Object:
    """A pod whose process will be killed."""
    return manifests.pod("victim", [manifests.container("server", ["pause"])], **manifests.on_node(manifests.nodes[-1]))


@prepared_together()
def configured(manifests: Manifests) -> list[Object]:
    """A pod that is given a ConfigMap and a Secret, as variables and as files."""
    named = {"name": "configured", "namespace": manifests.namespace}
    sources = {"config": {"configMap": {"name": "configured"}}, "secret": {"secret": {"secretName": "configured"}}}
    variables = [
        {"name": "FROM_CONFIG_MAP", "valueFrom": {"configMapKeyRef": {"name": "configured", "key": "colour"}}},
        {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "configured", "key": "word"}}},
    ]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in sources]
    container = manifests.container("pause", ["pause"], env=variables, volumeMounts=mounts)
    volumes = [{"name": name, **source} for name, source in sources.items()]
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": {"colour": "kubeproof-green"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": {"word": "kubeproof-sesame"}},
        manifests.pod("configured", [container], volumes=volumes, **manifests.on_node(manifests.nodes[-1])),
    ]


@pytest.mark.claim("kubelet-registers")
def test_what_a_node_reports_is_what_its_host_is(cluster: Cluster, api: Api, evidence: Evidence) -> None:
    expected = {host.name for group in ("control_plane", "workers") for host in cluster.hosts.group(group)}
    registered = {node.host.name for node in cluster.nodes}
    assert registered == expected, f"hosts that should be nodes: {sorted(expected)}; that are: {sorted(registered)}"
    facts = on_hosts(cluster.hosts.all, lambda host: host.run(_FACTS).split())
    now = datetime.datetime.now(datetime.UTC)
    for node in cluster.nodes:
        cores, memory, kernel, machine, boot = facts[node.host.name]
        status = node.item["status"]
        found = {
            "capacity.cpu": (status["capacity"]["cpu"], cores),
            "capacity.memory": (status["capacity"]["memory"], f"{memory}Ki"),
            "kernelVersion": (status["nodeInfo"]["kernelVersion"], kernel),
            "machineID": (status["nodeInfo"]["machineID"], machine),
            "bootID": (status["nodeInfo"]["bootID"], boot),
            "InternalIP": (node.address, node.host.address),
        }
        for what, (reported, real) in found.items():
            assert reported == real, f"{node.name} reports {what} {reported}, its host has {real}"
        lease = api.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node.name}")["spec"]
        age = (now - datetime.datetime.fromisoformat(lease["renewTime"])).total_seconds()
        assert age < lease["leaseDurationSeconds"], f"{node.name} has given no sign of life for {age:.0f} s"
        assert objects.holds(node.item, "Ready"), f"{node.name} is not ready: {objects.condition(node.item, 'Ready')}"
        evidence[node.name] = {what: reported for what, (reported, _) in found.items()} | {"lease age": round(age, 1)}
    evidence.headline = f"{len(cluster.nodes)} nodes ready; size, kernel, ids and address are those of their hosts"


@pytest.mark.claim("kubelet-private")
def test_only_the_known_and_allowed_get_an_answer(
    cluster: Cluster, api: Api, namespace: str, evidence: Evidence
) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "curious", "namespace": namespace}}
    api.create(account)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    token = api.request("POST", f"{objects.path(account)}/token", request).required()["status"]["token"]
    callers: dict[str, tuple[Credentials, set[int | str]]] = {
        "nothing": (Anonymous(), {401}),
        "a garbage token": (Token("kubeproof-verify-garbage"), {401}),
        "a foreign certificate": (client_certificates.foreign(), {401, "refused"}),
        "an account without rights": (Token(token), {403}),
        "the administrator": (api.access.credentials, {200}),
    }
    for node in cluster.nodes:
        answers = {who: _ask_kubelet(node, api, credentials) for who, (credentials, _) in callers.items()}
        evidence[node.name] = answers
        for who, (_, expected) in callers.items():
            assert answers[who] in expected, f"the kubelet of {node.name} answers {answers[who]} to {who} for /pods"
        answer = _ask_plainly(node)
        evidence[node.name] |= {f"port {_READ_ONLY_PORT}": answer}
        assert answer == "refused", f"{node.name} answers anybody, unencrypted, at port {_READ_ONLY_PORT}: {answer}"
    evidence.headline = "anonymous, garbage and foreign 401, without rights 403, administrator 200; no read-only port"


@pytest.fixture
def manifest_file(cluster: Cluster, api: Api, manifests: Manifests) -> Iterator[tuple[Node, PurePosixPath | None]]:
    """A node and a place for a manifest file on it, if its kubelet takes any. There is none there before and after."""
    node = cluster.workers[-1]
    directory = api.get(f"/api/v1/nodes/{node.name}/proxy/configz")["kubeletconfig"].get("staticPodPath")
    if not directory:
        yield node, None
        return
    path = PurePosixPath(directory) / f"{manifests.namespace}.json"
    for left in node.host.run("find %s -name 'kubeproof-verify-*.json'", directory).split():
        # A verification that still runs has the namespace that its file is named after; one that was killed had.
        if api.request("GET", f"/api/v1/namespaces/{PurePosixPath(left).stem}").status == 404:
            node.host.run("rm -f %s", left)
    yield node, path
    node.host.run("rm -f %s", str(path))


@pytest.mark.claim("kubelet-podspecs")
def test_a_pod_from_a_file_is_shown_by_the_api_and_ruled_by_the_file(
    api: Api, manifests: Manifests, manifest_file: tuple[Node, PurePosixPath | None], evidence: Evidence
) -> None:
    node, path = manifest_file
    assert path, f"the kubelet of {node.name} takes no manifest files: it has no staticPodPath"
    manifest = manifests.pod("static", [manifests.container("pause", ["pause"])])
    mirror = manifests.pod(f"static-{node.name}", [])
    start = time.monotonic()
    _put(node.host, path, json.dumps(manifest))
    shown = api.observe_one(
        mirror, is_ready, what="the pod of a manifest file runs and is shown", timeout=_RESTART_SECONDS
    )
    started = time.monotonic() - start
    annotations = shown["metadata"]["annotations"]
    assert annotations.get("kubernetes.io/config.source") == "file", (
        f"the mirror pod does not tell its source: {annotations}"
    )
    assert _MIRROR in annotations, f"the pod in the API is no mirror pod: {annotations}"
    container = Pod(api, shown).container_id("pause")
    local_uid = annotations["kubernetes.io/config.hash"]
    evidence["mirror pod"] = {"name": objects.name(shown), "annotations": annotations, "container": container}

    process = runtime.process(node.host, local_uid, "pause")
    api.delete(objects.path(mirror), gracePeriodSeconds=0)
    api.observe_gone(mirror, what="a mirror pod that is deleted goes", timeout=_RESTART_SECONDS)
    time.sleep(_UNHARMED_SECONDS)
    assert runtime.process(node.host, local_uid, "pause") == process, "deleting the mirror pod stopped the real one"

    start = time.monotonic()
    node.host.run("rm %s", str(path))
    _await(
        api,
        lambda: not any(each.pid for each in runtime.containers(node.host, local_uid)),
        "the containers of a pod go with its file",
    )
    stopped = time.monotonic() - start
    evidence["seconds"] = {"to running": round(started, 2), "to gone": round(stopped, 2)}
    evidence.headline = (
        f"runs {started:.1f} s after its file, survives its mirror's deletion, gone {stopped:.1f} s after it"
    )


@pytest.mark.claim("kubelet-healthy")
def test_a_container_that_fails_its_liveness_check_is_restarted(api: Api, mortal: Pod, evidence: Evidence) -> None:
    before = mortal.now()
    start = time.monotonic()
    before.http("make-not-serving")
    restarted = _observe_restart(api, before, "a container that fails its liveness check is restarted")
    seconds = time.monotonic() - start
    status = restarted.container("server")
    evidence["containers"] = {"before": before.container_id("server"), "after": restarted.container_id("server")}
    evidence["last state"] = status["lastState"]
    events = api.items(
        mortal.path.rpartition("/pods/")[0] + "/events",
        fieldSelector=f"involvedObject.uid={mortal.uid},reason=Unhealthy",
    )
    assert any("Liveness" in event["message"] for event in events), "no event tells that the liveness check failed"
    evidence.headline = f"liveness failure: restarted in {seconds:.1f} s"


@pytest.mark.claim("kubelet-healthy")
def test_a_container_whose_process_dies_is_restarted(
    cluster: Cluster, api: Api, victim: Pod, evidence: Evidence
) -> None:
    host = cluster.node(victim.node).host
    before, pid = victim.now(), runtime.process(host, victim.uid, "server")
    start = time.monotonic()
    host.run(f"kill -KILL {pid}")
    restarted = _observe_restart(api, before, "a container whose process was killed is restarted")
    seconds = time.monotonic() - start
    ended = restarted.container("server")["lastState"]["terminated"]
    evidence["killed"] = {"host": host.name, "pid": pid}
    evidence["last state"] = ended
    assert ended["exitCode"] == 137, f"the kubelet reports {ended['exitCode']} of a process that was killed, not 137"
    new = runtime.process(host, victim.uid, "server")
    assert new != pid, "the runtime still shows the process that was killed"
    evidence.headline = f"killed on {host}: restarted in {seconds:.1f} s, as PID {new}"


@pytest.mark.claim("config-secret")
def test_configuration_reaches_pods_and_changes_reach_files(
    cluster: Cluster, api: Api, configured: list[Pod], manifests: Manifests, evidence: Evidence
) -> None:
    [pod] = configured
    host = cluster.node(pod.node).host
    pid = runtime.process(host, pod.uid, "pause")
    variables = dict(
        line.partition("=")[::2] for line in host.run("tr '\\0' '\\n' < %s", f"/proc/{pid}/environ").splitlines()
    )
    assert variables.get("FROM_CONFIG_MAP") == "kubeproof-green", (
        "the ConfigMap did not reach the process as a variable"
    )
    assert variables.get("FROM_SECRET") == "kubeproof-sesame", "the Secret did not reach the process as a variable"
    files = {"config/colour": "kubeproof-green", "secret/word": "kubeproof-sesame"}
    for file, content in files.items():
        assert _read(host, pid, file) == content, f"/{file} in the pod is not what was configured"

    start = time.monotonic()
    for kind, change in (
        ("configmaps", {"data": {"colour": "kubeproof-red"}}),
        ("secrets", {"stringData": {"word": "kubeproof-simsim"}}),
    ):
        api.patch(f"{objects.core(manifests.namespace, kind)}/configured", change)
    # The kubelet looks after a pod's files once a minute, and whenever the pod changes.
    api.patch(pod.path, {"metadata": {"annotations": {"kubeproof.io/changed": "yes"}}})
    changed = {"config/colour": "kubeproof-red", "secret/word": "kubeproof-simsim"}
    for file, content in changed.items():
        _await(
            api,
            lambda file=file, content=content: _read(host, pid, file) == content,  # type: ignore[misc]
            f"/{file} follows its source",
        )
    seconds = time.monotonic() - start
    evidence["files"] = {"before": files, "after": changed, "seconds": round(seconds, 2)}
    evidence.headline = f"variables and files as configured; changes in the files after {seconds:.1f} s"


@pytest.mark.claim("config-secret")
@pytest.mark.usefixtures("configured")
def test_a_secret_is_ciphertext_in_etcd(cluster: Cluster, manifests: Manifests, evidence: Evidence) -> None:
    plain = cluster.etcd.get(f"/registry/configmaps/{manifests.namespace}/configured")
    secret = cluster.etcd.get(f"/registry/secrets/{manifests.namespace}/configured")
    assert plain, "the ConfigMap is not in etcd"
    assert secret, "the Secret is not in etcd"
    evidence["secret"] = {"key": secret.key, "begins with": secret.value[:40].decode("ascii", "replace")}
    assert b"kubeproof-" in plain.value, (
        "a ConfigMap's text is not found in etcd, so that it proves nothing of a Secret's"
    )
    assert b"kubeproof-" not in secret.value, f"{secret.key} can be read in etcd by whoever gets at a backup"
    assert secret.value.startswith(b"k8s:enc:"), f"{secret.key} is stored otherwise than the API server encrypts"
    evidence.headline = f"in etcd it is {secret.value[:30].split(b'key')[0].decode('ascii', 'replace')}…"


def _ask_kubelet(node: Node, api: Api, credentials: Credentials) -> int | str:
    headers = {"Authorization": f"Bearer {credentials.value}"} if isinstance(credentials, Token) else {}
    try:
        return httpx.get(
            f"https://{in_url(node.address)}:{node.kubelet_port}/pods",
            headers=headers,
            verify=tls_context(api.access.ca, credentials),
            trust_env=False,
            timeout=api.patient(10),
        ).status_code
    except (httpx.RemoteProtocolError, httpx.ReadError):
        # TLS 1.3 tells a client that its certificate is bad only after the handshake.
        return "refused"


def _ask_plainly(node: Node) -> int | str:
    try:
        return httpx.get(
            f"http://{in_url(node.address)}:{_READ_ONLY_PORT}/pods", trust_env=False, timeout=3
        ).status_code
    except httpx.TransportError:
        return "refused"


def _put(host: Host, path: PurePosixPath, content: str) -> None:
    """Write a file in one step: the kubelet reads what it sees, half of it, too."""
    fresh = path.with_name(f".{path.name}")
    host.run("printf %%s %s > %s && mv %s %s", content, str(fresh), str(fresh), str(path))


def _read(host: Host, pid: int, file: str) -> str:
    """A file as a container's process sees it."""
    return host.run("cat %s", f"/proc/{pid}/root/{file}")


def _await(api: Api, condition: Callable[[], bool], what: str) -> None:
    limit = api.patient(_RESTART_SECONDS)
    if not waiting.until(condition, limit, pause=0.2):
        raise NotObserved(f"{what}: not within {limit:.0f} s")


def _observe_restart(api: Api, before: Pod, what: str) -> Pod:
    old = before.container("server")

    def restarted(item: Object) -> bool:
        new = Pod(api, item).container("server")
        return new["restartCount"] > old["restartCount"] and "running" in new["state"]

    return Pod(api, api.observe_one(before.manifest, restarted, what=what, timeout=_RESTART_SECONDS))
