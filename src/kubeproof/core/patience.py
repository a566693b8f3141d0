"""How much longer than usual something may take on a host that is slow.

Time limits are such that an ordinary machine meets them many times over. A host that takes longer for a small, fixed
piece of work, an emulated virtual machine for example, takes longer to start a component or a pod as well, and that is
no fault of theirs.
"""

from __future__ import annotations

# The interpreter's own work, see ``work`` in plugins/modules/host_report.py: on a server of 2024, and on what is seven
# times as slow.
FAST_SECONDS = 0.007
USUAL_SECONDS = 0.05
MOST = 10.0
# What a user may ask for.
RANGE = (1, 100)


def factor(seconds: float, most: float = MOST) -> float:
    """What limits are multiplied by where the work took so long: at least 1."""
    return min(max(seconds / USUAL_SECONDS, 1.0), most)
