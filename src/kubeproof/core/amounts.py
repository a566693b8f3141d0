"""Amounts as people read and write them."""

from __future__ import annotations

import math

from kubeproof.core.errors import KubeproofError


def size(number: float) -> str:
    """An amount of bytes."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def at_once(told: int | str, hosts: int) -> int:
    """How many of so many hosts may be away at a time."""
    text = str(told).strip()
    number = text.removesuffix("%")
    if not number.isdigit() or int(number) < 1 or (text.endswith("%") and int(number) > 100):
        raise KubeproofError(f"{told!r} is neither a number of hosts nor a percentage like 25%")
    return max(1, math.floor(hosts * int(number) / 100)) if text.endswith("%") else min(int(number), max(hosts, 1))
