"""A cluster as it was: what a saboteur has to leave behind as it found it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from kubeproof.verify.act.workspace import PREFIX
from kubeproof.verify.observe import hosts
from kubeproof.verify.observe.api import Api, ApiError
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import CommandFailed, Host
from kubeproof.verify.observe.objects import Object, holds

# What is there, by where it is.
Snapshot = Mapping[str, frozenset[str]]

_PAUSE = 0.5
_SHOWN = 12
# States of units; files that kubeproof or systemd reads, with mode, owner and digest; programs; rules, routes, and
# processes that were stopped. Sessions come and go with whoever looks.
_LOOK = r"""
systemctl list-units --all --no-legend --plain --full --type=service,timer,socket,path |
  awk '$3 != "inactive" && $1 !~ /^(user@|user-runtime-dir@|systemd-tmpfiles-clean)/ {print "unit " $1 "\t" $3}'
set -- /etc/kubernetes /etc/etcd /etc/containerd /etc/cni /etc/systemd/system /etc/resolv.conf /etc/hosts \
  /run/systemd/system /run/systemd/system.control /run/kubeproof-saboteur
find "$@" -printf 'file %p\t%M %U:%G %l\n' 2>/dev/null
find "$@" -type f -exec sha256sum {} + 2>/dev/null | awk '{print "file " $2 "\t" $1}'
find /usr/local/bin /opt/cni/bin -type f -printf 'file %p\t%M %s %T@\n' 2>/dev/null
nft list tables | sed 's/^/rules\t/'
ip -o route show | grep -v ' dev cni' | sed 's/^/route\t/'
ps -eo stat=,comm= | awk '$1 ~ /^T/ {print "stopped process\t" $2}'
"""
# What changes by itself, or is made of something that is looked at.
_FLEETING = {
    "componentstatuses",
    "controllerrevisions",
    "endpoints",
    "endpointslices",
    "events",
    "ipaddresses",
    "leases",
    "replicasets",
}
# When the kubelet has read a static pod's manifest, and how often the pods of a DaemonSet were changed.
_FLEETING_ANNOTATIONS = {"kubernetes.io/config.seen", "deprecated.daemonset.template.generation"}
_FLEETING_METADATA = {"creationTimestamp", "generation", "managedFields", "ownerReferences", "resourceVersion", "uid"}


def take(cluster: Cluster) -> Snapshot:
    """Look at all that saboteurs might change."""
    found: dict[str, set[str]] = {}
    for host, lines in hosts.on_hosts(cluster.hosts.all, _look).items():
        for line in lines:
            what, _, value = line.partition("\t")
            found.setdefault(f"{host}: {what}", set()).add(value)
    for path, item in _objects(cluster.api):
        found[path] = set(_leaves(item))
    found["etcd: members"] = {f"{member.name} {member.peer_urls}" for member in cluster.etcd.members()}
    return {what: frozenset(values) for what, values in found.items()}


def differences(before: Snapshot, now: Snapshot) -> list[str]:
    """What is not as it was, in words."""
    found = []
    for what in sorted(before.keys() | now.keys()):
        was, is_ = before.get(what, frozenset()), now.get(what, frozenset())
        if was != is_:
            gone = [f"was {value}" for value in sorted(was - is_)] if what in before else ["was not there"]
            new = [f"is {value}" for value in sorted(is_ - was)] if what in now else ["is gone"]
            found.append(f"{what}: {', '.join([*gone, *new][:_SHOWN])}")
    return found


def await_same(cluster: Cluster, before: Snapshot, timeout: float) -> list[str]:
    """Wait until the cluster is as it was; what is different after that time."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            left = differences(before, take(cluster))
        except (ApiError, CommandFailed, httpx.HTTPError) as error:
            left = [f"it cannot be looked at: {error}"]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(_PAUSE)


def _look(host: Host) -> list[str]:
    return host.run(_LOOK).splitlines()


def _objects(api: Api) -> Iterator[tuple[str, Object]]:
    """All objects that are not of a verification, each with its path."""
    for collection in collections(api):
        for item in api.items(collection):
            metadata = item["metadata"]
            namespace = metadata.get("namespace", "")
            if not namespace.startswith(PREFIX) and not metadata["name"].startswith(PREFIX) and not _of_a_set(item):
                place = f"{namespace}/" if namespace else ""
                yield f"{collection} {place}{metadata['name']}", _lasting(item, collection)


def collections(api: Api) -> Iterator[str]:
    """The paths of all collections that the API servers have themselves, that of each kind once."""
    services = [item["spec"] for item in api.items("/apis/apiregistration.k8s.io/v1/apiservices")]
    # What others serve, such as measurements, is never twice the same, and may be what is broken.
    elsewhere = {f"{spec['group']}/{spec['version']}" for spec in services if spec.get("service")}
    groups = [group["preferredVersion"]["groupVersion"] for group in api.get("/apis")["groups"]]
    for root in ["/api/v1", *(f"/apis/{group}" for group in groups if group not in elsewhere)]:
        for resource in api.get(root)["resources"]:
            if "list" in resource["verbs"] and resource["name"] not in _FLEETING:
                yield f"{root}/{resource['name']}"


def _of_a_set(item: Object) -> bool:
    """Whether it is one of several alike, whose names change and whose owner tells how many are ready."""
    return any(owner["kind"] in {"ReplicaSet", "DaemonSet"} for owner in item["metadata"].get("ownerReferences", []))


def _lasting(item: Object, collection: str) -> Object:
    """The part of an object that stays the same unless somebody changes it."""
    metadata = {key: value for key, value in item["metadata"].items() if key not in _FLEETING_METADATA}
    lasting = {key: value for key, value in item.items() if key not in {"metadata", "status"}}
    if "annotations" in metadata:
        metadata["annotations"] = {
            key: value for key, value in metadata["annotations"].items() if key not in _FLEETING_ANNOTATIONS
        }
    status = item.get("status", {})
    if collection.endswith("/secrets"):
        lasting["data"] = hashlib.sha256(repr(item.get("data")).encode()).hexdigest()
    if collection.endswith("/nodes"):
        lasting["ready"], lasting["resources"] = holds(item, "Ready"), sorted(status.get("capacity", {}))
    if "readyReplicas" in status or "replicas" in item.get("spec", {}):
        lasting["ready"] = status.get("readyReplicas", 0)
    return {"metadata": metadata, **lasting}


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    """The leaves of a tree with their paths, so that a difference names the field."""
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from _leaves(each, f"{path}[{number}]")
    else:
        yield f"{path}={value}"
