"""A change of settings restarts every component of every host, host by host, and no client may notice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from tests import observed

from kubeproof.install import playbook
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.faults.campaign import Campaign
from kubeproof.verify.observe.cluster import Cluster

# One setting of each component, to something as good as what it was.
CHANGE: Mapping[str, Any] = {
    "etcd_extra_config": {"max-request-bytes": 1572865},
    "apiserver_audit_log_files": 6,
    "controller_manager_extra_args": {"concurrent-gc-syncs": 19},
    "scheduler_extra_config": {"podMaxBackoffSeconds": 9},
    "kubelet_extra_config": {"maxPods": 109},
    "kube_proxy_extra_config": {"iptables": {"minSyncPeriod": "2s"}},
}
# What an API server answers to a write that was on its way to etcd's leader as leadership moved (go.etcd.io/raft,
# ErrProposalDropped). They are failures like others, counted by themselves since their cause is known: docs/faults.md.
DROPPED = "possibly due to previous leader failure"
UNITS = {
    "etcd": ("etcd",),
    "control_plane": ("kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    "workers": ("kubelet", "kube-proxy"),
}


def test_a_change_rolls_over_all_hosts_without_a_failed_request(
    campaign: Campaign, cluster: Cluster, described: Inventory, tell: Callable[[str], None]
) -> None:
    generations = [_processes(cluster)]

    def change_and_change_back() -> None:
        for settings in (CHANGE, {}):
            run = playbook.run("cluster", described.sources, described.state, ["--extra-vars", json.dumps(settings)])
            assert run.ok, f"the converge failed; {run.log} tells how"
            campaign.await_whole("after a converge")
            generations.append(_processes(cluster))

    seen = campaign.observe(change_and_change_back)
    for line in observed.summary(seen):
        tell(line)
    assert not seen.violations, seen.violations
    assert not seen.diverged
    assert not seen.unseen
    failed = observed.failed(seen)
    dropped = sum(DROPPED in str(entry.get("detail", "")) for entry in failed)
    told = f"{len(failed)} questions failed, of which etcd dropped {dropped} as its leadership moved"
    assert not failed, "\n".join([told, *observed.said(failed[:10], seen.started)])
    for before, after in pairwise(generations):
        same = [f"{unit} on {host}" for (host, unit), process in after.items() if before[host, unit] == process]
        assert not same, f"these were not restarted, so that nothing is proven of them: {', '.join(same)}"


def _processes(cluster: Cluster) -> dict[tuple[str, str], str]:
    """The main process of each unit that the change concerns."""
    return {
        (host.name, unit): host.run("systemctl show --property=MainPID --value %s", unit).strip()
        for group, units in UNITS.items()
        for host in cluster.hosts.group(group)
        for unit in units
    }
