"""What an operator asks for, as a goal: settings of the role ``upgrade``, and what the cluster has."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kubeproof.components.lock import Lock
from kubeproof.components.pins import Pins
from kubeproof.core.errors import KubeproofError
from kubeproof.core.versions import Version, parse
from kubeproof.upgrade.goal import ORDER, SCOPES, Direction, Goal, Kind
from kubeproof.upgrade.record import Record
from kubeproof.upgrade.world import CNI, CONTAINERD, CRI_DOCKERD, DNS, DOCKER, ETCD, KUBERNETES, RUNC, RUNTIMES, Target

# The components that an upgrade is about. Others follow with the converge at its end.
COMPONENTS = (KUBERNETES, ETCD, *RUNTIMES, CRI_DOCKERD, RUNC, CNI, DNS)


def goal(given: Mapping[str, Any], pinned: Pins, lock: Lock, record: Record, hosts: Sequence[str]) -> Goal:
    """The goal. ``given``: the settings, ``component_versions`` among them. Raises KubeproofError."""
    direction = _direction(str(given.get("direction") or "forward"))
    chosen = dict(given.get("component_versions") or {})
    if direction == "back":
        chosen |= _wanted_back(lock, record)
    if given.get("to"):
        chosen["kubernetes"] = str(given["to"]).removeprefix("v")
    wanted = pinned.with_versions(chosen)
    components = [name for name in COMPONENTS if name in wanted.components and name not in _of_other_runtimes(lock)]
    versions = {name: Version.of(wanted.components[name].version) for name in components}
    versions |= {name: Version.of(each.version) for name, each in wanted.images.items() if name == DNS}
    available = {
        name: frozenset(version for text in pinned.module_versions(pinned.components[name]) if (version := parse(text)))
        for name in (KUBERNETES, ETCD)
    }
    return Goal(
        Target(versions, available),
        direction,
        _only(given.get("only") or ()),
        _hosts(str(given.get("hosts") or ""), hosts),
        _until(str(given.get("until") or ""), direction),
        given.get("at_once") or 1,
        float(given.get("soak") or 0),
        rehearses=bool(given.get("rehearses", True)),
    )


def texts(versions: Mapping[str, Version]) -> dict[str, str]:
    """Versions as the setting ``component_versions`` has them."""
    return {name: str(version) for name, version in versions.items()}


def _direction(text: str) -> Direction:
    for direction in ORDER:
        if text == direction:
            return direction
    raise KubeproofError(f"the direction of an upgrade is {' or '.join(ORDER)}, not {text!r}")


def before(goal: Goal, lock: Lock) -> dict[str, str]:
    """What the cluster had before an upgrade that begins now: what a way back leads to.

    One that catches up with hosts which were left behind is to the versions that the cluster has already.
    """
    current = lock.versions("current")
    there = all(current.get(name) == version for name, version in texts(goal.versions).items())
    return lock.versions("previous") if goal.direction == "back" or there else current


def _wanted_back(lock: Lock, record: Record) -> dict[str, str]:
    """What the cluster had before the upgrade that is not finished, otherwise before the last one that was."""
    found = record.before or _noted_otherwise(record, lock)
    if not found:
        raise KubeproofError(
            "there is nothing to go back to: no upgrade of this cluster was recorded",
            hint="an older version is chosen with component_versions, and is refused where there is no way to it",
        )
    return {name: found[name] for name in COMPONENTS if name in found}


def _noted_otherwise(record: Record, lock: Lock) -> dict[str, str]:
    """The same, where the record of an upgrade does not say it: there is none, or an older kubeproof has begun it."""
    if record.direction == "back":
        return texts(record.unfinished)
    return lock.versions("current" if record.direction == "forward" else "previous")


def _of_other_runtimes(lock: Lock) -> set[str]:
    """Components of runtimes that the cluster does not have, by what it was given. Docker brings a runc of its own."""
    given = lock.versions("current") or lock.versions("target")
    runtime = next((each for each in RUNTIMES if each in given), CONTAINERD)
    return {*RUNTIMES} - {runtime} | ({RUNC} if runtime == DOCKER else {CRI_DOCKERD})


def _only(given: Collection[str]) -> frozenset[str]:
    unknown = sorted(set(given) - set(SCOPES))
    if unknown:
        raise KubeproofError(f"an upgrade is limited to {', '.join(SCOPES)}, not {', '.join(unknown)}")
    return frozenset(given)


def _hosts(pattern: str, names: Sequence[str]) -> frozenset[str] | None:
    """Hosts by names with ``*``, separated by commas; with ``!`` before it, all but these."""
    if not pattern:
        return None
    parts = [part.strip() for part in pattern.split(",") if part.strip()]
    unknown = [part for part in parts if not fnmatch.filter(names, part.removeprefix("!"))]
    if unknown:
        raise KubeproofError(f"no host of the cluster is named {', '.join(unknown)}")
    included = [part for part in parts if not part.startswith("!")] or ["*"]
    excluded = [part.removeprefix("!") for part in parts if part.startswith("!")]
    return frozenset(
        name
        for name in names
        if any(fnmatch.fnmatch(name, part) for part in included)
        and not any(fnmatch.fnmatch(name, part) for part in excluded)
    )


def _until(text: str, direction: Direction) -> Kind | None:
    if not text:
        return None
    for kind in ORDER[direction]:
        if text == kind:
            return kind
    what = "the way back" if direction == "back" else "an upgrade"
    raise KubeproofError(f"{what} ends after one of {', '.join(ORDER[direction])}, not {text!r}")
