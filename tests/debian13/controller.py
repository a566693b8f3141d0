"""A Debian 13 in a directory, as the controller: its own Python, and the newest ansible-core that there is for it.

It shares the machine's network, and sees of its files this project, the cache of components, and what it takes to reach
package indexes and to build with Go: mounted in a namespace of the command's own, and gone when that ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.core import debian, paths
from kubeproof.core.process import attempt
from kubeproof.local_hosts.plan import System

# What a controller takes, with source `go`, and what unit tests are left out without.
_PACKAGES = (
    "age",
    "ca-certificates",
    "gcc",
    "git",
    "iproute2",
    "libc6-dev",
    "libseccomp-dev",
    "openssh-client",
    "openssl",
    "pkg-config",
    "procps",
    "python3",
    "python3-venv",
    "rsync",
    "shellcheck",
    "systemd",
    "zstd",
)
_OUTSIDE = ("/etc/hosts", "/etc/pip.conf", "/etc/resolv.conf", "/etc/ssl/certs")
_PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Virtual environments, within the Debian: as requirements.lock has it, and with an ansible-core that requirements.in
# allows and the lock has for no Python.
LOCKED, BETWEEN = "/var/lib/kubeproof/locked", "/var/lib/kubeproof/between"
BETWEEN_CORE = "2.20"
# What Ansible says of its own accord, and what results of tasks warn of.
_COMPLAINT = re.compile(r'\[(?:DEPRECATION )?WARNING\].*|"(?:warnings|deprecations)": \[[^]]+')


@dataclass(frozen=True)
class Controller:
    """The Debian in ``root``. ``shared``: directories that it sees where this machine has them."""

    root: Path
    shared: Sequence[Path]

    def run(self, *command: str, environment: str = LOCKED, **variables: str) -> str:
        """What a command says that must succeed, run in the project, with a virtual environment first on its PATH."""
        done = self.attempt(*command, environment=environment, **variables)
        assert done.returncode == 0, f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}"
        return done.stdout

    def attempt(self, *command: str, environment: str = LOCKED, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command whether it succeeds or not; both of its outputs are one."""
        go = [f"{root}/bin" for root in _go("GOROOT")]
        settings = {
            "PATH": os.pathsep.join([f"{environment}/bin", _PROGRAMS, *go]),
            "ANSIBLE_CONFIG": str(paths.PROJECT / "ansible.cfg"),
            "KUBEPROOF_VENV": environment,
            **variables,
        }
        enter = f'exec chroot {shlex.quote(str(self.root))} env --chdir="$0" "$@"'
        script = "\n".join([*self._mounts(), enter])
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, str(paths.PROJECT), *command],
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def play(self, name: str, inventory: Path, *arguments: str, environment: str = LOCKED) -> dict[str, Any]:
        """Run a playbook that must get to its end, of which Ansible may not complain; returns its profile."""
        profile, log = inventory.parent / "profile.json", inventory.parent / "log"
        for path in (profile, log):
            path.unlink(missing_ok=True)
        playbook = str(paths.PROJECT / "playbooks" / f"{name}.yml")
        said = self.run(
            "ansible-playbook",
            "--inventory",
            str(inventory),
            *arguments,
            playbook,
            environment=environment,
            ANSIBLE_STDOUT_CALLBACK="kubeproof",
            KUBEPROOF_LOG=str(log),
            KUBEPROOF_PROFILE=str(profile),
        )
        assert _COMPLAINT.findall(said + log.read_text()) == []
        told: dict[str, Any] = json.loads(profile.read_text())
        return told

    def _mounts(self) -> Iterator[str]:
        root = shlex.quote(str(self.root))
        yield f"mount -t proc proc {root}/proc"
        yield f"mount -t tmpfs tmpfs {root}/tmp"  # noqa: S108 - that of the Debian
        yield from (f"mount --rbind {each} {root}{each}" for each in ("/sys", "/dev"))
        seen = [*map(Path, _OUTSIDE), paths.PROJECT, paths.cache_directory(), *self.shared]
        for path in dict.fromkeys([*seen, *_go("GOROOT", "GOMODCACHE", "GOCACHE")]):
            if path.exists():
                place = f"{root}{shlex.quote(str(path))}"
                make = f"mkdir -p {place}" if path.is_dir() else f"touch {place}"
                yield f"{make}; mount --bind {shlex.quote(str(path))} {place}"


def make(shared: Sequence[Path]) -> Controller:
    """The controller: unpacked and with its virtual environments, which are kept for the next time."""
    digest = hashlib.sha256(repr(_PACKAGES).encode()).hexdigest()[:12]
    root = paths.cache_directory() / f"controller-13-{digest}"
    if not (root / LOCKED.lstrip("/")).parent.is_dir():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        debian.bootstrap(System.DEBIAN_13.suite, _PACKAGES, root, paths.cache_directory())
        (root / LOCKED.lstrip("/")).parent.mkdir()
    controller = Controller(root, shared)
    for environment in (LOCKED, BETWEEN):
        controller.run("./kubeproof", "--help", environment=environment)
    wanted = f"ansible-core=={BETWEEN_CORE}.*"
    controller.run("python", "-m", "pip", "install", "--quiet", wanted, environment=BETWEEN)
    return controller


def _go(*names: str) -> list[Path]:
    """Directories of Go's, if it is here."""
    if shutil.which("go") is None:
        return []
    return [Path(line) for line in attempt(["go", "env", *names]).stdout.splitlines() if line]
