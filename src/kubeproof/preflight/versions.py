"""Checks of versions: what is installed against what is wanted, by Kubernetes' version skew policy.

Source: https://kubernetes.io/releases/version-skew-policy/ and https://etcd.io/docs/v3.6/upgrades/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from kubeproof.preflight.findings import SETTINGS, Finding
from kubeproof.preflight.model import Host

APISERVER = "kube-apiserver"
# How many minor versions a component may be older than the API server. None may be newer.
OLDER = {"kube-controller-manager": 1, "kube-scheduler": 1, "kubelet": 3, "kube-proxy": 3}
# What keeps its data in a form that an older version cannot be trusted with, and that is moved on one minor at a time.
STORES = (APISERVER, "etcd")

Version = tuple[int, int, int]


def parse(version: str) -> Version | None:
    """``v1.36.3`` as (1, 36, 3), whatever follows; ``None`` if it is no version."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def check_versions(hosts: Sequence[Host], wanted: Mapping[str, str]) -> Iterator[Finding]:
    """``wanted``: the pinned version of each component. Only what both sides name is compared."""
    pinned = {name: version for name, text in wanted.items() if (version := parse(text))}
    yield from _among_pins(pinned)
    for host in hosts:
        if host.report is not None:
            installed = host.report["installed"]["components"]
            present = {name: version for name, text in installed.items() if (version := parse(text))}
            yield from _host(host.name, present, pinned)


def _among_pins(pinned: Mapping[str, Version]) -> Iterator[Finding]:
    for name in OLDER:
        if APISERVER in pinned and name in pinned:
            problem = _skew(name, pinned[name], pinned[APISERVER])
            if problem:
                yield Finding("version-skew", name, SETTINGS, problem, "Pin versions that go together.")


def _host(host: str, present: Mapping[str, Version], pinned: Mapping[str, Version]) -> Iterator[Finding]:
    for name in sorted(present.keys() & pinned.keys()):
        problem = _step(name, present[name], pinned[name])
        if problem:
            yield Finding("version-step", name, host, *problem)
    # The control plane goes first: for a while the new API server serves the old components.
    for name in OLDER:
        if APISERVER in pinned and name in present:
            problem_now = _skew(name, present[name], pinned[APISERVER])
            if problem_now and pinned.get(name) != present[name]:
                mend = f"Upgrade {APISERVER} in steps, and {name} between them."
                yield Finding("version-skew", name, host, f"installed: {problem_now}", mend)


def _step(name: str, present: Version, wanted: Version) -> tuple[str, str] | None:
    """What is wrong with going from one version to another, and how to mend it."""
    move = f"{name} would go from {_text(present)} to {_text(wanted)}"
    if wanted[:2] < present[:2]:
        return f"{move}: a downgrade", f"Pin {_text(present)} or newer. To go back, restore a backup."
    if name in STORES and wanted[:2] > (present[0], present[1] + 1):
        return f"{move}, skipping minor versions", f"Pin {present[0]}.{present[1] + 1}.x first, then the next."
    return None


def _skew(name: str, version: Version, apiserver: Version) -> str:
    """What is wrong with a component beside an API server; empty if nothing is."""
    pair = f"{name} {_text(version)} beside {APISERVER} {_text(apiserver)}"
    if version[:2] > apiserver[:2]:
        return f"{pair}: it must not be newer"
    if version[:2] < (apiserver[0], apiserver[1] - OLDER[name]):
        return f"{pair}: it may be {OLDER[name]} minor version{'s' * (OLDER[name] > 1)} older at most"
    return ""


def _text(version: Version) -> str:
    return "v" + ".".join(str(part) for part in version)
