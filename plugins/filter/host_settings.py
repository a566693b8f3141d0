"""``ansible_facts['kubeproof_host'] | host_settings`` is a ``kubeproof.settings.host_settings.HostSettings``.

``__cluster_host.conntrack | conntrack_sysctls(limit, established, close_wait)`` are sysctls by name.
``__cluster_host.inotify | inotify_sysctls(instances, watches)`` likewise.
``names | examined(hostvars)`` are those of the hosts that are in the run and could be reached.
``names | unreachable(hostvars)`` are those that could not be.
``amount | at_once_besides(nodes, lost)`` is ``cluster_nodes_at_once`` where some nodes are unreachable.
``names | patience(hostvars)`` is what limits of time are multiplied by for what all these hosts take part in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from ansible.errors import AnsibleFilterError

from kubeproof.core.amounts import at_once
from kubeproof.core.errors import KubeproofError
from kubeproof.core.patience import factor
from kubeproof.settings import host_settings as settings
from kubeproof.settings.host_report import HostReport, reported


def host_settings(report: object) -> settings.HostSettings:
    """Settings that follow from a host's report, each with its reason."""
    if not isinstance(report, dict) or "cgroup" not in report:
        raise AnsibleFilterError(
            "this run has not gathered the facts of this host: the play that does comes before all others, and neither "
            "--start-at-task nor --skip-tags may leave it out; use --tags instead"
        )
    return settings.derive(cast(HostReport, report))


def conntrack_sysctls(
    host: settings.ConntrackSettings, limit: Any, established: Any, close_wait: Any
) -> dict[str, str]:
    """Sysctls for connection tracking on a host."""
    return settings.conntrack_sysctls(host, int(limit), int(established), int(close_wait))


def inotify_sysctls(host: settings.InotifySettings, instances: Any, watches: Any) -> dict[str, str]:
    """Sysctls for the limits of inotify on a host."""
    return settings.inotify_sysctls(host, int(instances), int(watches))


def patience(names: list[str], hostvars: Mapping[str, Any]) -> float:
    """The factor of the slowest of those hosts that were examined."""
    found = [reported(hostvars, name) for name in names]
    return max((factor(report["work_seconds"]) for report in found if "work_seconds" in report), default=1.0)


def examined(names: list[str], hostvars: Mapping[str, Any]) -> list[str]:
    """Those of the hosts whose facts this run has gathered: neither left out of it, nor unreachable."""
    return [name for name in names if "arch" in reported(hostvars, name)]


def unreachable(names: list[str], hostvars: Mapping[str, Any]) -> list[str]:
    """Those of the hosts that this run has not reached."""
    return [name for name in names if reported(hostvars, name).get("unreachable")]


def at_once_besides(amount: int | str, nodes: Any, lost: Any) -> int | str:
    """How many of the nodes may be without a pod at a time: the amount, and besides it those that are lost.

    A rollout of a DaemonSet counts these, too, and would wait for them before it begins with any other.
    """
    try:
        number = at_once(amount, int(nodes))
    except KubeproofError as error:
        raise AnsibleFilterError(f"cluster_nodes_at_once: {error}") from error
    if int(lost):
        return number + int(lost)
    return int(amount) if str(amount).strip().isdigit() else str(amount)


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "host_settings": host_settings,
            "conntrack_sysctls": conntrack_sysctls,
            "inotify_sysctls": inotify_sysctls,
            "examined": examined,
            "unreachable": unreachable,
            "at_once_besides": at_once_besides,
            "patience": patience,
        }
