"""Local hosts on this machine: made, made again, broken, removed, and nothing of them left."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.local.machine import Machine

from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import run
from kubeproof.local_hosts import lifecycle, network, podman, ssh
from kubeproof.local_hosts.plan import Plan

pytestmark = pytest.mark.local


def create(wanted: Plan) -> bool:
    """Make the hosts of a plan; whether that changed anything."""
    return lifecycle.create(wanted, print)


def inside(plan: Plan, host: str, script: str) -> str:
    """What a shell script prints on a host."""
    result = podman.execute(f"{plan.network.name}-{host}", "bash", "-c", script)
    assert result.ok, result.stderr
    return result.stdout.strip()


def started(plan: Plan) -> list[str]:
    """When the hosts were started."""
    ask = ["podman", "inspect", "--format", "{{.State.StartedAt}}"]
    return [run([*ask, host.unique_name]) for host in plan.hosts]


def greeting(address: str, port: int) -> bytes:
    """What a server says first."""
    with socket.create_connection((address, port), timeout=5) as connection:
        return connection.recv(4)


def test_hosts_leave_the_machine_as_they_found_it(connected: Plan, machine: Machine) -> None:
    create(connected)
    assert set(lifecycle.status(connected).values()) == {"running"}
    during = Machine.look()
    assert during.cgroups == machine.cgroups, "a host's systemd has left its own cgroup"
    assert lifecycle.destroy(connected, print)
    assert not Machine.look().differences(machine)
    assert not lifecycle.destroy(connected, print)


def test_an_isolated_segment_needs_neither_firewall_nor_forwarding(isolated: Plan, machine: Machine) -> None:
    create(isolated)
    during = Machine.look()
    assert during.firewall == machine.firewall
    assert during.network_settings == machine.network_settings


def test_making_hosts_that_run_changes_nothing(isolated: Plan) -> None:
    assert create(isolated)
    before = started(isolated)
    assert not create(isolated)
    after = started(isolated)
    assert before == after


def test_hosts_boot_cleanly_and_are_told_apart(isolated: Plan) -> None:
    create(isolated)
    for question in (
        "cat /etc/machine-id",
        "cat /sys/class/net/eth0/address",
        "cat /etc/ssh/ssh_host_*.pub",
        "hostname",
    ):
        answers = {inside(isolated, host, question) for host in "ab"}
        assert len(answers) == 2, f"{question}: both hosts answer {answers}"
    for host in "ab":
        assert inside(isolated, host, "systemctl is-system-running --wait || systemctl --failed") == "running"
        assert inside(isolated, host, "systemctl is-enabled haproxy nftables || true").split() == ["disabled"] * 2


def test_ssh_knows_the_hosts_from_the_start(isolated: Plan) -> None:
    create(isolated)
    keys = ssh.directory(isolated)
    options = [
        "-o",
        f"UserKnownHostsFile={keys / 'known_hosts'}",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "BatchMode=yes",
    ]
    for host in isolated.hosts:
        command = ["ssh", "-i", str(keys / "id_ed25519"), *options, f"root@{host.address}", "hostname"]
        assert run(command, timeout=20).strip() == host.name


def test_hosts_reach_each_other_and_nothing_else(isolated: Plan) -> None:
    create(isolated)
    other = isolated.hosts[1].address
    assert inside(isolated, "a", f"exec 3<>/dev/tcp/{other}/22; head -c 4 <&3") == "SSH-"
    # An address for documentation, to which nothing answers: what matters is that the switch refuses it at once.
    started = time.monotonic()
    assert "No route to host" in inside(isolated, "a", "(exec 3<>/dev/tcp/203.0.113.1/80) 2>&1 || true")
    assert time.monotonic() - started < 5


def test_a_published_port_is_reached_on_loopback(connected: Plan) -> None:
    create(connected)
    (port,) = connected.hosts[0].ports
    assert greeting("127.0.0.1", port.published) == b"SSH-"


def test_a_host_that_was_stopped_comes_back_as_itself(isolated: Plan) -> None:
    create(isolated)
    before = inside(isolated, "a", "cat /etc/machine-id /etc/ssh/ssh_host_*.pub")
    podman.stop(isolated.hosts[0].unique_name)
    assert create(isolated)
    assert inside(isolated, "a", "cat /etc/machine-id /etc/ssh/ssh_host_*.pub") == before


def test_a_network_that_was_lost_is_made_again(isolated: Plan) -> None:
    create(isolated)
    network.remove(isolated.network)
    assert create(isolated)
    assert greeting(str(isolated.hosts[0].address), 22) == b"SSH-"


def test_a_host_whose_namespace_lost_its_name_is_connected_again(isolated: Plan) -> None:
    create(isolated)
    run(["ip", "netns", "delete", network.host_namespace(isolated.network, "a")])
    assert create(isolated)
    assert greeting(str(isolated.hosts[0].address), 22) == b"SSH-"


def test_a_lost_key_is_replaced_on_hosts_that_run(isolated: Plan) -> None:
    create(isolated)
    key = ssh.directory(isolated) / "id_ed25519"
    key.unlink()
    assert create(isolated)
    assert inside(isolated, "a", "cat /root/.ssh/authorized_keys") == key.with_suffix(".pub").read_text().strip()


@pytest.mark.parametrize(
    "seconds", [1.0, pytest.param(1.5, marks=pytest.mark.slow), 2.0, pytest.param(2.5, marks=pytest.mark.slow)]
)
def test_killed_while_making_hosts(isolated: Plan, machine: Machine, seconds: float) -> None:
    """Wherever it was: another try makes them, and removal leaves nothing."""
    command = [sys.executable, "-m", "kubeproof", "hosts", "create", "--inventory", str(isolated.inventory)]
    with subprocess.Popen(command) as process:
        time.sleep(seconds)
        process.kill()
    create(isolated)
    assert set(lifecycle.status(isolated).values()) == {"running"}
    assert greeting(str(isolated.hosts[1].address), 22) == b"SSH-"
    lifecycle.destroy(isolated, print)
    assert not Machine.look().differences(machine)


def test_hosts_that_were_made_otherwise_are_replaced_only_when_asked(isolated: Plan) -> None:
    create(isolated)
    other = dataclasses.replace(
        isolated, hosts=(dataclasses.replace(isolated.hosts[0], memory="1g"), isolated.hosts[1])
    )
    before = inside(isolated, "a", "cat /etc/machine-id")
    said: list[str] = []
    lifecycle.create(other, said.append)
    assert "--replace" in said[0]
    assert inside(isolated, "a", "cat /etc/machine-id") == before
    lifecycle.create(other, said.append, replace=True)
    assert inside(isolated, "a", "cat /etc/machine-id") != before


def test_another_inventorys_hosts_are_not_touched(isolated: Plan, tmp_path: Path) -> None:
    create(isolated)
    foreign = dataclasses.replace(isolated, inventory=tmp_path / "other.yml")
    with pytest.raises(KubeproofError, match="belong to another inventory"):
        create(foreign)
    with pytest.raises(KubeproofError, match="belong to another inventory"):
        lifecycle.destroy(foreign, print)
    assert set(lifecycle.status(isolated).values()) == {"running"}


def test_hosts_of_an_inventory_that_is_gone_can_be_removed(isolated: Plan, tmp_path: Path) -> None:
    create(isolated)
    heir = dataclasses.replace(isolated, inventory=tmp_path / "other.yml")
    isolated.inventory.unlink()
    assert lifecycle.destroy(heir, print)
    assert set(lifecycle.status(isolated).values()) == {"absent"}


def test_a_subnet_that_the_machine_uses_is_refused(isolated: Plan) -> None:
    own = next(line.split()[0] for line in run(["ip", "-4", "route", "show", "scope", "link"]).splitlines())
    taken = dataclasses.replace(isolated.network, subnet=type(isolated.network.subnet)(own))
    with pytest.raises(KubeproofError, match="is in use on this machine"):
        create(dataclasses.replace(isolated, network=taken))
