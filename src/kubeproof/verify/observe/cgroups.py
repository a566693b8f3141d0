"""What the kernel holds a process to: its control groups, of version 1 or 2, as the process's host has them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from kubeproof.verify.observe.hosts import Host, NotObservable

_ROOT = "/sys/fs/cgroup"
_UNLIMITED = float("inf")
# Version 1 has no word for "unlimited", but the largest number of whole pages.
_V1_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class Limits:
    """What a control group is given. Cores and bytes, infinite where there is no limit; ``shares`` compares groups."""

    version: int
    path: str
    cores: float
    memory: float
    shares: int


@dataclass(frozen=True)
class Usage:
    """Seconds of CPU that a group's processes have used, at a time of the host's clock that only goes forward."""

    cpu: float
    at: float


def killed_for_memory(host: Host, pod_uid: str) -> str:
    """What the host's kernel says of having killed a process of this pod over a limit of memory; empty if nothing.

    The group of a pod has its uid in its name, with the driver `systemd` in that of a slice, which takes no dashes.
    """
    group = f"task_memcg=[^,]*pod({re.escape(pod_uid)}|{re.escape(pod_uid.replace('-', '_'))})[./]"
    search = "journalctl --dmesg --quiet --output=cat | grep -E %s"
    _, found, _ = host.attempt(search, f"^oom-kill:constraint=CONSTRAINT_MEMCG,.*{group}")
    return found.strip().splitlines()[-1] if found.strip() else ""


def limits(host: Host, pid: int) -> Limits:
    """The limits of the group that a process is in."""
    groups = _groups(host, pid)
    if "" in groups:
        path = f"{_ROOT}{groups['']}"
        quota, period = _read(host, f"{path}/cpu.max").split()
        memory = _read(host, f"{path}/memory.max")
        return Limits(
            version=2,
            path=path,
            cores=_UNLIMITED if quota == "max" else int(quota) / int(period),
            memory=_UNLIMITED if memory == "max" else int(memory),
            shares=int(_read(host, f"{path}/cpu.weight")),
        )
    cpu, memory_path = (f"{_ROOT}/{controller}{groups[controller]}" for controller in ("cpu", "memory"))
    quota, period = (_read(host, f"{cpu}/cpu.cfs_{each}_us") for each in ("quota", "period"))
    memory = _read(host, f"{memory_path}/memory.limit_in_bytes")
    return Limits(
        version=1,
        path=cpu,
        cores=_UNLIMITED if int(quota) < 0 else int(quota) / int(period),
        memory=_UNLIMITED if int(memory) >= _V1_UNLIMITED else int(memory),
        shares=int(_read(host, f"{cpu}/cpu.shares")),
    )


def cpu_used(host: Host, pid: int, seconds: float) -> float:
    """How many cores a process's group has used on average, during some seconds on its host."""
    groups = _groups(host, pid)
    if "" in groups:
        show = f"awk '/^usage_usec/ {{print $2 / 1e6}}' {_ROOT}{groups['']}/cpu.stat"
    else:
        show = f"awk '{{print $1 / 1e9}}' {_ROOT}/cpuacct{groups['cpuacct']}/cpuacct.usage"
    look = f"{show}; awk '{{print $1}}' /proc/uptime"
    before = _usage(host.run(look))
    time.sleep(seconds)
    after = _usage(host.run(look))
    return (after.cpu - before.cpu) / (after.at - before.at)


def _usage(told: str) -> Usage:
    cpu, at = told.split()
    return Usage(float(cpu), float(at))


def _groups(host: Host, pid: int) -> dict[str, str]:
    """The group of a process under each controller of version 1; under no name, of version 2 where that limits."""
    found = {}
    for line in host.run("cat %s", f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    if {"cpu", "cpuacct", "memory"} <= found.keys():
        # Both versions are there: what limits has a controller in version 1.
        found.pop("", None)
        return found
    if "" in found and host.attempt("test -f %s", f"{_ROOT}{found['']}/cpu.max")[0] == 0:
        return {"": found[""]}
    raise NotObservable(f"{host} shows no control groups for cpu and memory of process {pid} under {_ROOT}")


def _read(host: Host, path: str) -> str:
    return host.run("cat %s", path).strip()
