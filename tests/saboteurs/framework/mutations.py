"""What saboteurs work with: changes to hosts and to the API, each undone at the end of its ``with`` block.

What is changed on a host is undone by the host itself after ``disruption.LIMIT_SECONDS``, if nobody does it before.
What is created in the API has a label, by which ``remove_leftovers`` finds what a run that was killed has left.
"""

from __future__ import annotations

import copy
import datetime
import functools
import json
import re
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any

import httpx
from tests.saboteurs.framework import snapshot

from kubeproof.core import waiting
from kubeproof.verify.act import disruption, leader_election
from kubeproof.verify.act.disruption import undone
from kubeproof.verify.act.workspace import PREFIX
from kubeproof.verify.observe import component_control, etcd, hosts
from kubeproof.verify.observe.api import Api, ApiError
from kubeproof.verify.observe.cluster import CA_FILE, Cluster
from kubeproof.verify.observe.hosts import IN_PATH, CommandFailed, Host, NotObservable
from kubeproof.verify.observe.objects import Object, holds, name

LABEL = "kubeproof.io/saboteur"
_PREFIX = "kubeproof-saboteur"
_SAVED = PurePosixPath("/run/kubeproof-saboteur")
_HEALTHY_SECONDS = 60.0
_PAUSE = 0.2
# Thrice as long as a server takes at the most, if it has heard at once.
_COMPILED_SECONDS = 3.0
# How a unit tells that it does its work again; one with Type=notify is asked by systemctl itself.
_HEALTH = {
    "kube-apiserver": "https://127.0.0.1:6443/readyz",
    "kube-scheduler": "https://127.0.0.1:10259/readyz",
    "kube-controller-manager": "https://127.0.0.1:10257/healthz",
    "kubelet": "http://127.0.0.1:10248/healthz",
    "kube-proxy": "http://127.0.0.1:10249/healthz",
    "kube-network-policy": "http://127.0.0.1:20244/healthz",
}
# Of several, one acts, and only once it has the lease: the one that went may not have given it back.
_LEADERS = {"kube-scheduler": "scheduler", "kube-controller-manager": "controller-manager"}
_LEASES = "https://127.0.0.1:6443/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
# The services of the timers that disruption.py sets.
_UNDO_NOW = """
for timer in $(systemctl list-units --no-legend --plain --type=timer 'kubeproof-verify-undo-*' | cut -d' ' -f1); do
  systemctl start --wait "${timer%.timer}.service" || true
  systemctl stop "$timer" 2>/dev/null || true
done
"""
_NET_TABLE = "kubeproof_saboteur"
# Values of pod_network_plugin.
_OWN_NETWORKS = ("bridge", "flannel")


@contextmanager
def stopped(host: Host, unit: str) -> Iterator[None]:
    """Stop a unit; it does its work again when the block is over."""
    with disruption.stopped(host, unit):
        yield
    await_health(host, unit)


@contextmanager
def flags(host: Host, unit: str, *more: str, without: Sequence[str] = (), program: str = "") -> Iterator[None]:
    """Restart a component with more flags, or without some (``--name``); the last of two that are the same counts.

    ``program``: the file that is run in place of its own.
    """

    def edit(command: list[str]) -> list[str]:
        command = [program or command[0], *command[1:]]
        return [*(word for word in command if word.partition("=")[0] not in without), *more]

    component = component_control.component(host, unit)
    if isinstance(component, component_control.StaticPod):
        with _other_command(host, component, edit):
            yield
        return
    lines = ["[Service]", "ExecStart=", f"ExecStart={' '.join(edit(_command(host, unit)))}"]
    with drop_in(host, unit, *lines):
        yield


@contextmanager
def _other_command(
    host: Host, component: component_control.StaticPod, edit: Callable[[list[str]], list[str]]
) -> Iterator[None]:
    do, undo = component_control.with_command(host, component, edit)
    with undone(host, undo):
        host.run("sh -c %s", do)
        await_health(host, component.name)
        yield
    await_health(host, component.name)


@contextmanager
def drop_in(host: Host, unit: str, *lines: str) -> Iterator[None]:
    """Restart a unit with lines added to its unit file, and wait until it does its work; afterwards without them."""
    with disruption.drop_in(host, unit, *lines, name=_PREFIX):
        await_health(host, unit)
        yield
    await_health(host, unit)


