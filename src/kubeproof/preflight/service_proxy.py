"""Checks of what serves Services on nodes: kube-proxy, or a pod network in its place (``kube_proxy_form: none``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import Host

SETTING = "kube_proxy_form"
REPLACING = ("cilium", "none")
"""Values of ``pod_network_plugin`` with which something else than kube-proxy may serve Services."""
_UNIT, _KUBELET = "kube-proxy.service", "kubelet.service"


def check_form(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether something serves Services where kube-proxy is not installed."""
    network = str(values.get("pod_network_plugin"))
    if values.get(SETTING) != "none" or network in REPLACING:
        return
    wrong = (
        f"{SETTING} is none, and pod_network_plugin is {network}, which leaves Services to kube-proxy: nothing would "
        "answer at the address of any Service, not at the API's either, on which the cluster's DNS depends"
    )
    remediation = (
        f"Set {SETTING} to service or daemonset; or, before the first installation, pod_network_plugin to one that "
        "replaces kube-proxy: cilium, or none for one of your own that does."
    )
    yield Finding("kube-proxy", wrong, remediation, SETTING)


def check_change(host: Host, values: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether a host's kube-proxy can go, or come: with a network of the user's own only, and node by node."""
    now, then = str(values.get(SETTING)), before(host)
    if not then or now == then or "none" not in (now, then):
        return
    if values.get("pod_network_plugin") != "none":
        problem = (
            f"`{SETTING}` is {now}, and it was installed with {then}: connections to Services are held by what serves "
            "these now, and would be cut on all nodes"
        )
        remediation = (
            f"Set it back to {then}. Only a new cluster can have another value: playbooks/reset.yml uninstalls this "
            "one."
        )
        yield Finding("installed-setting", problem, remediation, SETTING, host.name)
    elif then == "daemonset":
        problem = (
            f"`{SETTING}` is none, and it was installed with daemonset, which would be removed from all nodes at once, "
            "whether or not something else serves Services there"
        )
        remediation = (
            "Set it to service and run playbooks/cluster.yml, then to none: a service is removed node by node, and "
            "started again where the API's Service is not answered without it."
        )
        yield Finding("installed-setting", problem, remediation, SETTING, host.name)


def before(host: Host) -> str:
    """The form with which a host was installed, empty if none was. Hosts did not always remember it."""
    if host.report is None:
        return ""
    installed = host.report["installed"]
    recorded = str(installed["settings"].get(SETTING, ""))
    if recorded or _KUBELET not in installed["units"]:
        return recorded
    return "service" if _UNIT in installed["units"] else "daemonset"
