"""What settings mean to Docker: mirrors of its registry, certificates, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import docker, registries, runtimes
from kubeproof.verify.act.application_operator import gate

OTHER = "https://other.example.org:8443"
MIRROR = "https://mirror.example.org"


def test_mirrors_of_its_registry_are_asked_in_their_order() -> None:
    assert docker.mirrors({}) == []
    given = [MIRROR, OTHER, "http://10.0.0.1:5000/"]
    assert docker.mirrors({"docker.io": given}) == given
    assert docker.mirrors({"docker.io": {"mirrors": given, "fallback": True}}) == given


def test_a_ca_is_for_each_host_that_is_asked() -> None:
    ca, another = gate.issue("registry.example.org").ca, gate.issue("other.example.org").ca
    given = {
        "registry.example.org": {"ca": ca},
        "docker.io": {"mirrors": [OTHER], "ca": ca},
        "other.example.org:8443": {"ca": another},
    }
    directory = "/etc/docker/certs.d"
    assert registries.ca_files(given, docker.CERTIFICATES) == {
        f"{directory}/registry.example.org/ca.crt": ca,
        f"{directory}/docker.io/ca.crt": ca,
        f"{directory}/other.example.org:8443/ca.crt": f"{ca}\n{another}",
    }
    # A registry with nothing but a CA has no mirror that Docker would not know.
    assert docker.mirrors({"registry.example.org": {"ca": ca}}) == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"_default": [MIRROR]}, "_default is containerd's alone"),
        ({"registry.k8s.io": [MIRROR]}, "registry.k8s.io: Docker knows mirrors of docker.io only"),
        ({"docker.io": {"mirrors": [MIRROR], "fallback": False}}, "docker.io: fallback cannot be false with Docker"),
        ({"docker.io": [f"{MIRROR}/hub"]}, "mirror.example.org/hub has more than a host"),
        ({"docker.io": [OTHER, f"{MIRROR}?a=b"]}, "mirror.example.org?a=b has more than a host"),
        ({"docker.io": ["https://me@mirror.example.org"]}, "has more than a host"),
    ],
)
def test_mirrors_that_docker_does_not_have(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(KubeproofError) as refused:
        docker.mirrors(given)
    assert problem in str(refused.value)
    [(name, said)] = runtimes.problems({"container_runtime": "docker", "containerd_registry_mirrors": given})
    assert (name, problem in said) == ("containerd_registry_mirrors", True)
    assert list(runtimes.problems({"containerd_registry_mirrors": given})) == []


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("component_source", "go", "from which Docker is not built. Set component_source to release"),
        ("containerd_runtimes", [{"name": "g", "type": "gvisor"}], "its handlers are containerd's"),
        ("containerd_extra_config", {"a": 1}, "use docker_extra_config"),
        ("cluster_control_plane_form", "static-pods", "static-pods cannot be had with Docker"),
        ("kube_proxy_form", "daemonset", "daemonset cannot be had with Docker"),
    ],
)
def test_what_docker_cannot_do_is_refused_and_is_nothing_to_containerd(name: str, value: object, problem: str) -> None:
    [(setting, said)] = runtimes.problems({"container_runtime": "docker", name: value})
    assert setting == ("container_runtime" if name == "component_source" else name)
    assert problem in said
    assert list(runtimes.problems({"container_runtime": "containerd", name: value})) == []


def test_docker_is_taken() -> None:
    for source in ("release", "mirror", "auto"):
        assert list(runtimes.problems({"container_runtime": "docker", "component_source": source})) == []
    assert runtimes.unused_directories({"container_runtime": "docker"}) == {
        "containerd_root_directory",
        "crio_root_directory",
    }
