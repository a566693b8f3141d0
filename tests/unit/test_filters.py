"""Filters that make what roles hand to modules."""

from __future__ import annotations

from plugins.filter import networks


def test_the_others_are_asked() -> None:
    addresses = {"b": "10.0.0.2", "a": "10.0.0.1", "c": "10.0.0.3"}
    others = networks.other_addresses(addresses, "b")
    assert networks.health_checks(others, "https://{}:6443/readyz", expect="ok") == [
        {"url": "https://10.0.0.1:6443/readyz", "expect": "ok"},
        {"url": "https://10.0.0.3:6443/readyz", "expect": "ok"},
    ]
