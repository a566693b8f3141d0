"""Where the time of an installation goes, what the components themselves need, and what kubeadm takes.

    .venv/bin/python -m bench.converge [--repeat N]

Makes three local hosts of its own, installs a cluster on them and runs again; prints, from the profile that the
playbook's callback writes, a table by role and task of the first run. Then it makes the hosts anew and brings the same
files up the plain way, which is the limit to aim at: one archive per host over SSH, all units started at once, nothing
checked, nothing ordered. And once more with kubeadm, of the same module, hosts and images: see kubeadm.py. Each is
timed until all nodes are ready and the cluster's DNS is up; with N rounds the last table has the medians.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from bench import kubeadm
from rich.console import Console
from rich.table import Table

from kubeproof.components import pins
from kubeproof.core import paths
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import Plan, plan
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.remote import ssh_command

NETWORK = {"name": "kubeproof-bench", "subnet": "10.213.249.0/24"}
ADDRESSES = {"cp1": "10.213.249.11", "w1": "10.213.249.21", "w2": "10.213.249.22"}
# Found through the operator's credential, on the control-plane host.
KUBECTL = (
    "kubectl --server=https://127.0.0.1:6443 --certificate-authority=/etc/kubernetes/pki/ca.crt "
    "--client-certificate=/etc/kubernetes/operator/client.crt --client-key=/etc/kubernetes/operator/client.key"
)
SYSTEM_OBJECTS = (
    "-n kube-system sa/coredns cm/coredns deploy/coredns svc/kube-dns clusterrole/system:coredns "
    "clusterrolebinding/system:coredns clusterrolebinding/kubeproof:apiserver-kubelet-client"
)
READY = (
    f"until {KUBECTL} wait --for=condition=Ready node --all --timeout=60s >/dev/null 2>&1 && "
    f'[ "$({KUBECTL} get nodes -o name | wc -l)" = %d ]; do sleep 0.2; done'
)
DNS = f"until {KUBECTL} -n kube-system rollout status deploy/coredns --timeout=60s >/dev/null 2>&1; do sleep 0.2; done"
# Written by the API server; another one writes its own.
SERVERS_OWN = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields")


@dataclass(frozen=True)
class Snapshot:
    """What an installation put on a host: an archive of the files, and the units to start."""

    archive: bytes
    units: list[str]


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
            _fresh_hosts(hosts)
            as_pods = ("--extra-vars", "cluster_control_plane_form=static-pods")
            playbook.run("cluster", cluster.sources, cluster.state, as_pods)
            images = {name: _snapshot(cluster, name) for name in cluster.hosts}
            rounds = [_measure(console, cluster, hosts, images) for _ in range(arguments.repeat)]
        finally:
            lifecycle.destroy(hosts, _silent)
    table = Table("step", "seconds", title=f"From no hosts to a cluster, medians of {len(rounds)}")
    for step in rounds[0]:
        table.add_row(step, f"{statistics.median(measured[step] for measured in rounds):.1f}")
    console.print(table)


def _measure(console: Console, cluster: Inventory, hosts: Plan, images: dict[str, Snapshot]) -> dict[str, float]:
    made = _timed(lambda: _fresh_hosts(hosts))
    first = playbook.run("cluster", cluster.sources, cluster.state)
    second = playbook.run("cluster", cluster.sources, cluster.state)
    console.print(_by_role(first.profile))
    console.print(_by_task(first.profile))
    snapshots = {name: _snapshot(cluster, name) for name in cluster.hosts}
    objects = _system_objects(cluster)
    measured = {
        "hosts made": made,
        "first run": first.profile["seconds"],
        f"second run ({second.count('changed')} changed)": second.profile["seconds"],
    }
    _fresh_hosts(hosts)
    measured |= {f"the plain way: {step}": time for step, time in _plain(cluster, snapshots, objects).items()}
    console.print(measured)
    _fresh_hosts(hosts)
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


def _fresh_hosts(hosts: Plan) -> None:
    lifecycle.destroy(hosts, _silent)
    lifecycle.create(hosts, _silent)


def _silent(_message: str) -> None:
    """Progress is not what is measured."""


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


def _ssh(cluster: Inventory, name: str, script: str, given: bytes = b"") -> bytes:
    command = [*ssh_command(cluster.hosts[name]), script]
    return subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True).stdout


def _snapshot(cluster: Inventory, name: str) -> Snapshot:
    manifest = json.loads(_ssh(cluster, name, "cat /var/lib/kubeproof/manifest.json"))["entries"]
    units = [entry["name"] for entry in manifest if entry["kind"] == "unit"]
    files = [entry["path"] for entry in manifest if entry["kind"] in ("file", "directory")]
    files += [f"/etc/systemd/system/{unit}" for unit in units]
    # The users that own them; and what a package manager or a container has under /run is not ours to carry.
    files += ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/var/lib/etcd"]
    listed = "\n".join(path for path in files if not path.startswith("/run/"))
    pack = "tar --create --no-recursion --ignore-failed-read --absolute-names --files-from=- 2>/dev/null"
    return Snapshot(_ssh(cluster, name, pack, listed.encode()), units)


def _system_objects(cluster: Inventory) -> bytes:
    cluster_wide_last = SYSTEM_OBJECTS.split()
    listed = json.loads(_ssh(cluster, "cp1", f"{KUBECTL} get -o json {shlex.join(cluster_wide_last)}"))
    for item in listed["items"]:
        item.pop("status", None)
        item["metadata"] = {key: value for key, value in item["metadata"].items() if key not in SERVERS_OWN}
    return json.dumps(listed).encode()


def _plain(cluster: Inventory, snapshots: dict[str, Snapshot], objects: bytes) -> dict[str, float]:
    """Files, units, objects; and no more waiting than for what the next step cannot do without."""

    def everywhere(action: Callable[[str], object]) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(action, snapshots))

    started = time.monotonic()
    everywhere(lambda name: _ssh(cluster, name, "tar --extract --absolute-names", snapshots[name].archive))
    sent = time.monotonic()
    everywhere(lambda name: _ssh(cluster, name, _start(snapshots[name].units)))
    apply = f"until {KUBECTL} apply --server-side -f - </tmp/objects >/dev/null 2>&1; do sleep 0.2; done"
    _ssh(cluster, "cp1", f"cat >/tmp/objects; {apply}", objects)
    _ssh(cluster, "cp1", READY % len(snapshots))
    ready = time.monotonic()
    _ssh(cluster, "cp1", DNS)
    return {
        "files sent": sent - started,
        "all nodes ready": ready - started,
        "DNS up": time.monotonic() - started,
    }


def _kubeadm(cluster: Inventory, snapshots: dict[str, Snapshot]) -> dict[str, float]:
    """With kubeadm: the same files and images are there, and its own are made."""

    def on(name: str, script: str, given: bytes) -> bytes:
        return _ssh(cluster, name, script, given)

    def everywhere(action: Callable[[str], object], names: Iterable[str] = ADDRESSES) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(action, names))

    pinned = pins.load()
    version, dns = pinned.components["kubernetes"].version, pinned.images["coredns"].version
    kubeadm.program()
    started = time.monotonic()
    everywhere(lambda name: on(name, "tar --extract --absolute-names", snapshots[name].archive))
    configuration = on("cp1", "cat /etc/kubernetes/kubelet/config.yaml", b"")
    everywhere(lambda name: kubeadm.prepare(on, name, ADDRESSES[name]))
    everywhere(lambda name: kubeadm.images(on, name, version))
    loaded = time.monotonic()
    everywhere(lambda name: on(name, f"systemctl start --no-block {shlex.join(kubeadm.UNITS)}", b""), ["cp1"])
    services = "10.96.0.0/16"  # The default of cluster_service_network.
    kubeadm.init(on, ADDRESSES["cp1"], version, dns, configuration, services)
    initialized = time.monotonic()
    everywhere(lambda name: on(name, f"systemctl start --no-block {shlex.join(kubeadm.NODE_UNITS)}", b""))
    everywhere(lambda name: kubeadm.join(on, name, ADDRESSES[name], ADDRESSES["cp1"]), ["w1", "w2"])
    _ssh(cluster, "cp1", READY.replace(KUBECTL, kubeadm.KUBECTL) % len(snapshots))
    ready = time.monotonic()
    _ssh(cluster, "cp1", DNS.replace(KUBECTL, kubeadm.KUBECTL))
    return {
        "files and images sent": loaded - started,
        "init": initialized - loaded,
        "all nodes ready, without files and images": ready - loaded,
        "DNS up, without files and images": time.monotonic() - loaded,
        "DNS up": time.monotonic() - started,
    }


def _start(units: Iterable[str]) -> str:
    """Start everything at once, and import the images as soon as the runtime answers."""
    names = shlex.join(units)
    images = "find /var/lib/kubeproof -name '*.tar' -exec ctr --namespace k8s.io images import --local {} ';'"
    return (
        "sysctl -q -p /etc/sysctl.d/99-kubernetes.conf; systemctl daemon-reload; "
        f"systemctl start --no-block {names}; "
        "if command -v ctr >/dev/null; then until ctr version >/dev/null 2>&1; do sleep 0.1; done; "
        f"{images} >/dev/null; fi"
    )


if __name__ == "__main__":
    main()
