"""Settings that an installed cluster keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.preflight.builders import VALUES, host

from kubeproof.preflight import Variables
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.installed import check_installed
from kubeproof.preflight.model import reads
from kubeproof.settings import fixed

ROLES = Path(__file__).parents[3] / "roles"


def findings(before: dict[str, str], **values: Any) -> list[Finding]:
    entry = host(1, installed={"settings": before})
    return list(check_installed([Variables(entry, {}, {**VALUES, **values}, {})]))


def test_the_same_as_before() -> None:
    before = {
        "cluster_name": "mine",
        "cluster_pod_network_prefix": "24",
        "containerd_root_directory": "/data/containerd",
    }
    same = {"cluster_name": "mine", "cluster_pod_network_prefix": 24, "containerd_root_directory": "/data/containerd/"}
    assert findings(before, **same) == []


def test_another_than_before() -> None:
    (finding,) = findings({"cluster_pod_network": "10.244.0.0/16"}, cluster_pod_network="10.245.0.0/16")
    assert (finding.id, finding.subject, finding.host) == ("installed-setting", "cluster_pod_network", "host1")
    assert finding.severity == "error"
    assert finding.problem.startswith(
        "`cluster_pod_network` is 10.245.0.0/16, and it was installed with 10.244.0.0/16: "
    )
    assert finding.remediation.startswith("Set it back to 10.244.0.0/16.")


def test_what_a_host_does_not_remember_is_not_compared() -> None:
    assert findings({}, cluster_name="other") == []
    assert findings({"cluster_favourite_colour": "blue"}, cluster_favourite_colour="red") == []


def test_a_host_that_can_not_be_reached_is_told_of_elsewhere() -> None:
    away = host(1).__class__("host1", frozenset(["etcd"]), "", None, "away", True)
    assert list(check_installed([Variables(away, {}, VALUES, {})])) == []


def recorded_by_roles() -> dict[str, list[str]]:
    """Settings that roles have hosts remember, and the values that they give."""
    found: dict[str, list[str]] = {}
    for path in ROLES.glob("*/tasks/*.yml"):
        for task in yaml.safe_load(path.read_text()) or []:
            for name, value in ((task.get("install_component") or {}).get("settings") or {}).items():
                found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("name", sorted(fixed.REASONS))
def test_each_is_remembered_by_a_role_and_read_by_the_preflight(name: str) -> None:
    assert [re.sub(r"[{} ]", "", value) for value in recorded_by_roles()[name]] == [name]
    assert reads(name)
