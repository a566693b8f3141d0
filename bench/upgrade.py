"""How long an upgrade over a minor version takes, beside the plain way and kubeadm's.

    .venv/bin/python -m bench.upgrade [--only ours plain kubeadm]

Makes five local hosts of its own, three of them with the control plane and etcd, and upgrades them from the versions
that Molecule's scenario ``upgrade`` begins with to the pinned ones: Kubernetes, etcd, containerd, runc and CNI plugins.
First with the playbook, without the verification at its end; then, on new hosts with the same files, with a plain
script that sends the new files and does the same restarts, one at a time, drains included: the control plane's twice,
since the playbook has it emulate the old version first. It looks at nothing, backs up and rehearses nothing. And on new
hosts once more with kubeadm, see kubeadm.py. What is sent before the first restart is a row of its own in each; the
playbook rehearses within that, and not again. The clusters have nothing on them but what belongs to
them; with the last two that is DNS.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
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

CONTROL_PLANE = {"cp1": "10.213.245.11", "cp2": "10.213.245.12", "cp3": "10.213.245.13"}
WORKERS = {"w1": "10.213.245.21", "w2": "10.213.245.22"}
NETWORK = {"name": "kubeproof-upgrades", "subnet": "10.213.245.0/24"}
WAYS = ("ours", "plain", "kubeadm")
_OLDER = paths.PROJECT / "molecule" / "upgrade" / "older.yml"

Snapshots = Mapping[str, plain.Snapshot]


def main() -> None:
    """Measure, print, clean up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=WAYS, choices=WAYS, metavar="WAY", help=f"of {', '.join(WAYS)}")
    wanted = parser.parse_args().only
    older = yaml.safe_load(_OLDER.read_text(encoding="utf-8"))["component_versions"]
    measured: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="kubeproof-bench-") as directory:
        cluster = _inventory(Path(directory))
        hosts = plan(cluster)
        try:
            if "ours" in wanted or "plain" in wanted:
                before = _installed(cluster, hosts, component_versions=older)
                objects = plain.system_objects(cluster)
                measured |= _ours(cluster)
                after = _snapshots(cluster)
            if "plain" in wanted:
                measured |= _plain(cluster, hosts, before, after, objects)
            if "kubeadm" in wanted:
                as_pods = {"cluster_control_plane_form": "static-pods"}
                after = _installed(cluster, hosts, **as_pods)
                before = _installed(cluster, hosts, **as_pods, component_versions=older)
                measured |= _kubeadm(cluster, hosts, before, after, older["kubernetes"])
        finally:
            lifecycle.destroy(hosts, plain.silent)
    target = pins.load().components["kubernetes"].version
    table = Table(
        "step", "seconds", title=f"Kubernetes {older['kubernetes']} to {target}, three control-plane hosts, two workers"
    )
    for step, seconds in measured.items():
        table.add_row(step, f"{seconds:.1f}")
    Console().print(table)


def _ours(cluster: Inventory) -> dict[str, float]:
    return {
        **_timed("staged, backed up, rehearsed", lambda: _play(cluster, "upgrade", upgrade_until="rehearsal")),
        **_timed("upgraded", lambda: _play(cluster, "upgrade", upgrade_verification="none")),
    }


def _plain(cluster: Inventory, hosts: Plan, before: Snapshots, after: Snapshots, objects: bytes) -> dict[str, float]:
    plain.fresh_hosts(hosts)
    plain.send(cluster, before)
    plain.start(cluster, before)
    plain.store(cluster, objects)
    plain.ssh(cluster, "cp1", plain.READY % len(before))
    plain.ssh(cluster, "cp1", plain.DNS)
    version = pins.load().components["kubernetes"].version
    return {
        **_timed("the plain way: files sent", lambda: plain.stage(cluster, after)),
        **_timed("the plain way: upgraded", lambda: plain.upgrade(cluster, CONTROL_PLANE, WORKERS, version)),
    }


def _kubeadm(cluster: Inventory, hosts: Plan, before: Snapshots, after: Snapshots, older: str) -> dict[str, float]:
    all_of_it = kubeadm.Hosts(cluster, CONTROL_PLANE, WORKERS)
    pinned = pins.load()
    version = pinned.components["kubernetes"].version
    plain.fresh_hosts(hosts)
    kubeadm.prepare(all_of_it, before, older)
    kubeadm.create(all_of_it, older, pinned.images["coredns"].version)
    kubeadm.join(all_of_it)
    plain.ssh(cluster, "cp1", plain.READY.replace(plain.KUBECTL, kubeadm.KUBECTL) % len(before))
    return {
        **_timed("kubeadm: files and images sent", lambda: kubeadm.stage(all_of_it, after, version)),
        **_timed("kubeadm: upgraded", lambda: kubeadm.upgrade(all_of_it, version)),
    }


def _installed(cluster: Inventory, hosts: Plan, **settings: Any) -> Snapshots:
    """What an installation on new hosts leaves there."""
    plain.fresh_hosts(hosts)
    _play(cluster, "cluster", **settings)
    return _snapshots(cluster)


def _snapshots(cluster: Inventory) -> Snapshots:
    return {name: plain.snapshot(cluster, name) for name in cluster.hosts}


def _play(cluster: Inventory, name: str, **settings: Any) -> None:
    ended = playbook.run(name, cluster.sources, cluster.state, ["--extra-vars", json.dumps(settings)])
    if not ended.ok:
        raise SystemExit(f"the run failed: {ended.log}")


def _timed(step: str, action: Callable[[], object]) -> dict[str, float]:
    """What an action takes, printed at once: another way may fail after it."""
    started = time.monotonic()
    action()
    seconds = time.monotonic() - started
    print(f"{step}: {seconds:.1f} s", flush=True)
    return {step: seconds}


def _inventory(directory: Path) -> Inventory:
    document = yaml.safe_load((paths.PROJECT / "inventory" / "test" / "hosts.yml").read_text(encoding="utf-8"))
    document["all"]["vars"]["local_host_network"] = NETWORK
    document["all"]["children"] = {
        "control_plane": {"hosts": _addressed(CONTROL_PLANE)},
        "etcd": {"hosts": {name: {} for name in CONTROL_PLANE}},
        "workers": {"hosts": _addressed(WORKERS)},
    }
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return inventory.load(path)


def _addressed(hosts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"ansible_host": address} for name, address in hosts.items()}


if __name__ == "__main__":
    ending.cleans_up()
    main()
