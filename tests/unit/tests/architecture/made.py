"""What the verification's tests are given here in a cluster's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from kubeproof.verify.observe.cluster import Cluster, Node
from kubeproof.verify.observe.hosts import Host
from kubeproof.verify.observe.objects import Object

Answers = Callable[[str], str | None]


class Shell:
    """A host's shell: what it answers to a command, which has failed if that is None."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def run(self, command: str, *arguments: str) -> Any:
        told = self._answers(command % arguments if arguments else command)
        return SimpleNamespace(rc=int(told is None), stdout=told or "", stderr="")


def host(name: str, address: str, *groups: str, answers: Answers = lambda _: None) -> Host:
    return Host(name, frozenset(groups), address, Shell(answers))


def node(at: Host, *, cordoned: bool = False, taints: tuple[str, ...] = ()) -> Node:
    keys = [*taints, *(["node.kubernetes.io/unschedulable"] if cordoned else [])]
    spec: Object = {"taints": [{"key": key, "effect": "NoSchedule"} for key in keys]}
    if cordoned:
        spec["unschedulable"] = True
    metadata = {"name": at.name, "labels": {"kubernetes.io/hostname": at.name}}
    return Node(at.name, at.address, (), 10250, at, {"metadata": metadata, "spec": spec})


def cluster(*hosts: Host, nodes: tuple[Node, ...] = (), **settings: Any) -> Cluster:
    """One with these hosts; ``settings`` as far as a test asks for them."""
    known: Mapping[str, Any] = {"cluster_etcd_port": 2379, "controller_manager_node_grace_seconds": 50, **settings}
    etcd_hosts = [each for each in hosts if "etcd" in each.groups]
    made = SimpleNamespace(
        hosts=SimpleNamespace(all=hosts, away=()),
        etcd_hosts=etcd_hosts,
        nodes=nodes,
        workers=tuple(each for each in nodes if each.schedulable),
        settings=known,
        api_servers=(("10.0.0.1", 6443),),
        api=SimpleNamespace(patience=1.0, patient=lambda seconds: seconds),
    )
    return cast(Cluster, made)
