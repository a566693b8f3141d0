"""A mixed cluster on real kernels: installed, installed again, verified, a worker restarted, taken away.

In this order, each test on what the ones before it left: on two cores with emulated machines the whole takes the better
part of an hour.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from tests.local.snapshots import Snapshot, left_by_reset
from tests.vm.machines import (
    await_that,
    machines,
    new_hosts,
    on,
    play,
    pods,
    ready,
    restart,
    restarts,
    snapshots,
    starts,
)

from kubeproof.core import paths
from kubeproof.install import playbook
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.engine import run as verify
from kubeproof.verify.engine.run import Options

pytestmark = [pytest.mark.local, pytest.mark.cluster]

INVENTORY = paths.PROJECT / "inventory" / "vm" / "hosts.yml"

# Kernel modules stay loaded until the next boot, with their settings; and packages that were removed leave files in
# /run.
_UNTIL_A_BOOT = re.compile(r"w\d: (sysctls: new: net/|run_time_files: new: /run/(adduser|haproxy) )")
_SETTLED_SECONDS = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Inventory]:
    """The hosts, new ones, with nothing on them."""
    with new_hosts(inventory.load((INVENTORY,))) as made:
        yield made


@pytest.fixture(scope="module")
def before(cluster: Inventory) -> dict[str, Snapshot]:
    """The hosts as they were made. Machines after a restart, since the first boot of one is like no other."""
    for name in machines(cluster):
        restart(cluster, name)
    return snapshots(cluster)


def test_it_is_installed(cluster: Inventory, before: dict[str, Snapshot]) -> None:
    assert play(cluster).ok


def test_real_kernels_take_no_fallback(cluster: Inventory) -> None:
    """What is derived from facts is what a machine gets, which containers never show."""
    for name in machines(cluster):
        assert on(cluster, name, "stat --file-system --format=%T /sys/fs/cgroup") == "cgroup2fs"
        kubelet = on(cluster, name, "cat /etc/kubernetes/kubelet/config.yaml")
        assert "cgroupDriver: systemd" in kubelet
        assert "KubeletInUserNamespace" not in kubelet
        assert "SystemdCgroup = true" in on(cluster, name, "cat /etc/containerd/config.toml")
        # kube-proxy's own default for one or two processors, set by the host's role: kube-proxy may not.
        assert int(on(cluster, name, "cat /proc/sys/net/netfilter/nf_conntrack_max")) == 131072
        assert int(on(cluster, name, "cat /proc/sys/fs/inotify/max_user_instances")) >= 8192
        # Of those units that the host has.
        scores = (
            "for unit in containerd etcd kube-apiserver kube-balancer kube-pod-network; do "
            "pid=$(systemctl show --value --property=MainPID $unit); "
            "test $pid = 0 || cat /proc/$pid/oom_score_adj; done"
        )
        assert all(int(score) < 0 for score in on(cluster, name, scores).split())


def test_packages_came_from_the_repository(cluster: Inventory, before: dict[str, Snapshot]) -> None:
    assert "haproxy" not in before["w2"].sections["packages"]
    assert on(cluster, "w2", "dpkg-query --show --showformat '${db:Status-Status}' haproxy") == "installed"
    assert on(cluster, "w2", "systemctl is-active haproxy.service || true") != "active", "a second load balancer runs"


def test_a_second_run_changes_nothing(cluster: Inventory) -> None:
    processes = {name: starts(cluster, name) for name in cluster.hosts}
    again = play(cluster)
    assert again.ok
    assert again.count("changed") == 0
    assert {name: starts(cluster, name) for name in cluster.hosts} == processes


def test_it_is_proven(cluster: Inventory) -> None:
    assert verify.verify((INVENTORY,), Options(level="standard"))


def test_no_unit_had_to_be_started_again(cluster: Inventory) -> None:
    """Since the installation, through a second run and a verification."""
    for name in cluster.hosts:
        assert on(cluster, name, "systemctl list-units --failed --plain --no-legend") == ""
        assert restarts(cluster, name) == {}
    for name in machines(cluster):
        print(f"{name}: {on(cluster, name, 'ps -o etimes= -p $(systemctl show --value --property=MainPID kubelet)')} s")


@pytest.mark.parametrize("name", ["w1", "w2"])
def test_a_worker_comes_back_by_itself(cluster: Inventory, name: str) -> None:
    running = pods(cluster, name)
    restart(cluster, name)
    await_that(lambda: ready(cluster, name), "its node is ready")
    await_that(lambda: pods(cluster, name) >= running, "its pods run again")
    # A unit that fails a while after its start is no unit that came back.
    time.sleep(_SETTLED_SECONDS)
    assert on(cluster, name, "systemctl list-units --failed --plain --no-legend") == ""
    assert restarts(cluster, name) == {}
    assert verify.verify((INVENTORY,), Options(level="quick"))


def test_a_reset_leaves_the_hosts_as_they_were_made(cluster: Inventory, before: dict[str, Snapshot]) -> None:
    assert playbook.run("reset", (INVENTORY,), cluster.state, ("--extra-vars", "reset_confirmed=true")).ok
    left = left_by_reset(before, snapshots(cluster))
    print("\n".join(left))
    assert [line for line in left if not _UNTIL_A_BOOT.match(line)] == []
    for name in machines(cluster):
        restart(cluster, name)
    assert left_by_reset(before, snapshots(cluster)) == []
