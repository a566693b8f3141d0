"""How much longer than usual a verification waits: as long as its slowest host needs, see ``kubeproof.core.patience``.

What must not happen is not looked for any longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.core.patience import FAST_SECONDS, RANGE, USUAL_SECONDS, factor
from kubeproof.verify.observe.hosts import CommandFailed, Host, on_hosts

SETTING = "cluster_verification_patience"

# As host_report does it, which may have been on another day.
_WORK = """
import time
def work():
    start, total = time.perf_counter(), 0
    for number in range(200000):
        total += number % 7
    return time.perf_counter() - start
print(min(work() for _ in range(3)))
"""
# An emulated machine on a busy host; what is refuted there is refuted after as many times the usual wait.
_MOST = 20.0


@dataclass(frozen=True)
class Patience:
    """``factor`` is what limits are multiplied by, at least 1; ``seconds`` what each host took for the work."""

    factor: float
    seconds: Mapping[str, float]

    @property
    def notes(self) -> list[str]:
        """That limits are stretched, and for whose sake, as warnings of a report."""
        if self.factor == 1:
            return []
        slow = {name: seconds for name, seconds in self.seconds.items() if seconds > USUAL_SECONDS}
        names = ", ".join(f"{name} ({seconds / FAST_SECONDS:.0f} times)" for name, seconds in slow.items())
        why = f"hosts are slower than a server of today, {names}" if slow else "so asked for"
        return [f"time limits were {self.factor:.1f} times the usual ones: {why}"]


def measure(hosts: Iterable[Host]) -> Patience:
    """Give each host the work, side by side."""
    seconds = on_hosts(hosts, _seconds)
    return Patience(factor(max(seconds.values(), default=0.0), _MOST), seconds)


def given(text: str, what: str = "--patience") -> Patience:
    """What a user asks for instead. Raises KubeproofError if it is no number from 1 to 100."""
    lowest, highest = RANGE
    try:
        wanted = float(text)
    except ValueError:
        wanted = 0.0
    if not lowest <= wanted <= highest:
        raise KubeproofError(f"{what} {text!r} is not a factor from {lowest} to {highest}")
    return Patience(wanted, {})


def decide(asked: str, settings: Mapping[str, Any], hosts: Iterable[Host]) -> Patience:
    """What the command line asks for, else the inventory, else what the hosts need."""
    if asked:
        return given(asked)
    setting = settings.get(SETTING) or 0
    return given(str(setting), SETTING) if setting else measure(hosts)


def _seconds(host: Host) -> float:
    try:
        return float(host.run("python3 -c %s", _WORK))
    except (CommandFailed, ValueError):
        # A host without Python is for the tests to complain of.
        return 0.0
