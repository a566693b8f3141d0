"""What serves Services: kube-proxy, or a pod network in its place."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.preflight.builders import VALUES, host

from kubeproof.preflight import Variables
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.installed import check_installed
from kubeproof.preflight.service_proxy import check_form

UNITS = ["kubelet.service", "kube-proxy.service"]


@pytest.mark.parametrize("plugin", ["bridge", "flannel", "calico"])
def test_services_need_kube_proxy_where_the_network_leaves_them_to_it(plugin: str) -> None:
    (finding,) = check_form({"kube_proxy_form": "none", "pod_network_plugin": plugin})
    assert (finding.id, finding.subject, finding.severity) == ("kube-proxy", "kube_proxy_form", "error")
    assert f"pod_network_plugin is {plugin}" in finding.problem
    assert "service or daemonset" in finding.remediation
    for form in ("service", "daemonset"):
        assert list(check_form({"kube_proxy_form": form, "pod_network_plugin": plugin})) == []


@pytest.mark.parametrize("plugin", ["cilium", "none"])
def test_a_network_may_replace_kube_proxy(plugin: str) -> None:
    assert list(check_form({"kube_proxy_form": "none", "pod_network_plugin": plugin})) == []


def changes(then: str, now: str, plugin: str, *, units: list[str] | None = None) -> list[Finding]:
    settings = {"kube_proxy_form": then} if then else {}
    entry = host(1, installed={"settings": settings, "units": UNITS if units is None else units})
    values: dict[str, Any] = {**VALUES, "kube_proxy_form": now, "pod_network_plugin": plugin}
    return list(check_installed([Variables(entry, {}, values, {})]))


@pytest.mark.parametrize("plugin", ["bridge", "cilium", "none"])
@pytest.mark.parametrize(("then", "now"), [("service", "daemonset"), ("daemonset", "service"), ("none", "none")])
def test_kube_proxy_may_change_its_form(plugin: str, then: str, now: str) -> None:
    assert changes(then, now, plugin) == []


@pytest.mark.parametrize(("then", "now"), [("service", "none"), ("daemonset", "none"), ("none", "service")])
def test_a_network_of_ours_keeps_what_serves_services(then: str, now: str) -> None:
    (finding,) = changes(then, now, "cilium")
    assert (finding.id, finding.subject, finding.host) == ("installed-setting", "kube_proxy_form", "host1")
    assert f"is {now}, and it was installed with {then}" in finding.problem
    assert finding.remediation.startswith(f"Set it back to {then}.")


def test_with_a_network_of_ones_own_a_service_goes_and_comes_and_a_daemonset_only_by_way_of_it() -> None:
    assert changes("service", "none", "none") == []
    assert changes("none", "service", "none") == []
    assert changes("none", "daemonset", "none") == []
    (finding,) = changes("daemonset", "none", "none")
    assert finding.remediation.startswith("Set it to service")


def test_hosts_that_remember_no_form_are_known_by_their_units() -> None:
    assert changes("", "none", "none") == []
    (finding,) = changes("", "none", "none", units=["kubelet.service"])
    assert "installed with daemonset" in finding.problem
    # Before the first installation, and on hosts of etcd alone.
    assert changes("", "none", "none", units=["etcd.service"]) == []
