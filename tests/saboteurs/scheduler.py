"""What makes the claims about the scheduler false."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import yaml
from tests.saboteurs.framework.mutations import (
    changed_file,
    everywhere,
    followers,
    meddling,
    stopped,
    verifications_pods,
)
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act.disruption import stopped_everywhere
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.observe.objects import name

_CONFIG = "/etc/kubernetes/scheduler/config.yaml"
_WITHOUT = """
profiles:
  - plugins:
      multiPoint:
        disabled: [{plugins}]
"""
# What suits best is then that node, whatever it has to do.
_PACKING = """
profiles:
  - plugins:
      score:
        disabled: [{{name: "*"}}]
        enabled: [{{name: NodeAffinity}}]
    pluginConfig:
      - name: NodeAffinity
        args:
          addedAffinity:
            preferredDuringSchedulingIgnoredDuringExecution:
              - weight: 100
                preference: {{matchFields: [{{key: metadata.name, operator: In, values: [{node}]}}]}}
"""
_TWO_NAMES = """
profiles:
  - schedulerName: default-scheduler
  - schedulerName: kubeproof-verify-second
"""


@saboteur(
    "sched-resources",
    "sched-pending",
    "masters-unscheduled",
    breaks="The scheduler is stopped",
    says="is bound: not within|said to be unschedulable: not within|judges a pod .* not within",
)
def no_scheduler(cluster: Cluster) -> Iterator[None]:
    with everywhere(cluster.control_plane, lambda host: stopped(host, "kube-scheduler")):
        yield


@saboteur(
    "sched-binding",
    "pod-way",
    breaks="The administrator binds pods, and the scheduler is stopped",
    says="was bound by .*admin.*, not by (the scheduler|system:kube-scheduler)",
    quick=True,
)
def somebody_else_binds(cluster: Cluster) -> Iterator[None]:
    node = cluster.workers[0].name

    def bind() -> bool:
        for pod in verifications_pods(cluster.api):
            if "nodeName" not in pod["spec"]:
                metadata = {"name": name(pod), "namespace": pod["metadata"]["namespace"]}
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
                target = {"apiVersion": "v1", "kind": "Node", "name": node}
                binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
                cluster.api.request("POST", path, binding)
        return False

    with everywhere(cluster.control_plane, lambda host: stopped(host, "kube-scheduler")), meddling(bind):
        yield


@saboteur(
    "sched-resources",
    "sched-pending",
    breaks="The scheduler does not look at what is left on nodes",
    says="was put on",
)
def scheduler_without_fit(cluster: Cluster) -> Iterator[None]:
    with _without(cluster, "NodeResourcesFit"):
        yield


def _configured(cluster: Cluster, instead: str) -> AbstractContextManager[None]:
    """Give the scheduler another configuration, as far as it is given."""

    def edit(text: str) -> str:
        return yaml.safe_dump({**yaml.safe_load(text), **yaml.safe_load(instead)})

    return everywhere(cluster.control_plane, lambda host: changed_file(host, _CONFIG, edit, "kube-scheduler"))


def _without(cluster: Cluster, *plugins: str) -> AbstractContextManager[None]:
    return _configured(cluster, _WITHOUT.format(plugins=", ".join(f"{{name: {plugin}}}" for plugin in plugins)))


@saboteur(
    "sched-affinity",
    breaks="The scheduler does not look at affinity between pods",
    says="(?s)pods that shun each other.*a pod that must be with one on .* is put on",
)
def scheduler_without_pod_affinity(cluster: Cluster) -> Iterator[None]:
    with _without(cluster, "InterPodAffinity"):
        yield


@saboteur(
    "sched-constraints",
    breaks="The scheduler does not look at taints, nor at how pods are to be spread",
    says="(?s)tolerates nothing is put on .*, which is tainted.*whose skew must not exceed 1",
)
def scheduler_without_taints_and_spread(cluster: Cluster) -> Iterator[None]:
    with _without(cluster, "TaintToleration", "PodTopologySpread"):
        yield


@saboteur(
    "sched-constraints",
    breaks="The scheduler does not look at node selectors",
    says="which its node selector .* rules out",
)
def scheduler_without_selectors(cluster: Cluster) -> Iterator[None]:
    with _without(cluster, "NodeAffinity"):
        yield


@saboteur(
    "sched-rank",
    breaks="The scheduler puts pods on one node for as long as they fit",
    says="are not spread over nodes that all fit",
)
def scheduler_that_packs(cluster: Cluster) -> Iterator[None]:
    # By name: by what nodes have to do two would be equal to it now and then, and four pods spread by chance.
    with _configured(cluster, _PACKING.format(node=cluster.workers[1].name)):
        yield


@saboteur(
    "sched-multiple",
    breaks="The scheduler takes care of pods that name another one, too",
    says="names kubeproof-verify-second, and was bound to .* without it",
)
def scheduler_with_two_names(cluster: Cluster) -> Iterator[None]:
    with _configured(cluster, _TWO_NAMES):
        yield


@saboteur(
    "sched-multiple",
    breaks="The default scheduler answers to the name of another one, which is stopped",
    says="was bound by .*system:kube-scheduler'.*, not by system:kube-scheduler:",
)
def scheduler_in_anothers_name(cluster: Cluster) -> Iterator[None]:
    if not cluster.settings["scheduler_more"]:
        raise NotObservable("it takes a further scheduler")
    other = str(min(cluster.settings["scheduler_more"]))
    names = yaml.safe_dump({"profiles": [{"schedulerName": "default-scheduler"}, {"schedulerName": other}]})
    stopped_other = everywhere(cluster.control_plane, lambda host: stopped(host, f"kube-scheduler-{other}"))
    with stopped_other, _configured(cluster, names):
        yield


@saboteur(
    "sched-needed",
    breaks="Another client binds pods while the scheduler is stopped",
    says="is bound to .* though no scheduler runs",
)
def somebody_steps_in(cluster: Cluster) -> Iterator[None]:
    node = cluster.workers[0].name

    def bind() -> bool:
        for pod in verifications_pods(cluster.api):
            if name(pod) == "newcomer" and "nodeName" not in pod["spec"]:
                metadata = {"name": name(pod), "namespace": pod["metadata"]["namespace"]}
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
                target = {"apiVersion": "v1", "kind": "Node", "name": node}
                binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
                cluster.api.request("POST", path, binding).required()
                return True
        return False

    with meddling(bind):
        yield


@saboteur(
    "sched-only-decides",
    breaks="Another client reports that a pod runs as soon as it is bound",
    says="is said to run on .* though the kubelet there is stopped",
)
def running_as_soon_as_bound(cluster: Cluster) -> Iterator[None]:
    def claim() -> bool:
        for pod in verifications_pods(cluster.api):
            if name(pod) == "decided" and "nodeName" in pod["spec"]:
                path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/decided/status"
                cluster.api.patch(path, {"status": {"phase": "Running"}})
                return True
        return False

    with meddling(claim):
        yield


@saboteur(
    "sched-leader",
    breaks="All schedulers but the one that leads are stopped",
    says="the kube-scheduler of .* was killed nobody has taken its lease",
)
def schedulers_that_do_not_stand_in(cluster: Cluster) -> Iterator[None]:
    with stopped_everywhere(followers(cluster, "kube-scheduler"), "kube-scheduler"):
        yield
