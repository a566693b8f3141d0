"""What settings mean to CRI-O: mirrors of registries in its form, and what is refused."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import crio, registries, runtimes
from kubeproof.verify.act.application_operator import gate

OTHER = "https://other.example.org:8443"
MIRROR = "https://mirror.example.org"


def configured(given: dict[str, Any]) -> list[dict[str, Any]]:
    found = tomllib.loads(crio.registries_configuration(given))
    assert found["unqualified-search-registries"] == ["docker.io"]
    asked: list[dict[str, Any]] = found.get("registry", [])
    return asked


def test_without_mirrors_there_is_where_images_without_a_registry_are() -> None:
    assert configured({}) == []


def test_mirrors_are_asked_in_their_order_and_the_registry_last() -> None:
    assert configured({"docker.io": [MIRROR, OTHER, "http://10.0.0.1:5000"]}) == [
        {
            "prefix": "docker.io",
            "location": "docker.io",
            "mirror": [
                {"location": "mirror.example.org"},
                {"location": "other.example.org:8443"},
                {"location": "10.0.0.1:5000", "insecure": True},
            ],
        }
    ]


def test_without_a_fallback_the_registry_is_not_asked() -> None:
    given = {"docker.io": {"mirrors": [MIRROR, OTHER], "fallback": False}}
    [found] = configured(given)
    assert found == {
        "prefix": "docker.io",
        "location": "other.example.org:8443",
        "mirror": [{"location": "mirror.example.org"}],
    }
    [alone] = configured({"docker.io": {"mirrors": ["http://10.0.0.1:5000"], "fallback": False}})
    assert alone == {"prefix": "docker.io", "location": "10.0.0.1:5000", "insecure": True}


def test_a_ca_is_for_each_host_that_is_asked() -> None:
    ca = gate.issue("registry.example.org").ca
    given = {"registry.example.org": {"mirrors": [OTHER], "ca": ca}, "docker.io": [MIRROR], "b": {"ca": ca}}
    directory = "/etc/containers/certs.d"
    assert registries.ca_files(given, crio.CERTIFICATES) == {
        f"{directory}/{host}/ca.crt": ca for host in ("registry.example.org", "other.example.org:8443", "b")
    }


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"_default": [MIRROR]}, "_default is containerd's alone"),
        ({"docker.io": [f"{MIRROR}/hub"]}, "mirror.example.org/hub has more than a host"),
        ({"docker.io": {"mirrors": [MIRROR, f"{MIRROR}/a"]}}, "mirror.example.org/a has more than a host"),
        ({"docker.io": ["https://me@mirror.example.org"]}, "has more than a host"),
    ],
)
def test_mirrors_that_cri_o_does_not_have(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(KubeproofError, match=problem):
        crio.registries_configuration(given)
    [(name, said)] = runtimes.problems({"container_runtime": "crio", "containerd_registry_mirrors": given})
    assert (name, problem in said) == ("containerd_registry_mirrors", True)
    assert list(runtimes.problems({"containerd_registry_mirrors": given})) == []


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("component_source", "go", "from which CRI-O is not built. Set component_source to release"),
        ("containerd_runtimes", [{"name": "g", "type": "gvisor"}], "its handlers are containerd's"),
        ("containerd_runtimes", [{"name": "crun", "type": "runc"}], "its handlers are containerd's"),
        ("containerd_extra_config", {"oom_score": 1}, "use crio_extra_config"),
        ("cluster_control_plane_form", "static-pods", "static-pods cannot be had with CRI-O"),
        ("kube_proxy_form", "daemonset", "daemonset cannot be had with CRI-O"),
    ],
)
def test_what_cannot_be_with_cri_o_is_refused(name: str, value: Any, problem: str) -> None:
    [(setting, said)] = runtimes.problems({"container_runtime": "crio", name: value})
    assert setting == ("container_runtime" if name == "component_source" else name)
    assert problem in said
    assert list(runtimes.problems({"container_runtime": "containerd", name: value})) == []


def test_cri_o_is_written_so_and_not_otherwise() -> None:
    assert list(runtimes.problems({"container_runtime": "crio", "component_source": "release"})) == []
    for written in ("cri-o", "CRI-O"):
        [(_, said)] = runtimes.problems({"container_runtime": written})
        assert said == "write crio for CRI-O, or set containerd"


def test_the_directories_of_other_runtimes_are_not_used() -> None:
    assert runtimes.unused_directories({}) == {"crio_root_directory", "docker_root_directory"}
    assert runtimes.unused_directories({"container_runtime": "crio"}) == {
        "containerd_root_directory",
        "docker_root_directory",
    }