@contextmanager
def changed_file(host: Host, path: str, edit: Callable[[str], str], *units: str) -> Iterator[None]:
    """Change a file's text, and restart the units that read it. Content, owner, mode and times are put back."""
    saved = _SAVED / secrets.token_hex(4)
    restart = "".join(f"\n{component_control.component(host, unit).restart}" for unit in units)
    original = host.run("cat %s", path)
    changed = edit(original)
    if changed == original:
        raise ValueError(f"{path} on {host} is the same after the change")
    host.run("mkdir -p %s && cp --preserve=all %s %s", str(saved), path, f"{saved}/file")
    # The copy that is put in place has the original's owner and mode; a reader sees the one or the other.
    put_back = f"cp --preserve=all {saved}/file {shlex.quote(path)} && rm -r {saved}; rmdir {_SAVED} 2>/dev/null"
    with undone(host, put_back + restart):
        host.run("printf %%s %s > %s", changed, path)
        _restart(host, units)
        yield
    for unit in units:
        await_health(host, unit)


@contextmanager
def exchanged_program(host: Host, path: str, change: str, unit: str, *, restart: bool) -> Iterator[None]:
    """Put a copy of a program in its place, and have the unit run it if it is restarted; then the very file is back.

    ``change``: a shell command that changes the copy, ``$copy``, or ``true``.
    """
    component = component_control.component(host, unit)
    aside, copied = f"{path}.{_PREFIX}", f"{path}.{_PREFIX}-copy"
    exchange = f"""set -e
cp --preserve=all {path} {copied}
copy={copied}
{change}
ln {path} {aside}
mv {copied} {path}
"""
    # Its inode is another one while the other file is there: what was started from the original has been replaced.
    undo = f"rm -f {copied}; if [ -e {aside} ]; then mv {aside} {path}; fi\n{component.restart}"
    with undone(host, undo):
        host.run("sh -c %s", exchange)
        if restart:
            host.run("sh -c %s", component.restart)
            await_health(host, unit)
        yield
    await_health(host, unit)


@contextmanager
def added_file(host: Host, path: str, content: str, *units: str) -> Iterator[None]:
    """A file that was not there."""
    restart = "".join(f"\n{component_control.component(host, unit).restart}" for unit in units)
    with undone(host, f"rm -f {shlex.quote(path)}{restart}"):
        host.run("printf %%s %s > %s", content, path)
        _restart(host, units)
        yield
    for unit in units:
        await_health(host, unit)


@contextmanager
def done(host: Host, command: str, undo: str) -> Iterator[None]:
    """Run a shell command on a host, and another one that takes it back."""
    with undone(host, undo):
        host.run("sh -c %s", command)
        yield


@contextmanager
def running(host: Host, command: str) -> Iterator[str]:
    """Have a program run on a host, as a unit of systemd, whose name is the value."""
    unit = f"{_PREFIX}-{secrets.token_hex(4)}"
    with undone(host, f"systemctl stop {unit} 2>/dev/null || true"):
        host.run(f"systemd-run --quiet --collect --unit={unit} {IN_PATH} sh -c %s", command)
        yield unit
        if host.attempt(f"systemctl is-active {unit}")[0] != 0:
            raise RuntimeError(f"what was to run on {host} all the time has ended by itself: {command}")


@contextmanager
def rules(host: Host, chains: str, family: str = "inet") -> Iterator[None]:
    """Packet rules on a host: the chains of an nft table of their own."""
    with undone(host, f"nft delete table {family} {_NET_TABLE}"):
        host.run("printf %%s %s | nft -f -", f"table {family} {_NET_TABLE} {{\n{chains}\n}}\n")
        yield


@contextmanager
def meddling(act: Callable[[], bool]) -> Iterator[None]:
    """Have something done beside the verification, over and over until it returns True. Its errors come out at the end.

    An API server or a pod that goes away under it is met again at the next try.
    """
    over = threading.Event()
    errors: list[Exception] = []

    def meddle() -> None:
        while not over.wait(_PAUSE / 4):
            try:
                if act():
                    return
            except (ApiError, CommandFailed, LookupError, httpx.HTTPError) as error:
                errors[:] = [error]

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        yield
    finally:
        done_by_itself = not thread.is_alive()
        over.set()
        thread.join()
    if errors and not done_by_itself:
        raise errors[0]


