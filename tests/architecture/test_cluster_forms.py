"""In which form components run: looked at from the process that serves a component's port."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from kubeproof.settings import schedulers
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import objects, sockets
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.component_control import Form
from kubeproof.verify.observe.hosts import Host, on_hosts
from kubeproof.verify.observe.objects import Object

_CONTROL_PLANE = {"services": Form.SERVICE, "static-pods": Form.STATIC_POD}
_PROXY = {"service": Form.SERVICE, "daemonset": Form.DAEMONSET}
# A pod's control group, by either of the kubelet's drivers, and a service's.
_POD = re.compile(r"/(?:kubepods[^/]*-)?pod([0-9a-f][0-9a-f_-]{31,35})(?:\.slice)?(?:/|$)", re.MULTILINE)
_SERVICE = re.compile(r"/system\.slice/([^/\n]+)\.service(?:/|$)", re.MULTILINE)
_SOURCE, _HASH = "kubernetes.io/config.source", "kubernetes.io/config.hash"


@dataclass(frozen=True)
class Wanted:
    """A component, the port that it serves on its hosts, and the form that was asked for."""

    name: str
    port: int
    hosts: tuple[Host, ...]
    form: Form


@pytest.mark.claim("controlplane-forms")
def test_each_component_runs_in_the_form_that_was_asked_for(cluster: Cluster, api: Api, evidence: Evidence) -> None:
    listening = on_hosts(
        cluster.hosts.all, lambda host: {socket.local[1]: socket.pids for socket in sockets.listening(host)}
    )
    pods = {_uid(pod): pod for pod in api.items("/api/v1/namespaces/kube-system/pods")}
    wanted = _wanted(cluster)
    for component in wanted:
        for host in component.hosts:
            pids = listening[host.name].get(component.port)
            assert pids, f"nobody on {host} serves {component.name}'s port {component.port}"
            told = _told(host, min(pids), pods)
            evidence[f"{component.name} on {host}"] = told
            expected = _expected(component, host)
            assert told == expected, f"{component.name} on {host} runs as {told}, not as {expected}"
            if component.form is not Form.SERVICE:
                _no_unit(host, component.name)
    forms = {component.form for component in wanted}
    evidence.headline = f"{len(wanted)} components on {len(listening)} hosts, as {' and '.join(sorted(forms))}"


def _wanted(cluster: Cluster) -> list[Wanted]:
    settings, hosts = cluster.settings, cluster.control_plane
    form = _CONTROL_PLANE[settings["cluster_control_plane_form"]]
    instances = schedulers.instances(settings["scheduler_more"], int(settings["scheduler_port"]), {}, {})
    return [
        Wanted("kube-apiserver", cluster.api_servers[0][1], hosts, form),
        Wanted("kube-controller-manager", int(settings["controller_manager_port"]), hosts, form),
        *(Wanted(each["unit"].removesuffix(".service"), int(each["port"]), hosts, form) for each in instances),
        *(
            Wanted(
                "kube-proxy",
                int(settings["kube_proxy_health_port"]),
                tuple(node.host for node in cluster.nodes),
                _PROXY[form],
            )
            for form in [settings["kube_proxy_form"]]
            if form in _PROXY
        ),
    ]


def _expected(component: Wanted, host: Host) -> str:
    if component.form is Form.STATIC_POD:
        return f"{Form.STATIC_POD} {component.name}-{host} from a file"
    return f"{component.form} {component.name}"


def _told(host: Host, pid: int, pods: Mapping[str, Object]) -> str:
    """What a process is, by its control group, and by what the API knows of the pod that this names."""
    groups = host.run("cat %s", f"/proc/{pid}/cgroup")
    in_pod, in_service = _POD.search(groups), _SERVICE.search(groups)
    if in_pod:
        return _pod_told(pods.get(in_pod[1].replace("_", "-")), host)
    return f"{Form.SERVICE} {in_service[1]}" if in_service else f"a process in {groups.split()}"


def _pod_told(pod: Object | None, host: Host) -> str:
    if pod is None:
        return "a pod that the API does not know"
    if pod["spec"].get("nodeName") != host.name:
        return f"a pod that the API knows on {pod['spec'].get('nodeName')}"
    source = pod["metadata"].get("annotations", {}).get(_SOURCE)
    if source:
        return f"{Form.STATIC_POD} {objects.name(pod)} from a {source}"
    owner = next(iter(pod["metadata"].get("ownerReferences", [])), {"kind": "pod", "name": objects.name(pod)})
    return f"{owner['kind'].lower()} {owner['name']}"


def _uid(pod: Object) -> str:
    """The UID under which its kubelet runs a pod: of a static one, that of its manifest."""
    metadata = pod["metadata"]
    return str(metadata.get("annotations", {}).get(_HASH) or metadata["uid"])


def _no_unit(host: Host, name: str) -> None:
    told = host.run("systemctl show --property=LoadState --value %s", f"{name}.service").strip()
    assert told == "not-found", f"{name} is a pod on {host}, and a service still: its unit is {told}"
