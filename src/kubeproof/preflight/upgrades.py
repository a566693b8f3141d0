"""Settings of upgrades that mean nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubeproof.settings import runtimes

# In a turn of component_service: waiting for the gate, for the health, and for what it recovers.
_WAITS = 3
# The node that is to be ready, and the pod that is to be reached.
_NODE_SECONDS = 180
_LONGEST = 86400
# What a turn may wait for, by the kind of its act.
_TURNS = {
    "etcd's": ("etcd_start_timeout",),
    "an API server's": ("apiserver_start_timeout",),
    "the controllers'": ("controller_manager_start_timeout", "scheduler_start_timeout"),
    "a node's": ("{runtime}_start_timeout", "kubelet_start_timeout", "kube_proxy_start_timeout"),
}


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings of the right type that mean nothing, each with what is wrong."""
    name = "upgrade_confirm_seconds"
    if name not in values:
        return
    given = int(values[name])
    if given > _LONGEST:
        yield name, f"{given} is not a number of seconds up to {_LONGEST}"
    for what, names in _TURNS.items():
        timeouts = [each.format(runtime=runtimes.chosen(values)) for each in names]
        if not all(each in values for each in timeouts):
            continue
        needed = _WAITS * sum(int(values[each]) for each in timeouts) + (_NODE_SECONDS if what == "a node's" else 0)
        if given < needed:
            yield (
                name,
                (
                    f"{given} s are too short: {what} turn may take {needed} s by {', '.join(timeouts)}, and its host "
                    f"would put itself back meanwhile. Choose {needed} or more"
                ),
            )
