"""Manifests of a verification's pods."""

from __future__ import annotations

import pytest

from kubeproof.verify.act.pods import Manifests


@pytest.mark.parametrize(
    ("patience", "given", "seconds", "period"),
    [(1.0, {}, 1, 1), (4.0, {}, 4, 4), (4.0, {"timeoutSeconds": 3}, 12, 4), (50.0, {}, 30, 10)],
)
@pytest.mark.parametrize("name", ["livenessProbe", "readinessProbe", "startupProbe"])
def test_probes_wait_for_slow_hosts(
    name: str, patience: float, given: dict[str, int], seconds: int, period: int
) -> None:
    manifests = Manifests("test", "image", ("w1",), patience)
    probe = manifests.container("server", ["netexec"], **{name: {"periodSeconds": 1, **given}})[name]
    assert probe == {"periodSeconds": period, "timeoutSeconds": seconds}


def test_a_container_without_probes_has_none() -> None:
    assert "readinessProbe" not in Manifests("test", "image", ("w1",)).container("pause", ["pause"])