@contextmanager
def once_ready(cluster: Cluster, names: Sequence[str], act: Callable[[list[Object]], Any]) -> Iterator[None]:
    """Have something done as soon as pods of a verification are ready, which are given to it; names may be prefixes."""

    def look() -> bool:
        # Names that end in "-" are those of several pods, one on each node.
        wanted = sum(len(cluster.nodes) if each.endswith("-") else 1 for each in names)
        pods = [
            pod for pod in verifications_pods(cluster.api) if name(pod).startswith(tuple(names)) and holds(pod, "Ready")
        ]
        if len(pods) < wanted:
            return False
        act(pods)
        return True

    with meddling(look):
        yield


def etcdctl(cluster: Cluster) -> str:
    """The operator's etcdctl on an etcd host, to be followed by what it is to do."""
    identity = f"--cacert {etcd.PKI}/ca.crt --cert {etcd.PKI}/operator.crt --key {etcd.PKI}/operator.key"
    return f"etcdctl {identity} --endpoints https://127.0.0.1:{cluster.settings['cluster_etcd_port']}"


def verifications_pods(api: Api) -> list[Object]:
    """The pods of all verifications, those that are about to go left out."""
    pods = api.items("/api/v1/pods")
    return [
        pod
        for pod in pods
        if pod["metadata"]["namespace"].startswith(PREFIX) and "deletionTimestamp" not in pod["metadata"]
    ]


@contextmanager
def everywhere(hosts: Sequence[Host], tamper: Callable[[Host], Any]) -> Iterator[None]:
    """The same on several hosts, one after the other: ``tamper`` makes the context of one."""
    with ExitStack() as undo:
        for host in hosts:
            undo.enter_context(tamper(host))
        yield


@contextmanager
def created(api: Api, *items: tuple[str, Object]) -> Iterator[None]:
    """Objects in the API, each given with the path of its collection."""
    with ExitStack() as undo:
        for collection, item in items:
            metadata = {**item["metadata"], "labels": {**item["metadata"].get("labels", {}), LABEL: "yes"}}
            undo.callback(_persist, functools.partial(api.delete, f"{collection}/{metadata['name']}"))
            api.request("POST", collection, {**item, "metadata": metadata}).required()
        yield


@contextmanager
def changed_object(api: Api, path: str, edit: Callable[[Object], None]) -> Iterator[None]:
    """An object of the API changed, and put back as it was except for what only the API server writes."""
    original = api.get(path)
    wanted = copy.deepcopy(original)
    edit(wanted)
    try:
        api.request("PUT", path, wanted).required()
        yield
    finally:
        _persist(lambda: _put_back(api, path, original))


@contextmanager
def bound_to_cluster_admin(api: Api, *subjects: Mapping[str, str]) -> Iterator[None]:
    """Users or groups given every right."""
    version = "rbac.authorization.k8s.io/v1"
    binding = {
        "apiVersion": version,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": _PREFIX},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", **subject} for subject in subjects],
    }
    with created(api, (f"/apis/{version}/clusterrolebindings", binding)):
        yield


@contextmanager
def admission(
    api: Api, resource: str, mutation: str, *, operations: Sequence[str] = ("CREATE", "UPDATE"), **more: Any
) -> Iterator[None]:
    """An admission policy that changes what is written in verifications' namespaces.

    ``resource`` is GROUP/VERSION/RESOURCE, ``mutation`` an expression that makes an ``Object{…}`` to be applied, or a
    list of ``JSONPatch{…}``; ``more`` goes into the policy's spec.
    https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
    """
    group, version, plural = resource.split("/")
    root = "/apis/admissionregistration.k8s.io/v1"
    kind = "ApplyConfiguration" if mutation.startswith("Object{") else "JSONPatch"
    field = kind[0].lower() + kind[1:] if kind == "ApplyConfiguration" else "jsonPatch"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": _PREFIX},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchExpressions": [{"key": "kubeproof.io/verification", "operator": "Exists"}]},
                "resourceRules": [
                    {
                        "apiGroups": [group],
                        "apiVersions": [version],
                        "operations": list(operations),
                        "resources": [plural],
                    }
                ],
            },
            "mutations": [{"patchType": kind, field: {"expression": mutation}}],
            **more,
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": _PREFIX},
        "spec": {"policyName": _PREFIX},
    }
    with created(
        api, (f"{root}/mutatingadmissionpolicies", policy), (f"{root}/mutatingadmissionpolicybindings", binding)
    ):
        # Nothing tells when a server has compiled it, which each does once a second for what it has heard of.
        time.sleep(_COMPILED_SECONDS)
        yield


