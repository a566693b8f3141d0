"""How much longer than usual a verification waits: hosts may be slow, and that is no fault of the cluster's.

Time limits of tests are such that an ordinary machine meets them many times over. A host that takes longer for the same
work, an emulated virtual machine for example, takes longer to start a pod as well. So each host is given a small piece
of work first, and limits are stretched by how slow the slowest is. What must not happen is not looked for any longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kubeproof.errors import KubeproofError
from kubeproof.verify.hosts import CommandFailed, Host, each

# The interpreter's own work, the best of three times: 7 ms on a server of 2024, 50 ms is a machine seven times as slow.
_WORK = """
import time
def work():
    start, total = time.perf_counter(), 0
    for number in range(200000):
        total += number % 7
    return time.perf_counter() - start
print(min(work() for _ in range(3)))
"""
_FAST_SECONDS = 0.007
_USUAL_SECONDS = 0.05
_MOST = 6.0


@dataclass(frozen=True)
class Patience:
    """``factor`` is what limits are multiplied by, at least 1; ``seconds`` what each host took for the work."""

    factor: float
    seconds: Mapping[str, float]

    @property
    def told(self) -> list[str]:
        """That limits are stretched, and for whose sake, as warnings of a report."""
        if self.factor == 1:
            return []
        slow = {name: seconds for name, seconds in self.seconds.items() if seconds > _USUAL_SECONDS}
        names = ", ".join(f"{name} ({seconds / _FAST_SECONDS:.0f} times)" for name, seconds in slow.items())
        why = f"hosts are slower than a server of today, {names}" if slow else "so asked for"
        return [f"time limits were {self.factor:.1f} times the usual ones: {why}"]


def measure(hosts: Iterable[Host]) -> Patience:
    """Give each host the work, side by side."""
    seconds = each(hosts, _seconds)
    factor = max(seconds.values(), default=0.0) / _USUAL_SECONDS
    return Patience(min(max(factor, 1.0), _MOST), seconds)


def given(text: str) -> Patience:
    """What a user asks for instead. Raises KubeproofError if it is no number from 1 to 100."""
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= 100:
        raise KubeproofError(f"--patience {text!r} is not a factor from 1 to 100")
    return Patience(factor, {})


def _seconds(host: Host) -> float:
    try:
        return float(host.run("python3 -c %s", _WORK))
    except (CommandFailed, ValueError):
        # A host without Python is for the tests to complain of.
        return 0.0
