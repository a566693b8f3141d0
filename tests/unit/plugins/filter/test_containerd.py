"""What the files configure with which containerd uses mirrors of a registry."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from plugins.filter.containerd import containerd_ca_files, containerd_hosts_file

from kubeproof.verify.act.application_operator import gate

PULL = {"capabilities": ["pull", "resolve"]}
ONE, TWO = "https://one.example.org", "http://two.example.org:5000"


def hosts(upstream: str, given: object) -> dict[str, Any]:
    """The file's content, with its tables in their order, in which containerd asks."""
    file = containerd_hosts_file((upstream, given))
    assert file["dest"] == f"/etc/containerd/certs.d/{upstream}/hosts.toml"
    return tomllib.loads(file["content"])


def asked(found: dict[str, Any]) -> list[str]:
    """The URLs that containerd asks, in order: the server is the last one."""
    return [*found.get("host", {}), found["server"]]


@pytest.mark.parametrize("given", [[ONE, TWO], {"mirrors": [ONE, TWO]}, {"mirrors": [ONE, TWO], "fallback": True}])
def test_mirrors_are_asked_in_order_and_then_upstream(given: object) -> None:
    found = hosts("registry.example.org", given)
    assert found == {"server": "https://registry.example.org", "host": {ONE: PULL, TWO: PULL}}
    assert asked(found) == [ONE, TWO, "https://registry.example.org"]


def test_the_registry_of_a_name_that_is_a_web_site() -> None:
    """Its server has another name; with the web site a pull that no mirror could serve failed."""
    assert asked(hosts("docker.io", [ONE])) == [ONE, "https://registry-1.docker.io"]


def test_without_a_fallback_upstream_is_never_asked() -> None:
    found = hosts("docker.io", {"mirrors": [ONE, TWO], "fallback": False})
    # Without a server containerd would ask upstream.
    assert found == {"server": TWO, **PULL, "host": {ONE: PULL}}
    assert asked(found) == [ONE, TWO]
    assert hosts("docker.io", {"mirrors": [ONE], "fallback": False}) == {"server": ONE, **PULL}


def test_all_are_verified_by_the_ca_that_is_given() -> None:
    ca = gate.issue("one.example.org").ca
    path = "/etc/containerd/certs.d/docker.io/ca.crt"
    trust = {"ca": path}
    found = hosts("docker.io", {"mirrors": [ONE, TWO], "ca": ca})
    assert found == {
        "server": "https://registry-1.docker.io",
        **trust,
        "host": {ONE: {**PULL, **trust}, TWO: {**PULL, **trust}},
    }
    assert hosts("docker.io", {"mirrors": [ONE], "fallback": False, "ca": ca}) == {"server": ONE, **PULL, **trust}
    assert hosts("docker.io", {"ca": ca}) == {"server": "https://registry-1.docker.io", **trust}
    given = {"docker.io": {"ca": ca}, "registry.example.org": [ONE]}
    assert containerd_ca_files(given) == [{"dest": path, "content": ca}]


@pytest.mark.parametrize(
    "given", [ONE, {"mirrors": ONE}, {"mirror": [ONE]}, {"fallback": False}, {"mirrors": [ONE], "fallback": "no"}, None]
)
def test_what_is_neither_form_is_refused(given: object) -> None:
    with pytest.raises(AnsibleFilterError, match=r"docker\.io takes a list of URLs, or"):
        containerd_hosts_file(("docker.io", given))


def test_no_mirror_and_no_fallback_is_no_registry() -> None:
    with pytest.raises(AnsibleFilterError, match="has no mirror, and no fallback"):
        containerd_hosts_file(("docker.io", {"mirrors": [], "fallback": False}))


def test_of_all_other_registries_each_is_its_own_upstream() -> None:
    """There is no host of the directory's name; without a server containerd asks the host of the image."""
    assert hosts("_default", [ONE]) == {"host": {ONE: PULL}}
    assert hosts("_default", {"mirrors": [ONE], "fallback": False}) == {"server": ONE, **PULL}
