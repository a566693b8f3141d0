"""YAML as Kubernetes reads it: which plain texts are numbers, and which ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from kubeproof.core import kubernetes_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("=", "="),
        ("22:22", "22:22"),
        ("12:30:45", "12:30:45"),
        ("1:30.5", "1:30.5"),
        ("2026-11-28", "2026-11-28"),
        ("1e3", 1000),
        ("1E+3", 1000),
        ("-1.5e-1", -0.15),
        ("1.0", 1),
        (".5", 0.5),
        ("-.5", -0.5),
        ("5.", 5),
        ("1e30", 1e30),
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("017", 15),
        ("0o17", 15),
        ("-0o17", -15),
        ("08", 8),
        ("0x1F", 31),
        ("0b101", 5),
        ("0b_", "0b_"),
        ("0x", "0x"),
        ("1_000", 1000),
        ("1.2.3", "1.2.3"),
        ("1e", "1e"),
        ("e3", "e3"),
        (".", "."),
        ("10Gi", "10Gi"),
        ("100m", "100m"),
        ("yes", True),
        ("null", None),
        ('"1e3"', "1e3"),
        ("!!str 1e3", "1e3"),
    ],
)
def test_plain_texts(text: str, value: Any) -> None:
    [found] = kubernetes_yaml.load_all(f"[{text}]")
    assert (json.dumps(found), type(found[0])) == (json.dumps([value]), type(value))


def test_what_is_said_to_be_a_number_and_is_none() -> None:
    for tag in ("int", "float"):
        with pytest.raises(yaml.MarkedYAMLError):
            kubernetes_yaml.load_all(f"!!{tag} 22:22")


def test_empty_documents_are_left_out() -> None:
    assert kubernetes_yaml.load_all("---\n---\na: 1\n---\n") == [{"a": 1}]
