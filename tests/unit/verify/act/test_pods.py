"""Manifests of a verification's pods."""

from __future__ import annotations

import pytest

from kubeproof.verify.act.pods import ONLY_PLACED, Manifests, is_only_placed


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


@pytest.mark.parametrize(("patience", "seconds"), [(1.0, 5), (2.5, 12), (50.0, 30)])
def test_servers_say_good_bye_longer_on_slow_hosts(patience: float, seconds: int) -> None:
    assert Manifests("test", "image", ("w1",), patience).farewell(5) == seconds


def test_a_container_without_probes_has_none() -> None:
    assert "readinessProbe" not in Manifests("test", "image", ("w1",)).container("pause", ["pause"])


def test_a_pod_that_is_only_placed_waits_for_what_nobody_makes() -> None:
    manifests = Manifests("test", "image", ("w1",))
    made = manifests.placed(
        "one", labels={"app": "one"}, resources={"requests": {"example.org/some": "1"}}, nodeName="w1"
    )
    assert made["metadata"]["labels"] == {"app": "one", ONLY_PLACED: ""}
    assert made["spec"]["volumes"] == [{"name": "never", "secret": {"secretName": "never"}}]
    assert made["spec"]["nodeName"] == "w1"
    (container,) = made["spec"]["containers"]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["never"]
    assert container["resources"]["requests"] == {"cpu": "5m", "memory": "16Mi", "example.org/some": "1"}
    assert is_only_placed(made)
    assert not is_only_placed(manifests.pod("two", [container]))
