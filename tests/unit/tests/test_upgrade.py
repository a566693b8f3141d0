"""What tests of upgrades rely on, so that no hour is spent until one of them says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests import observed
from tests.disaster.local_cluster import describe
from tests.upgrade import older
from tests.upgrade.test_trouble import GONE, POINTS, REFUSALS
from tests.upgrade.test_upgrade import FORMS

from kubeproof.components import pins
from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.core.versions import Version
from kubeproof.install import playbook
from kubeproof.upgrade.questions import gates
from kubeproof.verify.faults.campaign import Observed
from kubeproof.verify.faults.checker import History, Violation

START = 1_760_000_000.0


@pytest.mark.parametrize("task", sorted({task for task, _ in POINTS} | {gone.task for gone in GONE}))
def test_tasks_in_which_a_run_is_killed_are_there(task: str) -> None:
    role, _, name = task.rpartition(" : ")
    files = (paths.PROJECT / "roles").glob(f"{role or 'upgrade'}/tasks/*.yml")
    names = re.findall(r"- name: (.+)", "\n".join(path.read_text() for path in files))
    assert any(each.startswith(name) for each in names)


def test_versions_are_older_and_can_be_had() -> None:
    pinned = pins.load()
    assert set(older.moved(older.pinned)) <= set(older.OLDER)
    for component, version in older.OLDER.items():
        assert Version.of(version) < Version.of(older.pinned(component))
        assert version in pinned.module_versions(pinned.components[component])
    for component, version in older.moved(older.pinned).items():
        assert Version.of(version).series == Version.of(older.OLDER[component]).series.plus(1)


def test_refusals_are_of_this_version() -> None:
    by_name = {refusal.name: refusal for refusal in REFUSALS}
    none_of_ours = by_name["minor-version-that-is-none-of-ours"]
    with pytest.raises(KubeproofError, match=none_of_ours.said):
        pins.load().with_versions({"kubernetes": none_of_ours.settings["upgrade_to"]})
    now, to = (Version.of(each).series for each in (older.OLDER["kubernetes"], older.pinned("kubernetes")))
    (found,) = gates("kube-apiserver", {"SidecarContainers": True}, now, to)
    assert re.search(by_name["unknown-gate"].said, found.problem)
    assert older.OLDER["kubernetes"] in by_name["downgrade"].said.replace("\\", "")


@pytest.mark.parametrize("settings", FORMS.values(), ids=FORMS)
def test_the_inventory_of_a_form(settings: dict[str, Any]) -> None:
    made = describe("name", "10.213.243.0/24", older.CONTROL_PLANE, older.WORKERS, **settings)["all"]
    assert settings.items() <= made["vars"].items()
    assert made["children"]["control_plane"]["hosts"]["cp3"] == {"ansible_host": "10.213.243.13"}
    assert list(made["children"]["etcd"]["hosts"]) == ["cp1", "cp2", "cp3"]
    assert made["children"]["workers"]["hosts"]["w2"] == {"ansible_host": "10.213.243.22"}


def entry(operation: str, at: float, took: float, outcome: str = "ok") -> dict[str, Any]:
    return {"op": operation, "start": START + at, "end": START + at + took, "outcome": outcome, "detail": "gone"}


def seen(*entries: dict[str, Any], **more: Any) -> Observed:
    return Observed(History(list(entries)), more.get("violations", []), START, 10.0, more.get("diverged", ""))


WELL = [entry("write", 1, 0.1), entry("read", 2, 0.1), entry("request", 3, 2.5)]


def test_nothing_is_wrong() -> None:
    assert observed.wrong(seen(*WELL)) == []


def test_all_that_is_wrong() -> None:
    assert observed.wrong(seen(*WELL, entry("request", 4, 2.0, "failed"))) == ["request after 4.0 s, for 2.0 s: gone"]
    assert observed.wrong(seen(*WELL[:2])) == ["no application's requests at all"]
    assert observed.wrong(seen(*WELL, diverged="members differ")) == ["members differ"]
    assert observed.wrong(seen(*WELL, violations=[Violation("lost", START, "3 of 4")])) == ["lost: 3 of 4"]


def test_the_longest_wait_is_told() -> None:
    *_, requests, _ = observed.summary(seen(*WELL))
    assert re.sub(" +", " ", requests) == (
        "application's requests 1 ok, 0 failed, longest without one 5.5 s, longest wait 2.5 s"
    )


def test_what_runs_in_another_version() -> None:
    runs = {"etcd": "3.6.16", "kube-apiserver": "1.37.2 as 1.36", "runc": "1.4.3"}
    plan = older.Planned(0, "", {"hosts": {host: {"runs": runs if host == "cp1" else {}} for host in older.HOSTS}})
    assert older.other_than(plan, {"etcd": "3.6.16", "kubernetes": "1.37.2"}) == ["cp1: kube-apiserver 1.37.2 as 1.36"]
    assert older.other_than(plan, {"etcd": "3.7.3"}) == ["cp1: etcd 3.6.16"]


def ended(failures: list[dict[str, str]]) -> playbook.Run:
    return playbook.Run(2, Path("upgrade.log"), {"failures": failures})


def test_a_run_that_stopped_is_told_as_its_operator_reads_it() -> None:
    failures = [{"host": "cp1", "message": "budget web allows no eviction.", "hint": "Add a replica."}]
    assert older.why(ended(failures)) == "cp1: budget web allows no eviction. Add a replica."


def test_a_run_that_stopped_and_said_nothing_is_a_failure() -> None:
    with pytest.raises(AssertionError, match=r"upgrade\.log"):
        older.why(ended([]))
