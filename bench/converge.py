"""Where the time of an installation goes, what the components themselves need, and what kubeadm takes.

    .venv/bin/python -m bench.converge [--repeat N]

Makes three local hosts of its own, installs a cluster on them and runs again, twice; prints, from the profile that the
playbook's callback writes, a table by role and task of the first run. Then it makes the hosts anew and brings the same
files up the plain way, which is the limit to aim at: one archive per host over SSH, all units started at once, nothing
checked, nothing ordered. And once more with kubeadm, of the same module, hosts and images: see kubeadm.py. Each is
timed until all nodes are ready and the cluster's DNS is up; with N rounds the last table has the medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from bench import ending, kubeadm, plain
from rich.console import Console
from rich.table import Table

from kubeproof.components import pins
from kubeproof.core import paths
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import Plan, plan
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory

NETWORK = {"name": "kubeproof-bench", "subnet": "10.213.249.0/24"}
ADDRESSES = {"cp1": "10.213.249.11", "w1": "10.213.249.21", "w2": "10.213.249.22"}


def main() -> None:
    """Measure, print, clean up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="measure N times")
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="kubeproof-bench-") as directory:
        cluster = _inventory(Path(directory))
        hosts = plan(cluster)
        try:
            # Has the images, and the files around them, with which kubeadm begins.
            plain.fresh_hosts(hosts)
            as_pods = ("--extra-vars", "cluster_control_plane_form=static-pods")
            playbook.run("cluster", cluster.sources, cluster.state, as_pods)
            images = {name: plain.snapshot(cluster, name) for name in cluster.hosts}
            rounds = [_measure(console, cluster, hosts, images) for _ in range(arguments.repeat)]
        finally:
            lifecycle.destroy(hosts, plain.silent)
    table = Table("step", "seconds", title=f"From no hosts to a cluster, medians of {len(rounds)}")
    for step in rounds[0]:
        table.add_row(step, f"{statistics.median(measured[step] for measured in rounds):.1f}")
    console.print(table)


def _measure(console: Console, cluster: Inventory, hosts: Plan, images: dict[str, plain.Snapshot]) -> dict[str, float]:
    made = _timed(lambda: plain.fresh_hosts(hosts))
    first = playbook.run("cluster", cluster.sources, cluster.state)
    second, third = (playbook.run("cluster", cluster.sources, cluster.state) for _ in range(2))
    console.print(_by_role(first.profile))
    console.print(_by_task(first.profile))
    snapshots = {name: plain.snapshot(cluster, name) for name in cluster.hosts}
    objects = plain.system_objects(cluster)
    measured = {
        "hosts made": made,
        "first run": first.profile["seconds"],
        f"second run ({second.count('changed')} changed)": second.profile["seconds"],
        f"third run, at rest ({third.count('changed')} changed)": third.profile["seconds"],
    }
    plain.fresh_hosts(hosts)
    measured |= {f"the plain way: {step}": time for step, time in _plain(cluster, snapshots, objects).items()}
    console.print(measured)
    plain.fresh_hosts(hosts)
    return measured | {f"kubeadm: {step}": time for step, time in _kubeadm(cluster, images).items()}


def _inventory(directory: Path) -> Inventory:
    document = yaml.safe_load((paths.PROJECT / "inventory" / "test" / "hosts.yml").read_text())
    document["all"]["vars"]["local_host_network"] = NETWORK
    groups = {"control_plane": ["cp1"], "etcd": ["cp1"], "workers": ["w1", "w2"]}
    document["all"]["children"] = {
        group: {"hosts": {name: {"ansible_host": ADDRESSES[name]} for name in names}} for group, names in groups.items()
    }
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump(document))
    return inventory.load(path)


def _timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def _by_role(profile: dict[str, Any]) -> Table:
    seconds: dict[str, float] = {}
    tasks: dict[str, int] = {}
    for phase in profile["phases"]:
        seconds[phase["role"]] = seconds.get(phase["role"], 0) + phase["seconds"]
        tasks[phase["role"]] = tasks.get(phase["role"], 0) + len(phase["tasks"])
    table = Table("role", "tasks", "seconds", "share", title="First run, by role")
    for role in sorted(seconds, key=lambda role: -seconds[role]):
        share = f"{seconds[role] / profile['seconds']:.0%}"
        table.add_row(role, str(tasks[role]), f"{seconds[role]:.1f}", share)
    return table


def _by_task(profile: dict[str, Any], most: int = 15) -> Table:
    tasks = [(task["seconds"], phase["role"], task["name"]) for phase in profile["phases"] for task in phase["tasks"]]
    table = Table("role", "task", "seconds", title=f"First run, its {most} longest tasks")
    for seconds, role, name in sorted(tasks, reverse=True)[:most]:
        table.add_row(role, name, f"{seconds:.1f}")
    return table


def _plain(cluster: Inventory, snapshots: dict[str, plain.Snapshot], objects: bytes) -> dict[str, float]:
    """Files, units, objects; and no more waiting than for what the next step cannot do without."""
    started = time.monotonic()
    plain.send(cluster, snapshots)
    sent = time.monotonic()
    plain.start(cluster, snapshots)
    plain.store(cluster, objects)
    plain.ssh(cluster, "cp1", plain.READY % len(snapshots))
    ready = time.monotonic()
    plain.ssh(cluster, "cp1", plain.DNS)
    return {
        "files sent": sent - started,
        "all nodes ready": ready - started,
        "DNS up": time.monotonic() - started,
    }


def _kubeadm(cluster: Inventory, snapshots: dict[str, plain.Snapshot]) -> dict[str, float]:
    """With kubeadm: the same files and images are there, and its own are made."""
    workers = {name: address for name, address in ADDRESSES.items() if name != "cp1"}
    hosts = kubeadm.Hosts(cluster, {"cp1": ADDRESSES["cp1"]}, workers)
    pinned = pins.load()
    version = pinned.components["kubernetes"].version
    kubeadm.program()
    started = time.monotonic()
    kubeadm.prepare(hosts, snapshots, version)
    loaded = time.monotonic()
    kubeadm.create(hosts, version, pinned.images["coredns"].version)
    initialized = time.monotonic()
    kubeadm.join(hosts)
    plain.ssh(cluster, "cp1", plain.READY.replace(plain.KUBECTL, kubeadm.KUBECTL) % len(snapshots))
    ready = time.monotonic()
    plain.ssh(cluster, "cp1", plain.DNS.replace(plain.KUBECTL, kubeadm.KUBECTL))
    return {
        "files and images sent": loaded - started,
        "init": initialized - loaded,
        "all nodes ready, without files and images": ready - loaded,
        "DNS up, without files and images": time.monotonic() - loaded,
        "DNS up": time.monotonic() - started,
    }


if __name__ == "__main__":
    ending.cleans_up()
    main()
