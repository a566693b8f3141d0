"""Which versions of images can be made of what is built."""

from __future__ import annotations

import pytest

from kubeproof.components import packing, pins
from kubeproof.core.errors import KubeproofError


@pytest.mark.parametrize("version", ["1.35.4", "1.36.3", "1.37.2"])
def test_images_of_every_set(version: str) -> None:
    packing.check(pins.load().with_versions({"kubernetes": version}))


@pytest.mark.parametrize("image", ["pause", "agnhost"])
def test_what_is_made_of_sources_has_their_version(image: str) -> None:
    other = pins.load().with_versions({"kubernetes": "1.37.2", image: "2.0.0"})
    problem = rf"{image} 2\.0\.0, but .* of the sources of kubernetes 1\.37\.2, which have .*\n.*release or mirror"
    with pytest.raises(KubeproofError, match=problem):
        packing.check(other)


def test_what_is_made_of_a_component_has_its_version() -> None:
    packing.check(pins.load().with_versions({"coredns": "1.14.7", "runc": "1.4.3"}))
