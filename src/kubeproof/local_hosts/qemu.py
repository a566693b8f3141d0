"""The virtual machines that serve as hosts, through QEMU.

The cache's ``vms/NAME`` holds what stays when a machine is off: its disk, its seed, its console's log and ``vm.json``.
``/run/kubeproof/vms`` holds what there is while it is on: its process's number and its monitor's socket.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import uuid
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from kubeproof.core import controller_packages, paths, waiting
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import run
from kubeproof.local_hosts import acceleration, cloud_init, disk, identity, machine, network, repository
from kubeproof.local_hosts.instance import RUNNING, STOPPED, Instance
from kubeproof.local_hosts.plan import HostKind, LocalHost, Plan, VmSettings

# Emulated on two cores beside other work, a boot takes two minutes.
BOOT_SECONDS = 600.0

_PROGRAM = "qemu-system-x86_64"
_SHUTDOWN_SECONDS = 120.0
_RUN = machine.RUN / "vms"
# All ed25519 keys are of one length: that distinguishes a whole line from one into which something else was printed.
_KEY_SECONDS = 60.0
_HOST_KEY = re.compile(r"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA[0-9A-Za-z+/]{44}")


def instances(network_name: str) -> list[Instance]:
    """All virtual machines of a network, whatever became of the inventory that they were made from."""
    return [_instance(each) for each in _described() if each["network"] == network_name]


def _described() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(_directories().glob("*/vm.json"))]


def _instance(described: dict[str, Any]) -> Instance:
    name = described["unique_name"]
    started = (_directory(name) / "console.log").exists()
    off = STOPPED if started else "created"
    return Instance(
        kind=HostKind.VM,
        unique_name=name,
        host=described["host"],
        state=off if _process(name) is None else RUNNING,
        recipe=described["recipe"],
        inventory=described["inventory"],
    )


def ensure_images(plan: Plan, report: Callable[[str], None]) -> None:
    """Have QEMU, and the disks that the plan's virtual machines start from."""
    controller_packages.ensure_qemu(report)
    if any(host.vm and host.vm.image for host in plan.hosts):
        controller_packages.ensure(controller_packages.CLOUD_IMAGES, report)
    cache = paths.cache_directory()
    wanted = {(host.system, host.vm.preinstalled) for host in plan.hosts if host.vm and not host.vm.image}
    for system, preinstalled in sorted(wanted):
        if not disk.base(system, cache, preinstalled=preinstalled).disk.exists():
            report(f"making the disk of {system} hosts from Debian packages, once; this takes two or three minutes")
        disk.ensure(system, cache, preinstalled=preinstalled)
    disk.remove_unused(cache, {each["base"] for each in _described()})


