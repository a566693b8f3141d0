"""Checks of versions: what is installed against what is wanted.

Sources: https://kubernetes.io/releases/version-skew-policy/ and https://etcd.io/docs/v3.6/upgrades/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import Host

APISERVER = "kube-apiserver"
# How many minor versions a component may be older than the API server. None may be newer.
OLDER = {"kube-controller-manager": 1, "kube-scheduler": 1, "kubelet": 3, "kube-proxy": 3}
# What keeps its data in a form that moves on one minor version at a time.
STORES = (APISERVER, "etcd")

Version = tuple[int, int, int]


def parse(version: str) -> Version | None:
    """``v1.36.3`` as (1, 36, 3), whatever follows; ``None`` if it is no version."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def check_versions(hosts: Sequence[Host], wanted: Mapping[str, str]) -> Iterator[Finding]:
    """``wanted``: versions by program, as pinned. A program that either side does not know is not compared."""
    pinned = _parsed(wanted)
    yield from _among_pins(pinned)
    for host in hosts:
        if host.report is not None:
            present = _parsed(host.report["installed"]["versions"])
            yield from _steps(host.name, present, pinned)
            yield from _between(host.name, present, pinned)


def _parsed(versions: Mapping[str, str]) -> dict[str, Version]:
    return {name: version for name, text in versions.items() if (version := parse(text))}


def _among_pins(pinned: Mapping[str, Version]) -> Iterator[Finding]:
    for name in OLDER:
        if APISERVER in pinned and name in pinned:
            problem = _skew(name, pinned[name], pinned[APISERVER])
            if problem:
                yield Finding("version-skew", problem, "Choose versions within the version skew policy.", name)


def _steps(host: str, present: Mapping[str, Version], pinned: Mapping[str, Version]) -> Iterator[Finding]:
    """From what is there to what is wanted, by each program."""
    for name in sorted(present.keys() & pinned.keys()):
        before, after = present[name], pinned[name]
        move = f"{name} would go from {_text(before)} to {_text(after)}"
        if after[:2] < before[:2]:
            remediation = f"Choose {_text(before)} or newer. To go back, restore a backup."
            yield Finding("version-step", f"{move}, a downgrade", remediation, name, host)
        elif name in STORES and after[:2] > (before[0], before[1] + 1):
            remediation = f"Choose {before[0]}.{before[1] + 1} first, then the next."
            yield Finding("version-step", f"{move}, skipping a minor version", remediation, name, host)


def _between(host: str, present: Mapping[str, Version], pinned: Mapping[str, Version]) -> Iterator[Finding]:
    """The control plane goes first: for a while the new API server is there for the programs that are."""
    for name in OLDER:
        if APISERVER in pinned and name in present and present[name] != pinned.get(name):
            problem = _skew(name, present[name], pinned[APISERVER])
            if problem:
                remediation = f"Upgrade {APISERVER} in steps, and {name} after each."
                yield Finding("version-skew", f"installed: {problem}", remediation, name, host)


def _skew(name: str, version: Version, apiserver: Version) -> str:
    """What is wrong with a program beside an API server; empty if nothing is."""
    pair = f"{name} {_text(version)} beside {APISERVER} {_text(apiserver)}"
    if version[:2] > apiserver[:2]:
        return f"{pair}: it must not be newer"
    if version[:2] < (apiserver[0], apiserver[1] - OLDER[name]):
        return f"{pair}: it may be at most {OLDER[name]} minor version{'s' * (OLDER[name] > 1)} older"
    return ""


def _text(version: Version) -> str:
    return "v" + ".".join(str(part) for part in version)
