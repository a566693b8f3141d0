"""What the tests of disasters do to a cluster, and how they look at it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from kubeproof.api import kubectl
from kubeproof.backup import keys
from kubeproof.components.lock import Lock
from kubeproof.core import paths
from kubeproof.core.process import run
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle, network, podman
from kubeproof.local_hosts.plan import plan
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.remote import ssh_command
from kubeproof.verify.observe.cluster import TEST_IMAGE

_UNITS = "etcd kube-apiserver kube-controller-manager kube-scheduler kubelet containerd"
# Written anew all the time, by whoever runs.
_FLEETING = ("Event", "Lease")

Uids = dict[str, str]


class LocalCluster:
    """A local cluster that may be lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._addresses: dict[str, str] = {}

    @property
    def inventory(self) -> Inventory:
        """As it is described now."""
        return inventory.load(self.path)

    def make_hosts(self) -> None:
        """Have all hosts that the inventory describes."""
        lifecycle.create(plan(self.inventory), print)

    def install(self) -> None:
        """Have the cluster; nothing changes if it is there."""
        self.make_hosts()
        self.play("cluster")
        self.admit()

    def admit(self) -> None:
        """Let the etcd hosts, whose keys are new where the hosts are, bring copies of backups to the worker."""
        keys = [self.on(host.name, "kubeproof-backup public-key").decode() for host in self.inventory.group("etcd")]
        self.on(
            "w1",
            "id copies > /dev/null 2>&1 || useradd --create-home copies; "
            "install -d -o copies -m 0700 ~copies/.ssh /srv/copies; "
            f"printf %s {shlex.quote(''.join(keys))} > ~copies/.ssh/authorized_keys",
        )

    def play(self, name: str, **variables: Any) -> playbook.Run:
        """Run a playbook that must get to its end."""
        ended = playbook.run(name, self.path, self.inventory.state, ["--extra-vars", json.dumps(variables)])
        assert ended.ok, f"playbooks/{name}.yml failed: {ended.log}"
        return ended

    def part(self, *options: str, fails: bool = False, **variables: Any) -> playbook.Run:
        """Run a part of the playbook for the cluster, by options of ansible-playbook."""
        given = [*options, "--extra-vars", json.dumps(variables)]
        ended = playbook.run("cluster", self.path, self.inventory.state, given)
        assert ended.ok is not fails, f"playbooks/cluster.yml {' '.join(options)}: {ended.log}"
        return ended

    def refused(self, name: str, **variables: Any) -> str:
        """Run a playbook that must not get to its end; returns what it said."""
        ended = playbook.run(name, self.path, self.inventory.state, ["--extra-vars", json.dumps(variables)])
        assert not ended.ok, f"playbooks/{name}.yml was not refused"
        return ended.log.read_text()

    # Hosts

    def on(self, host: str, command: str) -> bytes:
        """What a command prints on a host; it must succeed."""
        return subprocess.run(
            [*ssh_command(self.inventory.host(host)), command], check=True, capture_output=True
        ).stdout

    def processes(self, hosts: Sequence[str]) -> dict[str, list[str]]:
        """The main processes of the components on these hosts."""
        ask = f"systemctl show --property=MainPID --value {_UNITS}"
        return {host: self.on(host, ask).decode().split() for host in hosts}

    def containers(self, hosts: Sequence[str] = ("w1", "w2")) -> set[str]:
        """The containers that run on these hosts, with their processes and when these were started."""
        ask = "for pid in $(pgrep -f '^/agnhost pause'); do echo $pid $(cut -d' ' -f22 /proc/$pid/stat); done"
        return {f"{host} {line}" for host in hosts for line in self.on(host, ask).decode().splitlines()}

    def lose(self, hosts: Sequence[str], addresses: dict[str, str]) -> None:
        """Remove hosts with all that is on them, and make new ones of their names, some with other addresses."""
        local = plan(self.inventory).network
        for host in hosts:
            podman.remove(f"{local.name}-{host}")
            network.forget(local, host)
        document = yaml.safe_load(self.path.read_text())
        for host, address in addresses.items():
            document["all"]["children"]["control_plane"]["hosts"][host]["ansible_host"] = address
        self.path.write_text(yaml.safe_dump(document))
        self.make_hosts()

    def members(self, hosts: Sequence[str]) -> None:
        """Let these hosts, in this order, be the inventory's etcd and control plane."""
        document = yaml.safe_load(self.path.read_text())
        children = document["all"]["children"]
        self._addresses |= {host: str(each.variables["ansible_host"]) for host, each in self.inventory.hosts.items()}
        children["control_plane"]["hosts"] = {host: {"ansible_host": self._addresses[host]} for host in hosts}
        children["etcd"]["hosts"] = dict.fromkeys(hosts)
        self.path.write_text(yaml.safe_dump(document))

    # What the cluster has

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints."""
        return run([*kubectl.command(self.inventory.state), *arguments], timeout=120)

    def fill(self) -> None:
        """Have something run on the workers."""
        if "keep" not in self.kubectl("get", "deployments", "--output=name"):
            version = Lock(self.inventory.state).versions("current")[TEST_IMAGE]
            made = f"--image=localhost/kubeproof/{TEST_IMAGE}:{version}"
            self.kubectl("create", "deployment", "keep", made, "--replicas=4", "--", "/agnhost", "pause")
        self.kubectl("rollout", "status", "deployment/keep", "--timeout=100s")

    def uids(self) -> Uids:
        """Every object of the cluster, and its UID."""
        # What cannot be watched is kept nowhere: measurements have no UID.
        kinds = self.kubectl("api-resources", "--verbs=list,watch", "--output=name").split()
        kinds = [kind for kind in kinds if not kind.startswith(("events", "leases"))]
        found = json.loads(self.kubectl("get", ",".join(kinds), "--all-namespaces", "--output=json"))["items"]
        return {_name(item): item["metadata"]["uid"] for item in found if item["kind"] not in _FLEETING}

    @property
    def elsewhere(self) -> Path:
        """Where copies are kept: not in pytest's directory, which other runs of pytest empty."""
        directory = self.path.parent / "elsewhere"
        directory.mkdir(exist_ok=True)
        return directory

    def backup(self, host: str) -> Path:
        """A backup that a host makes now, and its copy elsewhere."""
        self.on(host, "kubeproof-backup save --trigger hand")
        name = self.on(host, "ls -1 /var/backups/etcd").decode().split()[-1]
        packed = self.on(host, f"tar -C /var/backups/etcd -cf - {name}")
        subprocess.run(["tar", "-C", str(self.elsewhere), "--no-same-owner", "-xf", "-"], input=packed, check=True)
        return self.elsewhere / name

    def forget_keys(self) -> Path:
        """Lose the cluster's keys on the controller; returns where the one that opens the backup's is kept."""
        state = self.inventory.state
        identity = self.elsewhere / keys.IDENTITY
        shutil.move(state / keys.IDENTITY, identity)
        shutil.rmtree(state / "pki")
        shutil.rmtree(state / "backup-keys")
        (state / "admin.kubeconfig").unlink()
        return identity


