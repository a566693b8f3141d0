"""YAML by libyaml: the same as by PyYAML itself, faster."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kubeproof.core import fast_yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"


def test_it_reads_as_pyyaml_does() -> None:
    text = (ROLES / "kubelet" / "defaults" / "main.yml").read_text()
    assert fast_yaml.load(text) == yaml.safe_load(text)
    assert fast_yaml.load("") is None


@pytest.mark.parametrize("text", ["a: [", "a: !!python/object/apply:os.getpid []", "a: 1\n b: 2"])
def test_what_is_broken_or_unsafe_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        fast_yaml.load(text)
