"""A cluster brought up the plain way: what an installation left on its hosts, put on others and started.

Nothing is checked, nothing is ordered: the limit to aim at. Benchmarks use it, and make of it the hosts that kubeadm
begins with.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import Plan
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.remote import ssh_command

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
STAGED = "/var/lib/staged"
EVERYTHING = ("etc", "usr", "opt", "var/lib/kubeproof")
NODE_UNITS = ("containerd", "kube-proxy", "kubelet")
_START = (
    "sysctl -q -p /etc/sysctl.d/99-zz-kubeproof.conf; systemctl daemon-reload; systemctl start --no-block %s; "
    "if command -v ctr >/dev/null; then until ctr version >/dev/null 2>&1; do sleep 0.1; done; "
    "find /var/lib/kubeproof -name '*.tar' -exec ctr --namespace k8s.io images import --local {} ';' >/dev/null; fi"
)
# Written by the API server; another one writes its own.
SERVERS_OWN = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields")


@dataclass(frozen=True)
class Snapshot:
    """What an installation put on a host: an archive of the files, and the units to start."""

    archive: bytes
    units: list[str]


def fresh_hosts(hosts: Plan) -> None:
    """Remove the hosts, if there are any, and make new ones."""
    lifecycle.destroy(hosts, silent)
    lifecycle.create(hosts, silent)


def silent(_message: str) -> None:
    """Progress is not what is measured."""


def everywhere(names: Iterable[str], action: Callable[[str], object]) -> None:
    """Do something for all of these hosts at once."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(action, names))


def ssh(cluster: Inventory, name: str, script: str, given: bytes = b"") -> bytes:
    """What a script prints on a host; it must succeed."""
    command = [*ssh_command(cluster.hosts[name]), script]
    return subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True).stdout


def snapshot(cluster: Inventory, name: str) -> Snapshot:
    """What an installation put on a host."""
    manifest = json.loads(ssh(cluster, name, "cat /var/lib/kubeproof/manifest.json"))["entries"]
    units = [entry["name"] for entry in manifest if entry["kind"] == "unit"]
    files = [entry["path"] for entry in manifest if entry["kind"] in ("file", "directory")]
    files += [f"/etc/systemd/system/{unit}" for unit in units]
    # The users that own them; and what a package manager or a container has under /run is not ours to carry.
    files += ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/var/lib/etcd"]
    listed = "\n".join(path for path in files if not path.startswith("/run/"))
    pack = "tar --create --no-recursion --ignore-failed-read --absolute-names --files-from=- 2>/dev/null"
    return Snapshot(ssh(cluster, name, pack, listed.encode()), units)


def system_objects(cluster: Inventory) -> bytes:
    """What an installation stored for the cluster's DNS and its own use, as JSON for another API server."""
    cluster_wide_last = SYSTEM_OBJECTS.split()
    listed = json.loads(ssh(cluster, "cp1", f"{KUBECTL} get -o json {shlex.join(cluster_wide_last)}"))
    for item in listed["items"]:
        item.pop("status", None)
        item["metadata"] = {key: value for key, value in item["metadata"].items() if key not in SERVERS_OWN}
    return json.dumps(listed).encode()


def send(cluster: Inventory, snapshots: Mapping[str, Snapshot]) -> None:
    """Put the files where they were."""
    everywhere(snapshots, lambda name: ssh(cluster, name, "tar --extract --absolute-names", snapshots[name].archive))


def start(cluster: Inventory, snapshots: Mapping[str, Snapshot]) -> None:
    """Start everything at once, and import the images as soon as the runtime answers."""
    everywhere(snapshots, lambda name: ssh(cluster, name, _START % shlex.join(snapshots[name].units)))


def store(cluster: Inventory, objects: bytes) -> None:
    """Store objects as soon as the first API server takes them."""
    apply = f"until {KUBECTL} apply --server-side -f - </tmp/objects >/dev/null 2>&1; do sleep 0.2; done"
    ssh(cluster, "cp1", f"cat >/tmp/objects; {apply}", objects)


# Upgrades


def stage(cluster: Inventory, snapshots: Mapping[str, Snapshot]) -> None:
    """Have the files of another version on each host, beside those in use."""
    unpack = f"rm -rf {STAGED}; mkdir {STAGED}; tar --extract -C {STAGED}"
    everywhere(snapshots, lambda name: ssh(cluster, name, unpack, snapshots[name].archive))


def switch(cluster: Inventory, name: str, parts: Iterable[str], *units: str) -> None:
    """Put staged files in the place of those in use, and restart units one after the other.

    ``parts``: directories of the host without a first slash; what is not there is left out.
    """
    copies = [
        f"if [ -d {STAGED}/{part} ]; then mkdir -p /{part}; cp -a --remove-destination {STAGED}/{part}/. /{part}; fi"
        for part in parts
    ]
    restarts = [f"systemctl restart {unit}" for unit in units]
    ssh(cluster, name, "\n".join(["set -e", *copies, "systemctl daemon-reload", *restarts]))


@contextmanager
def drained(cluster: Inventory, first: str, name: str, version: str, kubectl: str = KUBECTL) -> Iterator[None]:
    """Without pods; at the end it has to be ready, with a kubelet of this version.

    ``first``: the host where kubectl is called.
    """
    ssh(cluster, first, f"{kubectl} drain {name} --ignore-daemonsets --delete-emptydir-data >/dev/null 2>&1")
    yield
    of = f"{kubectl} get node {name} -o 'jsonpath={{.status.nodeInfo.kubeletVersion}}'"
    ready = f"{kubectl} wait --for=condition=Ready node/{name} --timeout=60s"
    until = f'until [ "$({of})" = v{version} ] && {ready}; do sleep 0.2; done'
    ssh(cluster, first, f"({until}; {kubectl} uncordon {name}) >/dev/null 2>&1")


def upgrade(cluster: Inventory, control_plane: Iterable[str], workers: Iterable[str], version: str) -> None:
    """The restarts of an upgrade of what was staged, one at a time, each waited for; nothing is looked at before.

    What is of the control plane is restarted twice, as by a playbook that first has it emulate the old minor version.
    """
    masters = list(control_plane)
    for name in masters:
        switch(cluster, name, EVERYTHING, "etcd")
    for _ in range(2):
        for name in masters:
            switch(cluster, name, (), "kube-apiserver")
            ssh(cluster, name, f"until {KUBECTL} get --raw=/readyz >/dev/null 2>&1; do sleep 0.2; done")
        for name in masters:
            switch(cluster, name, (), "kube-controller-manager", "kube-scheduler")
    for name in [*workers, *masters]:
        with drained(cluster, masters[0], name, version):
            switch(cluster, name, EVERYTHING, *NODE_UNITS)
    ssh(cluster, masters[0], DNS)
