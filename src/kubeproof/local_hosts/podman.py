"""The containers that serve as hosts, through podman's command line."""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.core.locking import locked
from kubeproof.core.process import Result, attempt, run
from kubeproof.local_hosts import identity, image, network
from kubeproof.local_hosts.instance import Instance
from kubeproof.local_hosts.plan import HostKind, LocalHost, Plan

BOOT_SECONDS = 60.0

_LABEL = "kubeproof"

# Directories that must not lie on the container's own overlay, on which containerd could not stack its own.
_VOLUMES = ("/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet")


def instances(network_name: str) -> list[Instance]:
    """All containers of a network, by label, whatever became of the inventory that they were made from."""
    wanted = f"label={_LABEL}.network={network_name}"
    listed = json.loads(run(["podman", "ps", "--all", "--filter", wanted, "--format", "json"]))
    return [_instance(each) for each in listed]


def _instance(shown: Mapping[str, Any]) -> Instance:
    labels = shown["Labels"]
    return Instance(
        kind=HostKind.CONTAINER,
        unique_name=shown["Names"][0],
        host=labels[f"{_LABEL}.host"],
        state=shown["State"],
        recipe=labels[f"{_LABEL}.recipe"],
        inventory=labels[f"{_LABEL}.inventory"],
    )


def ensure_images(plan: Plan, report: Callable[[str], None]) -> None:
    """Have the images that the plan's containers start from."""
    cache = paths.cache_directory()
    for system in sorted({host.system for host in plan.hosts if host.kind is HostKind.CONTAINER}):
        if image.present(system):
            continue
        with locked(cache / "host-image.lock"):
            if image.present(system):
                continue
            report(f"making the image of {system} hosts from Debian packages, once; this takes a minute or two")
            image.remove_old()
            image.build(system, cache)


def create(plan: Plan, host: LocalHost, key: str) -> None:
    """Make a host's container without starting it."""
    labels = {
        "network": plan.network.name,
        "host": host.name,
        "inventory": str(plan.inventory),
        "recipe": recipe(plan, host),
    }
    named = [f"--label={_LABEL}.{key}={value}" for key, value in labels.items()]
    run(["podman", "--runtime", "runc", "create", "--name", host.unique_name, *named, *_arguments(plan, host)])
    _put(host, {**identity.files(plan, host), **identity.authorized_keys(host, key)})


def recipe(plan: Plan, host: LocalHost) -> str:
    """What a container is made from; one with another recipe is not what the inventory asks for."""
    return hashlib.sha256(repr(_arguments(plan, host)).encode()).hexdigest()[:12]


def _arguments(plan: Plan, host: LocalHost) -> list[str]:
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
        # podman asks for more than the machine may grant, unless it is given that limit.
        f"--ulimit=nofile={_hard_limit(resource.RLIMIT_NOFILE, 1048576)}",
        f"--ulimit=nproc={_hard_limit(resource.RLIMIT_NPROC, 32768)}",
        # With devices, as on a host's own disk: podman leaves them out of volumes.
        *(f"--mount=type=volume,destination={path},dev=true" for path in _VOLUMES),
        # Where there are modules to load, hosts find them as the machine does.
        *(["--volume=/lib/modules:/lib/modules:ro"] if Path("/lib/modules").is_dir() else []),
        *([f"--memory={host.memory}"] if host.memory else []),
        image.reference(host.system),
        "/sbin/init",
    ]


def _hard_limit(which: int, wanted: int) -> str:
    """A soft and hard limit: what is wanted, or what this machine grants if that is less."""
    hard = resource.getrlimit(which)[1]
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return f"{granted}:{granted}"


def authorize(_plan: Plan, host: LocalHost, key: str) -> None:
    """Let another public key into a container."""
    _put(host, identity.authorized_keys(host, key))


def _put(host: LocalHost, files: Mapping[str, identity.File]) -> None:
    """Write files into a container: paths from the root, and contents."""
    run(["podman", "cp", "-", f"{host.unique_name}:/"], stdin=identity.archive(files))


def start(_plan: Plan, host: LocalHost) -> None:
    """Start a container that is stopped."""
    run(["podman", "start", host.unique_name])


def stop(name: str) -> None:
    """Shut a host down."""
    run(["podman", "stop", "--time", "20", name])


def kill(name: str) -> None:
    """End all of a container's processes at once."""
    run(["podman", "kill", "--signal", "KILL", name])
    # One that is ending can't be started.
    run(["podman", "wait", name])


def remove(name: str) -> None:
    """Remove a container, running or not, with the volumes that only it uses."""
    run(["podman", "rm", "--force", "--time", "3", "--volumes", name])


def host_key(host: LocalHost) -> str:
    """A running container's public SSH key."""
    shown = execute(host.unique_name, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
    if not shown.ok:
        raise KubeproofError(f"host {host.name} has no SSH host key: {shown.stderr.strip()}")
    return shown.stdout


def execute(name: str, *command: str) -> Result:
    """Run a program in a container."""
    return attempt(["podman", "exec", name, *command])


def console(name: str) -> str:
    """How an operator looks into a container that SSH does not reach."""
    return f"podman exec -it {name} journalctl -b"


def first_process(name: str) -> int:
    """The process of this machine that is a container's first."""
    return int(run(["podman", "inspect", "--format", "{{.State.Pid}}", name]))
