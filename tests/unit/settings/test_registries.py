"""Which mirrors of registries are refused before any host is touched, and in which words."""

from __future__ import annotations

import pytest

from kubeproof.settings.registries import problems
from kubeproof.verify.act.application_operator import gate

MIRROR = "https://mirror.example.org:5000/path"
FORMS = "takes a list of URLs, or {mirrors: [...], fallback: false, ca: ...}"


@pytest.mark.parametrize(
    "upstream", ["docker.io", "registry.example.org:5000", "localhost:5000", "_default", "10.0.0.1"]
)
@pytest.mark.parametrize("given", [[MIRROR], [], {"mirrors": [MIRROR, "http://10.0.0.1"], "fallback": False}])
def test_mirrors_are_taken(upstream: str, given: object) -> None:
    assert list(problems({upstream: given})) == []


@pytest.mark.parametrize("more", [{}, {"mirrors": [MIRROR]}, {"mirrors": [MIRROR], "fallback": False}])
def test_a_ca_is_taken_with_mirrors_and_without(more: dict[str, object]) -> None:
    ca = gate.issue("registry.example.org").ca
    assert list(problems({"registry.example.org": {"ca": ca, **more}})) == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"docker.io": MIRROR}, f"docker.io {FORMS}"),
        ({"docker.io": {"mirror": [MIRROR]}}, f"docker.io {FORMS}"),
        ({"docker.io": {"mirrors": [], "fallback": False}}, "docker.io has no mirror, and no fallback"),
        ({"docker.io": {"mirrors": [MIRROR], "ca": "/etc/ca.crt"}}, "docker.io: ca is not the text of certificates"),
        ({"docker.io": {"ca": ""}}, f"docker.io {FORMS}"),
        ({"docker.io": ["mirror.example.org"]}, "docker.io: 'mirror.example.org' is not of the form"),
        ({"docker.io": ["ftp://mirror.example.org"]}, "docker.io: 'ftp://mirror.example.org' is not of the form"),
        ({"docker.io": ["https://mirror:port"]}, "docker.io: 'https://mirror:port' is not of the form"),
        ({"docker.io": ['https://mirror/"quoted"']}, "is not of the form"),
        ({"https://docker.io": [MIRROR]}, "'https://docker.io' is not the host of a registry"),
        ({"../etc": [MIRROR]}, "'../etc' is not the host of a registry"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, object], problem: str) -> None:
    (found,) = problems(given)
    assert problem in found