def recipe(plan: Plan, host: LocalHost) -> str:
    """What a virtual machine is made from; one with another recipe is not what the inventory asks for."""
    files = sorted(identity.machine_files(plan, host, mac=_mac(host), repository=_repository(plan, host)).items())
    base = _vm(host).image or _base(host).disk.parent.name
    parts = (files, str(base), host.system, _vm(host), host.memory, _hardware(plan, host))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def create(plan: Plan, host: LocalHost, key: str) -> None:
    """Make a host's virtual machine without starting it."""
    final = _directory(host.unique_name)
    directory = final.with_suffix(".new")
    for leftover in (directory, final):
        shutil.rmtree(leftover, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    backing = _vm(host).image or _base(host).disk
    shown = json.loads(run(["qemu-img", "info", "--output=json", str(backing)]))
    size = max(_bytes(_vm(host).disk), int(shown["virtual-size"]))
    qcow2 = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", shown["format"], "-b", str(backing)]
    run([*qcow2, str(directory / "disk.qcow2"), str(size)])
    _write_seed(plan, host, key, directory)
    described = {
        "unique_name": host.unique_name,
        "network": plan.network.name,
        "host": host.name,
        "base": backing.parent.name,
        "inventory": str(plan.inventory),
        "recipe": recipe(plan, host),
    }
    (directory / "vm.json").write_text(json.dumps(described, indent=2) + "\n")
    directory.rename(final)


def _write_seed(plan: Plan, host: LocalHost, key: str, directory: Path) -> None:
    """The second disk: an archive of files for a Debian of ours, a seed of cloud-init's for an image of the user's."""
    path = directory / "seed"
    if _vm(host).image:
        cloud_init.write(plan, host, path, mac=_mac(host), key=key)
    else:
        made = identity.machine_files(plan, host, mac=_mac(host), repository=_repository(plan, host))
        path.write_bytes(identity.archive({**made, **identity.authorized_keys(host, key)}))
    path.chmod(0o600)


def authorize(plan: Plan, host: LocalHost, key: str) -> None:
    """Let another public key into a virtual machine, which takes it at its next start."""
    stop(host.unique_name)
    _write_seed(plan, host, key, _directory(host.unique_name))
    start(plan, host)


def start(plan: Plan, host: LocalHost) -> None:
    """Start a virtual machine that is off."""
    _RUN.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory = _directory(host.unique_name)
    # In the switch's network namespace, where the machine's end of the cable is.
    within = ["ip", "netns", "exec", plan.network.name]
    run([*within, _PROGRAM, *_hardware(plan, host), *_accelerated(host), *_files(host, directory), *_boot(host)])


def _hardware(plan: Plan, host: LocalHost) -> list[str]:
    """What the machine is, as QEMU's arguments."""
    return [
        "-name",
        f"{host.unique_name}",
        "-uuid",
        f"{uuid.uuid5(uuid.NAMESPACE_OID, host.unique_name)}",
        "-smp",
        f"{_vm(host).cpus}",
        "-m",
        f"{_bytes(host.memory) // 1024**2}",
        "-no-user-config",
        "-nodefaults",
        "-display",
        "none",
        "-device",
        "virtio-rng-pci",
        "-netdev",
        f"tap,id=segment,ifname={network.port(plan.network, host)},script=no,downscript=no",
        "-device",
        f"virtio-net-pci,netdev=segment,mac={_mac(host)}",
    ]


def _kvm_runs(host: LocalHost) -> bool:
    return acceleration.kvm_works(None if _vm(host).image else _base(host).kernel)


def _accelerated(host: LocalHost) -> list[str]:
    if _kvm_runs(host):
        return ["-machine", "q35,accel=kvm", "-cpu", "host"]
    return ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]


def _files(host: LocalHost, directory: Path) -> list[str]:
    """Its disks, its console, and how it is steered."""
    return [
        "-drive",
        f"if=virtio,format=qcow2,discard=unmap,file={directory / 'disk.qcow2'}",
        "-drive",
        f"if=virtio,format=raw,readonly=on,file={directory / 'seed'}",
        "-chardev",
        f"file,id=console,append=on,path={directory / 'console.log'}",
        "-serial",
        "chardev:console",
        "-qmp",
        f"unix:{_monitor(host.unique_name)},server=on,wait=off",
        "-pidfile",
        f"{_RUN / f'{host.unique_name}.pid'}",
        "-daemonize",
    ]


def _boot(host: LocalHost) -> list[str]:
    """A Debian of ours is given its kernel; a disk of the user's has a boot loader."""
    if _vm(host).image:
        return []
    base = _base(host)
    arguments = "root=/dev/vda rw console=ttyS0 quiet"
    if not _kvm_runs(host):
        # An emulated processor speculates about nothing, and what the kernel does against that doubles the time of a
        # system call: 100,000 reads of a byte take 0.9 s with it and 0.45 s without, forks and pipes a third less.
        arguments += " mitigations=off"
    return ["-kernel", f"{base.kernel}", "-initrd", f"{base.initrd}", "-append", arguments]