def await_health(host: Host, unit: str) -> None:
    """Wait until a unit that was just started does its work."""
    started = float(host.run("date +%s.%N"))
    if unit in _HEALTH:
        _await(f"{unit} on {host} is healthy", lambda: host.http(_HEALTH[unit], timeout=2.0).get("status") == 200)
    if unit in _LEADERS:
        _await(f"somebody acts as {unit}", lambda: _renewed(host, unit) > started)


def remove_leftovers(cluster: Cluster) -> None:
    """Undo now what a run that was killed has left: hosts would get to it by themselves later."""
    hosts.on_hosts(cluster.hosts.all, lambda host: host.run(_UNDO_NOW))
    for collection in snapshot.collections(cluster.api):
        for item in cluster.api.items(collection, labelSelector=LABEL):
            cluster.api.delete(f"{collection}/{item['metadata']['name']}")


def _renewed(host: Host, unit: str) -> float:
    """When the lease of the one that acts was renewed, as the component itself may see it; 0 if nobody has it."""
    client = f"/etc/kubernetes/{_LEADERS[unit]}/client"
    answer = host.http(f"{_LEASES}/{unit}", ca=CA_FILE, cert=f"{client}.crt", key=f"{client}.key", timeout=2.0)
    lease = json.loads(answer["body"])["spec"] if answer.get("status") == 200 else {}
    if not lease.get("holderIdentity"):
        return 0.0
    return datetime.datetime.fromisoformat(lease["renewTime"]).timestamp()


def three_members(cluster: Cluster) -> tuple[Host, ...]:
    """The hosts of etcd, where one of its members can be missed."""
    if len(cluster.etcd_hosts) < 3:
        raise NotObservable("it takes three etcd members")
    return cluster.etcd_hosts


def demand_own_network(cluster: Cluster) -> None:
    """Raise NotObservable unless pods have kubeproof's bridge, unit and configuration, which are to be tampered with.

    On other networks that would harm nothing.
    """
    network = cluster.settings["pod_network_plugin"]
    if network not in _OWN_NETWORKS:
        raise NotObservable(f"pod_network_plugin is {network}: it has no bridge of kubeproof's")


def followers(cluster: Cluster, component: str) -> list[Host]:
    """The hosts whose scheduler or controller manager does not have the lease."""
    leader = leader_election.holder(cluster, leader_election.lease(cluster.api, component))
    return [host for host in leader_election.several_control_plane_hosts(cluster) if host is not leader]


def _await(what: str, is_so: Callable[[], bool]) -> None:
    if not waiting.until(is_so, _HEALTHY_SECONDS, pause=_PAUSE):
        raise TimeoutError(f"not within {_HEALTHY_SECONDS:.0f} s: {what}")


def _restart(host: Host, units: Sequence[str]) -> None:
    for unit in units:
        host.run("sh -c %s", component_control.component(host, unit).restart)
    for unit in units:
        await_health(host, unit)


def _command(host: Host, unit: str) -> list[str]:
    """The words of a unit's command."""
    text = host.run("cat %s", f"/etc/systemd/system/{unit}.service")
    found = re.search(r"^ExecStart=((?:.*\\\n)*.*)$", text, re.MULTILINE)
    if not found:
        raise LookupError(f"the unit {unit} of {host} has no command")
    return found[1].replace("\\\n", " ").split()


def _put_back(api: Api, path: str, original: Object) -> None:
    now = api.get(path)
    now["metadata"].update({key: original["metadata"].get(key, {}) for key in ("labels", "annotations")})
    kept = {key: value for key, value in original.items() if key not in {"metadata", "status"}}
    api.request("PUT", path, {**{key: now[key] for key in ("metadata", "status") if key in now}, **kept}).required()


def _persist(action: Callable[[], Any]) -> None:
    """Undo something in an API that may be about to come back, or was changed by somebody else in between."""
    deadline = time.monotonic() + _HEALTHY_SECONDS
    while time.monotonic() < deadline:
        with suppress(ApiError, httpx.HTTPError):
            action()
            return
        time.sleep(_PAUSE)
    action()
