"""Settings of etcd's defragmentation that mean nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubeproof.backup import calendar
from kubeproof.core.errors import KubeproofError

# name: lowest, highest, unit.
_RANGES = {
    "etcd_defragment_percent": (1, 100, "percentage"),
    "etcd_defragment_bytes": (0, 1 << 50, "number of bytes"),
    "etcd_defragment_timeout": (1, 86400, "number of seconds"),
}


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings of the right type that mean nothing, each with what is wrong."""
    schedule = str(values.get("etcd_defragment_schedule", ""))
    if schedule:
        try:
            calendar.interval(schedule)
        except KubeproofError as error:
            yield "etcd_defragment_schedule", f"{error.args[0]}; {error.hint}"
    for name, (lowest, highest, unit) in _RANGES.items():
        if not lowest <= int(values.get(name, lowest)) <= highest:
            yield name, f"{values[name]} is not a {unit} from {lowest} to {highest}"
