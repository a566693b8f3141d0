"""Whether this machine's processor runs virtual machines by itself."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from kubeproof.local_hosts import machine

_DEVICE = Path("/dev/kvm")
_SECONDS = 30.0


def kvm_works(kernel: Path | None) -> bool:
    """Whether a kernel starts under KVM; the answer is remembered until the machine restarts.

    Tried, not taken from the device's being there: some make machines and processors, and run no unmodified kernel.
    ``kernel`` is one to try it with; without one this machine's own is taken, and where that cannot be read the answer
    is no.
    """
    answer = machine.RUN / "kvm"
    if answer.is_file():
        return answer.read_text() == "yes\n"
    own = Path("/boot", f"vmlinuz-{platform.release()}")
    tried_with = kernel or (own if own.is_file() else None)
    works = _DEVICE.exists() and tried_with is not None and _starts(tried_with)
    answer.parent.mkdir(parents=True, exist_ok=True)
    answer.write_text("yes\n" if works else "no\n")
    return works


def _starts(kernel: Path) -> bool:
    """Whether a kernel comes as far as to miss its root file system."""
    command = [
        "qemu-system-x86_64", "-machine", "q35,accel=kvm", "-cpu", "host", "-m", "512", "-no-user-config",
        "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", str(kernel),
        "-append", "console=ttyS0 panic=-1",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return b"Unable to mount root fs" in done.stdout
