"""Whether a restore that did not get to its end is still to be resumed without asking."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from kubeproof.restore.checking import Look
from kubeproof.restore.record import Restore

# Whoever agreed to a restore longer ago may have repaired the cluster in another way since.
HOURS = 24


def outdated(restore: Restore, looks: Sequence[Look], now: datetime.datetime) -> str:
    """Why it is not resumed; empty if it is.

    A member that has a leader, and data that is not of this restore, has what nobody has agreed to lose: it may have
    been replaced since, or the whole cluster may be another one.
    """
    age = now - datetime.datetime.fromisoformat(restore.began)
    if not datetime.timedelta(0) <= age < datetime.timedelta(hours=HOURS):
        return f"that is not within the last {HOURS} hours"
    others = [look.host for look in looks if look.placed != restore.id and look.live.get("leader")]
    return f"etcd on {', '.join(others)} has quorum, with data that is not of this restore" if others else ""
