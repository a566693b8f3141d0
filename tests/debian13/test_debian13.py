"""Debian 13's Python and the newest ansible-core on the controller, and Debian 13 on the hosts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.debian13.controller import BETWEEN, BETWEEN_CORE, LOCKED, Controller

from kubeproof.core.process import run
from kubeproof.settings import inventory
from kubeproof.settings.remote import ssh_command

pytestmark = [pytest.mark.local, pytest.mark.cluster]


def changed(profile: dict[str, dict[str, dict[str, int]]]) -> dict[str, int]:
    return {host: counts["changed"] for host, counts in profile["hosts"].items()}


def on(cluster: Path, host: str, command: str) -> str:
    return run([*ssh_command(inventory.load(cluster).host(host)), command])


@pytest.mark.parametrize(
    ("environment", "core"), [(LOCKED, "2.21"), (BETWEEN, BETWEEN_CORE)], ids=["locked", "between"]
)
def test_it_is_what_was_meant_to_be_tried(controller: Controller, environment: str, core: str) -> None:
    assert 'VERSION_ID="13"' in controller.run("cat", "/etc/os-release")
    ask = "import sys, ansible.release as it; print('%d.%d' % sys.version_info[:2], it.__version__)"
    assert controller.run("python", "-c", ask, environment=environment).startswith(f"3.13 {core}.")


def test_linters_and_unit_tests(controller: Controller) -> None:
    controller.run("./kubeproof", "test", "--fast")


def test_unit_tests_with_the_core_between(controller: Controller) -> None:
    controller.run("./kubeproof", "test", "--unit", environment=BETWEEN)


def test_a_cluster_is_installed_and_another_core_finds_nothing_to_do(controller: Controller, cluster: Path) -> None:
    first = controller.play("cluster", cluster)
    assert all(changed(first).values())
    again = controller.play("cluster", cluster, environment=BETWEEN)
    assert changed(again) == dict.fromkeys(changed(first), 0)
    assert 'VERSION_ID="13"' in on(cluster, "w1", "cat /etc/os-release")


def test_it_is_verified_from_there(controller: Controller, cluster: Path) -> None:
    assert "proven" in controller.run("python", "-m", "kubeproof", "verify", "--inventory", str(cluster))


def test_a_reset_takes_it_away(controller: Controller, cluster: Path) -> None:
    controller.play("reset", cluster, "--extra-vars", "reset_confirmed=true")
    for host in inventory.load(cluster).hosts:
        left = "systemctl --failed --plain --no-legend; ls -d /var/lib/kubeproof /etc/kubernetes 2>/dev/null || true"
        assert on(cluster, host, left) == ""
