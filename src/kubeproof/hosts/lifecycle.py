"""Local hosts from nothing to reachable by SSH, and away again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from kubeproof.errors import KubeproofError
from kubeproof.hosts import forwarding, image, machine, network, podman, ssh
from kubeproof.hosts.plan import ContainerHost, Plan
from kubeproof.locking import locked

Report = Callable[[str], None]

_UNTOUCHED = "runs already"
_ABSENT = "absent"
# What podman calls a container that has never run.
_UNFINISHED = {"created", "initialized"}

T = TypeVar("T")


def create(plan: Plan, cache: Path, report: Report, *, replace: bool = False) -> bool:
    """Make, or start, what is missing of the hosts; returns whether anything changed."""
    _refuse_foreign(plan)
    network.refuse_taken(plan.network)
    if replace or not _all_there(plan):
        _ensure_image(cache, report)
    with machine.turn():
        present = _clear_away(plan, report, replace=replace)
        machine.claim(plan.network.name)
        connected = network.ensure(plan)
        forwarding.ensure(plan)
        key, fresh_key = ssh.ensure_key(plan)
        outcomes = _each(plan, lambda host: _bring_up(plan, host, present.get(host.name), connected, key))
        if fresh_key:
            _each(plan, lambda host: podman.put(host.container, _authorized_keys(key)))
        new_to_ssh = ssh.write_known_hosts(plan, _each(plan, _await))
    for host in plan.hosts:
        report(f"{host.name} at {host.address}: {outcomes[host.name]}")
    return new_to_ssh or fresh_key or set(outcomes.values()) != {_UNTOUCHED}


def _each(plan: Plan, do: Callable[[ContainerHost], T]) -> dict[str, T]:
    """Do something to all hosts side by side; returns the results by host."""
    with ThreadPoolExecutor() as pool:
        return dict(zip((host.name for host in plan.hosts), pool.map(do, plan.hosts), strict=True))


def _all_there(plan: Plan) -> bool:
    return not {_ABSENT, *_UNFINISHED} & set(status(plan).values())


def _clear_away(plan: Plan, report: Report, *, replace: bool) -> dict[str, podman.Container]:
    """Remove the hosts that can't stay as they are; returns those that do, by name."""
    present = {each.host: each for each in podman.containers(plan.network.name)}
    for name in sorted(_useless(plan, present) | _outdated(plan, present, report, replace=replace)):
        podman.remove(present.pop(name).name)
        network.forget(plan.network, name)
    return present


def _useless(plan: Plan, present: Mapping[str, podman.Container]) -> set[str]:
    """Hosts that a killed run made but never started, and those of an inventory that is gone."""
    return {
        name
        for name, container in present.items()
        if container.state in _UNFINISHED or container.inventory != str(plan.inventory)
    }


def _refuse_foreign(plan: Plan) -> None:
    """Another inventory's hosts under the same network name are not ours to change, as long as there is one."""
    others = {each.inventory for each in podman.containers(plan.network.name)} - {str(plan.inventory)}
    if any(Path(other).exists() for other in others):
        raise KubeproofError(
            f"the hosts of the network {plan.network.name} belong to another inventory: {', '.join(sorted(others))}",
            hint="give this inventory another container_host_network.name and subnet, or take the others down first",
        )


def _ensure_image(cache: Path, report: Report) -> None:
    if image.present():
        return
    with locked(cache / "host-image.lock"):
        if image.present():
            return
        report("making the hosts' image from Debian packages, once; this takes a minute or two")
        image.remove_old(cache)
        image.build(cache)


def _outdated(plan: Plan, present: Mapping[str, podman.Container], report: Report, *, replace: bool) -> set[str]:
    """Hosts that are not what the inventory asks for now, and that go if the user said so."""
    wanted = {host.name: podman.recipe(plan, host) for host in plan.hosts}
    differ = {name for name, container in present.items() if wanted.get(name) != container.recipe}
    found = differ - _useless(plan, present)
    if found and not replace:
        names = ", ".join(sorted(found))
        report(f"{names}: not as the inventory and this version make hosts now; --replace makes them anew")
        return set()
    return found


def _bring_up(plan: Plan, host: ContainerHost, present: podman.Container | None, connected: set[str], key: str) -> str:
    """Bring one host to where its systemd runs; returns what that took, in words."""
    if present is None:
        podman.create(plan, host)
        podman.put(host.container, {**_identity(plan, host), **_authorized_keys(key)})
        podman.start(host.container)
        return "made and started"
    if present.running and host.name not in connected:
        return _UNTOUCHED
    if present.running:
        # Its network was taken from under it; it gets the new one at its next start.
        podman.stop(host.container)
    podman.start(host.container)
    return "started again"


def _identity(plan: Plan, host: ContainerHost) -> dict[str, str]:
    """What makes a host itself."""
    # An isolated host's resolver is its own address, where nothing listens: names fail at once.
    resolvers = [str(host.address)] if plan.network.isolated else machine.resolvers()
    return {
        "etc/hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{host.address} {host.name}\n",
        "etc/resolv.conf": "".join(f"nameserver {address}\n" for address in resolvers),
    }


def _authorized_keys(key: str) -> dict[str, str]:
    return {"root/.ssh/authorized_keys": key}


def _await(host: ContainerHost) -> str:
    """Wait until a host is up; returns its public SSH key."""
    ssh.wait_until_reachable(host)
    shown = podman.execute(host.container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
    if not shown.ok:
        raise KubeproofError(f"host {host.name} has no SSH host key: {shown.stderr.strip()}")
    return shown.stdout


def destroy(plan: Plan, report: Report) -> bool:
    """Remove the hosts and their network, of an earlier form of the inventory too; returns whether there were any."""
    _refuse_foreign(plan)
    with machine.turn():
        present = podman.containers(plan.network.name)
        with ThreadPoolExecutor() as pool:
            list(pool.map(podman.remove, [each.name for each in present]))
        for each in present:
            report(f"{each.host}: removed")
        had_network = network.exists(plan.network)
        forwarding.remove(plan.network)
        network.remove(plan.network)
        machine.release(plan.network.name)
        shutil.rmtree(ssh.directory(plan), ignore_errors=True)
    return bool(present) or had_network


def status(plan: Plan) -> dict[ContainerHost, str]:
    """What became of each host of the inventory, in a word."""
    present = {each.host: each.state for each in podman.containers(plan.network.name)}
    return {host: present.get(host.name, _ABSENT) for host in plan.hosts}
