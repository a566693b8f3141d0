"""Quantities of Kubernetes in settings: what is set, and what of it no API server or kubelet would take. No Ansible.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

_QUANTITY = re.compile(
    r"\+?(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)(?P<suffix>|[KMGTPE]i|[numkMGTPE]|[eE](?P<exponent>[+-]?[0-9]{1,3}))"
)
_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {letter: Decimal(1000) ** power for power, letter in enumerate(("n", "u", "m", "", "k", *"MGTPE"), -3)}
_PERCENTAGE = re.compile(r"[0-9]+(\.[0-9]+)?%")
# Of which a kubelet reserves something (cmd/kubelet/app/server.go, parseResourceList).
_RESERVED = ("cpu", "memory", "ephemeral-storage", "pid")
_RESERVES = ("kubelet_kube_reserved", "kubelet_system_reserved")
# What a kubelet evicts pods for (pkg/kubelet/eviction/api/types.go).
_SIGNALS = (
    "memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree",
    "containerfs.available", "containerfs.inodesFree", "allocatableMemory.available", "pid.available",
)  # fmt: skip
_EVICTION = "kubelet_eviction_hard"


def amount(given: Any) -> Decimal | None:
    """A quantity as a number, of cores, bytes or pieces; ``None`` if it is none, or below 0."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return None
    found = _QUANTITY.fullmatch(str(given))
    if found is None:
        return None
    number = Decimal(found["number"])
    if found["exponent"]:
        return number.scaleb(int(found["exponent"]))
    return number * {**_BINARY, **_DECIMAL}[found["suffix"]]


def threshold(given: Any, whole: int) -> Decimal | None:
    """A quantity, or the share of a whole that a percentage is; ``None`` if it is neither."""
    if isinstance(given, str) and _PERCENTAGE.fullmatch(given):
        return Decimal(given.removesuffix("%")) * whole / 100
    return amount(given)


def resources(given: Any) -> Iterator[str]:
    """What is wrong with the ``resources`` of a container."""
    if not isinstance(given, Mapping):
        yield f"{given!r} is not a dictionary of requests and limits"
        return
    if set(given) - {"requests", "limits"}:
        yield "has something else than requests and limits"
        return
    sound: dict[str, dict[str, Decimal]] = {"requests": {}, "limits": {}}
    for kind, wanted in given.items():
        if not isinstance(wanted, Mapping):
            yield f"{kind}: {wanted!r} is not a dictionary like {{cpu: 100m, memory: 100Mi}}"
            continue
        for resource, quantity in wanted.items():
            number = amount(quantity)
            if number is None:
                yield f"{kind} {resource}: {quantity!r} is not a quantity, like 100m or 100Mi"
            else:
                sound[kind][str(resource)] = number
    for resource, number in sound["requests"].items():
        limit = sound["limits"].get(resource)
        if limit is not None and number > limit:
            asked, most = (given[kind][resource] for kind in sound)
            yield f"requests {resource}: {asked} is more than the limit, {most}"


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with what kubelets are given, as setting and problem: with it they would not start."""
    for setting in _RESERVES:
        for resource, quantity in _given(values, setting):
            if resource not in _RESERVED:
                yield setting, f"{resource!r} cannot be reserved; a kubelet knows {', '.join(_RESERVED)}"
            elif amount(quantity) is None:
                yield setting, f"{resource}: {quantity!r} is not a quantity, like 100m or 100Mi"
            else:
                yield from ((setting, problem) for problem in _text(resource, quantity))
    for signal, threshold in _given(values, _EVICTION):
        if signal not in _SIGNALS:
            yield _EVICTION, f"{signal!r} is not a signal; a kubelet knows {', '.join(_SIGNALS)}"
        elif not _is_threshold(threshold):
            yield _EVICTION, f"{signal}: {threshold!r} is neither a quantity nor a percentage, like 100Mi or 10%"
        else:
            yield from ((_EVICTION, problem) for problem in _text(signal, threshold))


def _given(values: Mapping[str, Any], setting: str) -> Iterator[tuple[str, Any]]:
    """Entries of a setting; none of a template that is rendered on hosts, as the defaults are."""
    given = values.get(setting)
    return iter(given.items() if isinstance(given, Mapping) else ())


def _is_threshold(given: Any) -> bool:
    if isinstance(given, str) and _PERCENTAGE.fullmatch(given):
        return Decimal(given.removesuffix("%")) <= 100
    return bool(amount(given))


def _text(name: str, given: Any) -> Iterator[str]:
    """A kubelet's configuration has texts there, and is refused by it with a number."""
    if not isinstance(given, str):
        yield f'{name}: {given!r} is a number, of which a kubelet takes the text: write "{given}"'
