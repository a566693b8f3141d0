"""Local hosts from nothing to reachable by SSH, and away again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts import forwarding, instances, machine, network, repository, ssh
from kubeproof.local_hosts.instance import UNFINISHED, Instance
from kubeproof.local_hosts.instances import MAKERS, Report, maker
from kubeproof.local_hosts.plan import LocalHost, Plan

_UNTOUCHED = "runs already"
_ABSENT = "absent"

T = TypeVar("T")


def create(plan: Plan, report: Report, *, replace: bool = False) -> bool:
    """Make, or start, what is missing of the hosts; returns whether anything changed."""
    # At once, and again in the turn: whoever had it before may have made hosts meanwhile.
    _refuse_taken(plan)
    if replace or not _all_there(plan):
        for kind in sorted({host.kind for host in plan.hosts}):
            MAKERS[kind].ensure_images(plan, report)
    with machine.turn():
        _refuse_taken(plan)
        present = _clear_away(plan, report, replace=replace)
        machine.claim(plan.network.name)
        connected = network.ensure(plan)
        forwarding.ensure(plan)
        repository.ensure(plan)
        key, fresh_key = ssh.ensure_key(plan)
        outcomes = _each(plan, lambda host: _bring_up(plan, host, present.get(host.name), connected, key))
        if fresh_key:
            _each(plan, lambda host: maker(host).authorize(plan, host, key) if host.name in present else None)
    # Others may take their turn while these start.
    new_to_ssh = ssh.write_known_hosts(plan, _each(plan, _await))
    for host in plan.hosts:
        report(f"{host.name} at {host.address}: {outcomes[host.name]}")
    return new_to_ssh or fresh_key or set(outcomes.values()) != {_UNTOUCHED}


def _each(plan: Plan, do: Callable[[LocalHost], T]) -> dict[str, T]:
    """Do something to all hosts side by side; returns the results by host."""
    with ThreadPoolExecutor() as pool:
        return dict(zip((host.name for host in plan.hosts), pool.map(do, plan.hosts), strict=True))


def _all_there(plan: Plan) -> bool:
    return not {_ABSENT, *UNFINISHED} & set(status(plan).values())


def _clear_away(plan: Plan, report: Report, *, replace: bool) -> dict[str, Instance]:
    """Remove the hosts that can't stay as they are; returns those that do, by name."""
    present = {each.host: each for each in instances.present(plan.network.name)}
    if not replace:
        _refuse_inherited(plan, present)
    for name in sorted(_useless(plan, present) | _outdated(plan, present, report, replace=replace)):
        _remove(present.pop(name))
        network.forget(plan.network, name)
        report(f"{name}: removed")
    return present


def _useless(plan: Plan, present: Mapping[str, Instance]) -> set[str]:
    """Hosts that a killed run made but never started, and those of an inventory that is gone."""
    return {
        name
        for name, instance in present.items()
        if instance.state in UNFINISHED or instance.inventory != str(plan.inventory)
    }


def _refuse_inherited(plan: Plan, present: Mapping[str, Instance]) -> None:
    """Hosts that run are somebody's cluster, wherever their inventory has gone: perhaps only by another name."""
    running = {name: each for name, each in present.items() if each.running and each.inventory != str(plan.inventory)}
    if running:
        were = ", ".join(sorted({each.inventory for each in running.values()}))
        raise KubeproofError(
            f"hosts of the network {plan.network.name} run, and their inventory is gone: "
            f"{', '.join(sorted(running))} of {were}",
            hint="move it back to there; or remove these hosts, and what is on them: `down`, "
            f"`up --replace-hosts` or `hosts create --replace` of {plan.inventory}",
        )


def _refuse_taken(plan: Plan) -> None:
    """Raise an error if the network's name or its addresses are somebody else's."""
    _refuse_foreign(plan)
    network.refuse_taken(plan.network)


def _refuse_foreign(plan: Plan) -> None:
    """Another inventory's hosts under the same network name are not ours to change, as long as there is one."""
    others = {each.inventory for each in instances.present(plan.network.name)} - {str(plan.inventory)}
    if any(Path(other).exists() for other in others):
        raise KubeproofError(
            f"the hosts of the network {plan.network.name} belong to another inventory: {', '.join(sorted(others))}",
            hint="give this inventory another local_host_network.name and subnet, or take the others down first",
        )


def _outdated(plan: Plan, present: Mapping[str, Instance], report: Report, *, replace: bool) -> set[str]:
    """Hosts that are not what the inventory asks for now, and that go if the user said so."""
    wanted = {host.name: (host.kind, maker(host).recipe(plan, host)) for host in plan.hosts}
    differ = {name for name, instance in present.items() if wanted.get(name) != (instance.kind, instance.recipe)}
    found = differ - _useless(plan, present)
    if found and not replace:
        names = ", ".join(sorted(found))
        report(f"{names}: the definition of these hosts has changed; --replace recreates them")
        return set()
    return found


def _bring_up(plan: Plan, host: LocalHost, present: Instance | None, connected: set[str], key: str) -> str:
    """Bring one host to where its systemd runs; returns what that took, in words."""
    made_by = maker(host)
    if present is None:
        made_by.create(plan, host, key)
        made_by.start(plan, host)
        return "made and started"
    if present.running and host.name not in connected:
        return _UNTOUCHED
    if present.running:
        # Its network was taken from under it; it gets the new one at its next start.
        made_by.stop(host.unique_name)
    made_by.start(plan, host)
    return "started again"


def _await(host: LocalHost) -> str:
    """Wait until a host is up; returns its public SSH key."""
    made_by = maker(host)
    ssh.wait_until_reachable(host, timeout=made_by.BOOT_SECONDS, look=made_by.console(host.unique_name))
    return made_by.host_key(host)


def _remove(instance: Instance) -> None:
    MAKERS[instance.kind].remove(instance.unique_name)


def destroy(plan: Plan, report: Report) -> bool:
    """Remove the hosts and their network, of an earlier form of the inventory too; returns whether there were any."""
    with machine.turn():
        _refuse_foreign(plan)
        present = instances.present(plan.network.name)
        with ThreadPoolExecutor() as pool:
            list(pool.map(_remove, present))
        for each in present:
            report(f"{each.host}: removed")
        had_network = network.exists(plan.network)
        repository.stop(plan.network)
        forwarding.remove(plan.network)
        network.remove(plan.network)
        for stays in machine.release(plan.network.name):
            report(stays)
        ssh.forget(plan)
    return bool(present) or had_network


def status(plan: Plan) -> dict[LocalHost, str]:
    """What became of each host of the inventory, in a word. Raises KubeproofError unless this is root."""
    machine.require_root()
    present = {each.host: each.state for each in instances.present(plan.network.name)}
    return {host: present.get(host.name, _ABSENT) for host in plan.hosts}
