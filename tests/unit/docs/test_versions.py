"""README says which versions are supported: those that are pinned."""

from __future__ import annotations

import re

import pytest

from kubeproof.components import pins
from kubeproof.core import paths


@pytest.mark.parametrize(
    ("name", "component"),
    [("Kubernetes", "kubernetes"), ("etcd", "etcd"), ("containerd", "containerd"), ("runc", "runc")],
)
def test_the_supported_versions_are_the_pinned_ones(name: str, component: str) -> None:
    readme = (paths.PROJECT / "README.md").read_text()
    [sentence] = re.findall(r"This version supports [^;]+;", readme)
    minor = ".".join(pins.load().components[component].version.split(".")[:2])
    assert re.findall(rf"{name} ([0-9.]+[0-9])", sentence) == [minor]
