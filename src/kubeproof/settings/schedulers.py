"""The schedulers of a control-plane host: the cluster's own, and those that pods may name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

DEFAULT = "default-scheduler"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_FIELDS = {"port", "config", "args"}
_PORTS = range(1, 65536)


def problems(more: Mapping[str, Any], default_port: int) -> Iterator[str]:
    """What is wrong with ``scheduler_more``, a line each. ``default_port`` is that of the cluster's own scheduler."""
    taken = {default_port}
    for name, given in sorted(more.items()):
        if problem := _problem(str(name), given, taken):
            yield problem
        else:
            taken.add(given["port"])


def ports(more: Mapping[str, Any], default_port: int) -> dict[str, int]:
    """Those of the additional schedulers, by name. What is wrong with others :func:`problems` tells."""
    found: dict[str, int] = {}
    for name, given in sorted(more.items()):
        if not _problem(str(name), given, {default_port, *found.values()}):
            found[str(name)] = given["port"]
    return found


def _problem(name: str, given: Any, taken: Collection[int]) -> str:
    if not _NAME.fullmatch(name) or name == DEFAULT:
        return f"{name!r} is not a valid scheduler name: lower-case letters, digits and -, at most 40 characters"
    if not isinstance(given, Mapping) or set(given) - _FIELDS or "port" not in given:
        return f"{name} takes port (a number, needed), config and args"
    port = given["port"]
    if not isinstance(port, int) or isinstance(port, bool) or port not in _PORTS:
        return f"{name} has port {port!r}, which is not a number from 1 to {_PORTS[-1]}"
    return f"{name} has port {port}, which another scheduler has" if port in taken else ""


def instances(
    more: Mapping[str, Mapping[str, Any]], port: int, config: Mapping[str, Any], args: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """All schedulers of a host: the default one with its port, configuration and flags, and those of ``more``."""
    default = {"port": port, "config": config, "args": args}
    return [_instance(DEFAULT, default), *(_instance(name, given) for name, given in sorted(more.items()))]


def units(names: Iterable[str]) -> list[str]:
    """Those of the units that are schedulers."""
    return [name for name in names if name == "kube-scheduler.service" or name.startswith("kube-scheduler-")]


def directory(unit: str) -> str:
    """Where a scheduler of this unit has its configuration."""
    return "/etc/kubernetes/" + unit.removeprefix("kube-").removesuffix(".service")


def _instance(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    suffix = [] if name == DEFAULT else [name]
    return {
        "name": name,
        "unit": "-".join(["kube-scheduler", *suffix]) + ".service",
        "directory": "-".join(["/etc/kubernetes/scheduler", *suffix]),
        "user": ":".join(["system:kube-scheduler", *suffix]),
        "lease": "-".join(["kube-scheduler", *suffix]),
        "port": given["port"],
        "config": given.get("config", {}),
        "args": given.get("args", {}),
    }