def stop(name: str) -> None:
    """Shut a virtual machine down; one that does not react is switched off."""
    process = _process(name)
    if process is None:
        return
    with contextlib.suppress(OSError):
        _order(name, "system_powerdown")
    if not _ended(process, _SHUTDOWN_SECONDS):
        kill(name)


def kill(name: str) -> None:
    """Switch a virtual machine off without a word."""
    process = _process(name)
    if process is None:
        return
    os.kill(process, signal.SIGKILL)
    if not _ended(process, 30.0):
        raise KubeproofError(f"the virtual machine {name} (process {process}) does not end")


def remove(name: str) -> None:
    """Remove a virtual machine, running or not, with its disk."""
    kill(name)
    shutil.rmtree(_directory(name), ignore_errors=True)
    for path in _RUN.glob(f"{name}.*"):
        path.unlink(missing_ok=True)


def host_key(host: LocalHost) -> str:
    """A running virtual machine's public SSH key, which it prints on its console when sshd starts."""
    path = _directory(host.unique_name) / "console.log"
    # sshd answers a moment before its unit prints the key.
    found = waiting.until(lambda: _HOST_KEY.findall(path.read_text(errors="replace")), _KEY_SECONDS, pause=0.5)
    if not found:
        raise KubeproofError(
            f"host {host.name} did not say its SSH host key on its console", hint=console(host.unique_name)
        )
    return str(found[-1])


def console(name: str) -> str:
    """How an operator looks into a virtual machine that SSH does not reach."""
    return f"tail -n 50 {_directory(name) / 'console.log'}"


def _order(name: str, command: str) -> None:
    """Give a virtual machine's monitor an order (https://www.qemu.org/docs/master/interop/qmp-spec.html)."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10.0)
        connection.connect(str(_monitor(name)))
        with connection.makefile("rw", encoding="utf-8") as monitor:
            monitor.readline()
            for order in ("qmp_capabilities", command):
                monitor.write(json.dumps({"execute": order}) + "\n")
                monitor.flush()
                monitor.readline()


def _process(name: str) -> int | None:
    """The number of a virtual machine's process, if it runs: a number alone may be another's by now."""
    try:
        number = int((_RUN / f"{name}.pid").read_text())
        words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return number if (b"-name", name.encode()) in pairwise(words) else None


def _ended(process: int, seconds: float) -> bool:
    """Wait for a process to end; returns whether it has."""
    return waiting.until(lambda: not Path(f"/proc/{process}").exists() or _is_zombie(process), seconds, pause=0.1)


def _is_zombie(process: int) -> bool:
    # Whose parent does not wait for it, as the first process of some containers.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def _vm(host: LocalHost) -> VmSettings:
    if host.vm is None:
        raise TypeError(f"{host.name} is not a virtual machine")
    return host.vm


def _base(host: LocalHost) -> disk.Base:
    settings = _vm(host)
    return disk.base(host.system, paths.cache_directory(), preinstalled=settings.preinstalled)


def _repository(plan: Plan, host: LocalHost) -> str:
    """The package manager's source: a bare host has one on the segment, others need none."""
    settings = _vm(host)
    return repository.source(plan.network, host.system) if not (settings.preinstalled or settings.image) else ""


def _mac(host: LocalHost) -> str:
    """An address of QEMU's own range, the same at every start."""
    digest = hashlib.sha256(host.unique_name.encode()).digest()
    return ":".join(["52", "54", "00", *(f"{byte:02x}" for byte in digest[:3])])


def _bytes(size: str) -> int:
    """A size such as 512m in bytes."""
    units: Sequence[str] = ("", "k", "m", "g")
    number, unit = (size[:-1], size[-1]) if size[-1:] in units[1:] else (size, "")
    return int(number) * int(1024 ** units.index(unit))


def _directories() -> Path:
    return paths.cache_directory() / "vms"


def _directory(name: str) -> Path:
    return _directories() / name


def _monitor(name: str) -> Path:
    # Sockets' paths are limited to 107 characters, and names to 40.
    return _RUN / f"{name}.qmp"
