"""The containers that serve as hosts, through podman's command line."""

from __future__ import annotations

import hashlib
import io
import json
import resource
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.hosts import image, network
from kubeproof.hosts.plan import ContainerHost, Plan
from kubeproof.process import Result, attempt, run

_LABEL = "kubeproof"

# Directories that must not lie on the container's own overlay, on which containerd could not stack its own.
_VOLUMES = ("/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet")


@dataclass(frozen=True)
class Container:
    """A container as podman knows it."""

    name: str
    host: str
    state: str
    recipe: str
    inventory: str

    @property
    def running(self) -> bool:
        """Whether its processes run."""
        return self.state == "running"


def containers(network_name: str) -> list[Container]:
    """All containers of a network, by label, whatever became of the inventory that they were made from."""
    wanted = f"label={_LABEL}.network={network_name}"
    listed = json.loads(run(["podman", "ps", "--all", "--filter", wanted, "--format", "json"]))
    return [_container(each) for each in listed]


def _container(shown: Mapping[str, Any]) -> Container:
    labels = shown["Labels"]
    return Container(
        name=shown["Names"][0],
        host=labels[f"{_LABEL}.host"],
        state=shown["State"],
        recipe=labels[f"{_LABEL}.recipe"],
        inventory=labels[f"{_LABEL}.inventory"],
    )


def create(plan: Plan, host: ContainerHost) -> None:
    """Make a host's container without starting it."""
    labels = {
        "network": plan.network.name,
        "host": host.name,
        "inventory": str(plan.inventory),
        "recipe": recipe(plan, host),
    }
    named = [f"--label={_LABEL}.{key}={value}" for key, value in labels.items()]
    run(["podman", "--runtime", "runc", "create", "--name", host.container, *named, *_arguments(plan, host)])


def recipe(plan: Plan, host: ContainerHost) -> str:
    """What a container is made from; one with another recipe is not what the inventory asks for."""
    return hashlib.sha256(repr(_arguments(plan, host)).encode()).hexdigest()[:12]


def _arguments(plan: Plan, host: ContainerHost) -> list[str]:
    """How podman makes a container in which systemd, containerd and kubelet run as they do on a machine."""
    return [
        f"--hostname={host.name}",
        f"--network=ns:{network.NAMESPACES / network.host_namespace(plan.network, host.name)}",
        # Hosts have their own /etc/hosts and /etc/resolv.conf, which nobody rewrites at a restart.
        "--no-hosts",
        "--dns=none",
        "--privileged",
        # podman's own support for systemd, beside a private cgroup namespace, would let every host's systemd move
        # itself into the machine's root cgroup, where hosts stop each other's services. In the machine's cgroup
        # namespace, on the other hand, the paths that runc reads from /proc do not exist and no pod starts.
        "--systemd=false",
        "--cgroupns=private",
        "--env=container=podman",
        # SIGRTMIN+3: an orderly shutdown, to systemd.
        "--stop-signal=37",
        "--tmpfs=/run",
        "--tmpfs=/run/lock",
        "--tmpfs=/tmp",
        # podman asks for more than the machine may grant, unless told what that is.
        f"--ulimit=nofile={_hard_limit(resource.RLIMIT_NOFILE, 1048576)}",
        f"--ulimit=nproc={_hard_limit(resource.RLIMIT_NPROC, 32768)}",
        *(f"--volume={path}" for path in _VOLUMES),
        # Where there are modules to load, hosts find them as the machine does.
        *(["--volume=/lib/modules:/lib/modules:ro"] if Path("/lib/modules").is_dir() else []),
        *([f"--memory={host.memory}"] if host.memory else []),
        image.reference(),
        "/sbin/init",
    ]


def _hard_limit(which: int, wanted: int) -> str:
    """A soft and hard limit: what is wanted, or what this machine grants if that is less."""
    hard = resource.getrlimit(which)[1]
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return f"{granted}:{granted}"


def start(name: str) -> None:
    """Start a container that is stopped."""
    run(["podman", "start", name])


def stop(name: str) -> None:
    """Shut a host down."""
    run(["podman", "stop", "--time", "20", name])


def remove(name: str) -> None:
    """Remove a container, running or not, with the volumes that only it uses."""
    run(["podman", "rm", "--force", "--time", "3", "--volumes", name])


def put(name: str, files: Mapping[str, str]) -> None:
    """Write files into a container: paths from the root, and contents."""
    run(["podman", "cp", "-", f"{name}:/"], stdin=_archive(files))


def _archive(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content.encode())
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(content.encode()))
    return buffer.getvalue()


def execute(name: str, *command: str) -> Result:
    """Run a program in a host."""
    return attempt(["podman", "exec", name, *command])
