"""What tests of virtual machines do with clusters and their hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.local.snapshots import Snapshot

from kubeproof.api import kubectl
from kubeproof.core import waiting
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import HostKind, plan
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.remote import login

# Of units of ours, by their files.
_UNITS = "$(cd /etc/systemd/system && ls *.service)"
_BACK_SECONDS = 1200.0


@contextmanager
def new_hosts(cluster: Inventory) -> Iterator[Inventory]:
    """The hosts of an inventory, new ones with nothing on them; removed at the end."""
    made = plan(cluster)
    lifecycle.destroy(made, print)
    try:
        lifecycle.create(made, print)
        yield cluster
    finally:
        lifecycle.destroy(made, print)


def restart(cluster: Inventory, name: str) -> None:
    """Boot a machine again, and wait until all that its boot starts is started."""
    boot = on(cluster, name, "cat /proc/sys/kernel/random/boot_id")
    login(cluster.host(name)).run("systemctl reboot")
    await_that(
        lambda: attempt_on(cluster, name, "cat /proc/sys/kernel/random/boot_id") not in ("", boot), "it restarts"
    )
    await_that(
        lambda: attempt_on(cluster, name, "systemctl is-system-running || true") in ("running", "degraded"),
        "its boot is over",
    )


def play(cluster: Inventory) -> playbook.Run:
    return playbook.run("cluster", cluster.sources, cluster.state)


def machines(cluster: Inventory) -> list[str]:
    """The hosts that have a kernel of their own."""
    return [host.name for host in plan(cluster).hosts if host.kind is HostKind.VM]


def on(cluster: Inventory, name: str, command: str) -> str:
    """What a command prints as root on a host."""
    result = login(cluster.host(name)).run(command, timeout=120)
    assert result.ok, result.stderr
    return result.stdout.strip()


def attempt_on(cluster: Inventory, name: str, command: str) -> str:
    """The same, or nothing if it fails."""
    result = login(cluster.host(name)).run(command, timeout=120)
    return result.stdout.strip() if result.ok else ""


def snapshots(cluster: Inventory) -> dict[str, Snapshot]:
    return {name: Snapshot.take(host) for name, host in cluster.hosts.items()}


def starts(cluster: Inventory, name: str) -> str:
    """When each of our units was started, by systemd's own number for that."""
    return on(cluster, name, f"systemctl show --property=Id,InvocationID {_UNITS}")


def restarts(cluster: Inventory, name: str) -> dict[str, int]:
    """Units of ours that systemd has had to start again."""
    shown = on(cluster, name, f"systemctl show --property=Id,NRestarts {_UNITS}")
    found = re.findall(r"NRestarts=(\d+)\nId=(\S+)|Id=(\S+)\nNRestarts=(\d+)", shown)
    counts = {one or other: int(first or last) for first, one, other, last in found}
    return {unit: count for unit, count in counts.items() if count}


def pods(cluster: Inventory, node: str) -> set[str]:
    """The pods that are ready on a node, and are to stay."""
    asked = kubectl.query(cluster.state, "get", "pods", "--all-namespaces", f"--field-selector=spec.nodeName={node}")
    items = (asked or {}).get("items", [])
    return {
        item["metadata"]["name"]
        for item in items
        # What a verification leaves goes in its own time.
        if "deletionTimestamp" not in item["metadata"]
        and {"type": "Ready", "status": "True"}.items()
        <= next((each for each in item["status"].get("conditions", []) if each["type"] == "Ready"), {}).items()
    }


def ready(cluster: Inventory, node: str) -> bool:
    asked = kubectl.query(cluster.state, "get", "node", node)
    conditions = (asked or {}).get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def await_that(happens: Callable[[], bool], what: str) -> None:
    assert waiting.until(happens, _BACK_SECONDS, pause=2.0), f"not within {_BACK_SECONDS:.0f} s: {what}"
