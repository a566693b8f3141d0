"""The rules of network policies, which their engine writes again when a pod or a policy changes, or after minutes.

Without its jumps no policy is enforced, and nothing else shows it. The engine looks for them at its start.
"""

from __future__ import annotations

import time
from typing import Callable

from kubeproof.install.pod_network import iptables
from kubeproof.install.pod_network.commands import run, succeeds
from kubeproof.install.pod_network.ruleset import Ruleset

# What leads from the kernel's own chain to the engine's, and from there to the rule that comes last.
_JUMPS = (
    ("filter", "FORWARD", "KUBE-ROUTER-FORWARD"),
    ("filter", "INPUT", "KUBE-ROUTER-INPUT"),
    ("filter", "KUBE-ROUTER-FORWARD", "KUBE-NWPLCY-TAIL"),
)
# A first start waits for the API, and then has all rules to write.
_STARTING_SECONDS = 15.0
_MICROSECONDS = 1e-6


class NetworkPolicy:
    """The network policy engine of this node. ``unit``: its unit; empty if there is none."""

    def __init__(self, unit: str, ruleset: Ruleset, clock: Callable[[], float] = time.monotonic) -> None:
        self._unit = unit
        self._ruleset = ruleset
        self._clock = clock

    def lost(self) -> bool:
        """Whether the engine has run for long enough to have written its rules, and they are not there."""
        if not self._unit or self._present():
            return False
        # Before it is believed, once more: it may have written them since.
        return self._running_seconds() > _STARTING_SECONDS and not self._present()

    def restart(self) -> None:
        """Restart the engine. A stopped one stays stopped."""
        if succeeds("systemctl", "is-active", "--quiet", self._unit):
            run("systemctl", "--no-block", "try-restart", self._unit)

    def _present(self) -> bool:
        return all(iptables.leads(self._ruleset, *jump) for jump in _JUMPS)

    def _running_seconds(self) -> float:
        """How long the unit has been active; 0 if it is not."""
        shown = run("systemctl", "show", "--property=ActiveState,ActiveEnterTimestampMonotonic", self._unit)
        properties = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        if properties.get("ActiveState") != "active":
            return 0.0
        return self._clock() - int(properties["ActiveEnterTimestampMonotonic"]) * _MICROSECONDS
