"""What etcd is configured with, and what does not change it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from tests.unit.preflight.builders import etcd_data
from tests.unit.roles.test_resources_on_hosts import on
from tests.unit.roles.test_texts import variables

from kubeproof.core import paths
from kubeproof.settings import specs

OURS = "one=https://192.0.2.1:2380"
BEFORE = {"gone": "https://192.0.2.9:2380", "one": "https://192.0.2.1:2380"}


def configuration(directory: Path, etcd: dict[str, Any] | None = None, **given: object) -> dict[str, Any]:
    """etcd.yaml on the only etcd host of an inventory."""
    found: dict[str, Any] = yaml.safe_load(on("etcd", "etc/etcd/etcd.yaml", directory, {"etcd": etcd or {}}, **given))
    return found


def test_a_new_member_is_bootstrapped_with_all_of_the_inventory(tmp_path: Path) -> None:
    assert configuration(tmp_path)["initial-cluster"] == OURS
    # Its data is lost: what it was bootstrapped with once is no longer of use.
    assert configuration(tmp_path, {"peers": BEFORE})["initial-cluster"] == OURS


@pytest.mark.parametrize("directory", ["/var/lib/etcd", "/var/lib/etcd/"])
def test_a_member_that_has_data_is_not_restarted_for_others(tmp_path: Path, directory: str) -> None:
    """For one that was removed from the cluster and the inventory, and for one that was added."""
    etcd = {"peers": BEFORE, "data": {"/var/lib/etcd": etcd_data(True)}}
    found = configuration(tmp_path, etcd, etcd_data_directory=directory)
    assert found["initial-cluster"] == "gone=https://192.0.2.9:2380,one=https://192.0.2.1:2380"


@pytest.mark.parametrize(
    "etcd",
    [
        {"data": {"/var/lib/etcd": etcd_data(True)}},
        # In another directory than the one with which it will be started.
        {"peers": BEFORE, "data": {"/var/lib/etcd": etcd_data(False), "/data/etcd": etcd_data(True)}},
    ],
)
def test_without_data_or_a_configuration_there_is_nothing_to_keep(tmp_path: Path, etcd: dict[str, Any]) -> None:
    assert configuration(tmp_path, etcd)["initial-cluster"] == OURS


def test_a_replaced_member_is_restarted_though_another_one_is_gone(tmp_path: Path) -> None:
    """Its last restart waits for those that the plan has found to have quorum, and not for a host that is no more."""
    plays = yaml.safe_load((paths.PROJECT / "playbooks" / "replace-member.yml").read_text())
    [last] = [task for play in plays for task in play.get("tasks", ()) if task["name"].endswith("final configuration")]
    known = variables(tmp_path, texts=False)
    known["__cluster_etcd"] = {"one": "192.0.2.1", "two": "192.0.2.2", "six": "2001:db8::6", "gone": "192.0.2.9"}
    found = {"endpoints": ["https://192.0.2.2:2379", "https://[2001:db8::6]:2379"]}
    known["ansible_facts"] = {**known["ansible_facts"], "kubeproof_replacement": found}

    def gate(**given: str) -> list[str]:
        told = {**known, **{name: trust_as_template(value) for name, value in given.items()}}
        checks = Templar(loader=DataLoader(), variables=told).template(known["__etcd_others"])
        return [check["url"].removesuffix("/health?exclude=NOSPACE") for check in checks]

    assert gate(**last["vars"]) == found["endpoints"]
    # A run that replaces none waits for all others.
    assert set(gate()) == {*found["endpoints"], "https://192.0.2.9:2379"}


def test_metrics_are_on_loopback_only(tmp_path: Path) -> None:
    assert configuration(tmp_path)["listen-metrics-urls"] == "http://127.0.0.1:2381"
    assert configuration(tmp_path, etcd_metrics_port="2400")["listen-metrics-urls"] == "http://127.0.0.1:2400"
    assert "listen-metrics-urls" not in configuration(tmp_path, etcd_metrics_port=0)


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        ({"InitialCorruptCheck": True}, "InitialCorruptCheck=true"),
        ({"LeaseCheckpoint": True, "InitialCorruptCheck": False}, "InitialCorruptCheck=false,LeaseCheckpoint=true"),
        ({"InitialCorruptCheck": "no"}, "InitialCorruptCheck=false"),
    ],
)
def test_feature_gates_are_as_etcd_reads_them(tmp_path: Path, gates: dict[str, Any], expected: str) -> None:
    assert configuration(tmp_path)["feature-gates"] == "InitialCorruptCheck=true"
    assert configuration(tmp_path, etcd_feature_gates=gates)["feature-gates"] == expected
    assert "feature-gates" not in configuration(tmp_path, etcd_feature_gates={})


def test_a_member_that_is_full_is_restarted_with_a_larger_quota() -> None:
    """Neither its own health nor that of the others may count the alarm NOSPACE: it stays until it is disarmed."""
    texts = [path.read_text() for path in sorted((specs.ROLES / "etcd").rglob("*.yml"))]
    asked = [found for text in texts for found in re.findall(r"/health\b[^\s']*", text)]
    assert asked == ["/health?exclude=NOSPACE"] * 2