@contextmanager
def small_cluster(directory: Path, network_name: str, subnet: str) -> Iterator[LocalCluster]:
    """A cluster of one control-plane host, cp1, and a worker, w1, on a network of its own; removed at the end.

    ``subnet``: a /24, such as ``10.213.248.0/24``.
    """
    described = describe(network_name, subnet, {"cp1": 11}, {"w1": 21})
    with made_cluster(directory, described) as made:
        yield made


def describe(
    network_name: str, subnet: str, control_plane: dict[str, int], workers: dict[str, int], **settings: Any
) -> dict[str, Any]:
    """An inventory of local hosts, with etcd on those of the control plane.

    ``control_plane``, ``workers``: by name the last number of its address in ``subnet``, a /24. ``settings``: of the
    cluster.
    """
    prefix = subnet.removesuffix("0/24")
    document: dict[str, Any] = yaml.safe_load((paths.PROJECT / "inventory" / "test" / "hosts.yml").read_text())
    document["all"]["vars"] |= {"local_host_network": {"name": network_name, "subnet": subnet}, **settings}
    document["all"]["children"] = {
        "control_plane": {"hosts": {name: {"ansible_host": f"{prefix}{at}"} for name, at in control_plane.items()}},
        "etcd": {"hosts": {name: {} for name in control_plane}},
        "workers": {"hosts": {name: {"ansible_host": f"{prefix}{at}"} for name, at in workers.items()}},
    }
    return document


@contextmanager
def made_cluster(directory: Path, described: dict[str, Any], **variables: Any) -> Iterator[LocalCluster]:
    """An installed cluster, removed at the end. ``variables``: of the installation alone, not of the inventory."""
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump(described))
    made = LocalCluster(path)
    try:
        made.make_hosts()
        made.play("cluster", **variables)
        yield made
    finally:
        lifecycle.destroy(plan(inventory.load(path)), print)


def _name(item: dict[str, Any]) -> str:
    where = item["metadata"].get("namespace", "")
    return f"{item['apiVersion']} {item['kind']} {where}/{item['metadata']['name']}"
