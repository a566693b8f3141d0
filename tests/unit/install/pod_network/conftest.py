"""A node for the tests: a network namespace with a neighbour, in which the real program meets a real kernel."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubeproof.core import zipped

GATEWAYS = {"10.244.1.0/24": "10.9.0.2", "10.244.2.0/24": "10.9.0.3"}
RULES = """
table ip kubeproof
delete table ip kubeproof
table ip kubeproof {
  set cluster {
    type ipv4_addr
    flags interval
    auto-merge
    elements = { 10.244.0.0/16, 10.96.0.0/16, 10.9.0.1, 10.9.0.2 }
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr 10.244.0.0/16 ip daddr != @cluster ip daddr != 224.0.0.0/4 masquerade
  }
}
"""
# As long as anybody who waits for a network would bear it; a busy machine is slow.
_SECONDS = 15.0
_START_SECONDS = 60.0


class Node:
    """A namespace, and the program in it."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name
        self.program = directory / "kubeproof-pod-network"
        self.program.write_bytes(zipped.program("kubeproof.install.pod_network"))
        self.kube_proxy = directory / "kube-proxy.json"
        self.network_policy = directory / "network-policy.json"
        (directory / "rules.nft").write_text(RULES)
        (directory / "run").mkdir()
        self.log = directory / "log"
        self.configure()

    def configure(self, **changes: Any) -> None:
        """Write the configuration, as a role does: in one step."""
        document = {
            "routes": GATEWAYS,
            "protocol": 86,
            "table": "kubeproof",
            "rules": str(self.directory / "rules.nft"),
            "sysctls": {"net.ipv4.ip_forward": "1", "net.not.there": "1"},
            "network": "kubeproof",
            "plugins": "/nonexistent",
            "bridge": "cni0",
            "mtu": 1400,
        }
        temporary = self.directory / "new.json"
        temporary.write_text(json.dumps({**document, **changes}))
        temporary.replace(self.directory / "network.json")

    def run(self, command: str) -> str:
        """What a shell command prints in the namespace."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, "sh", "-ec", command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """With this process in the namespace."""
        with Path("/proc/thread-self/ns/net").open() as before, Path(f"/run/netns/{self.name}").open() as namespace:
            _enter(namespace.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def command(self, verb: str) -> list[str]:
        """The program's command line."""
        files = ["--config", str(self.directory / "network.json"), "--kube-proxy", str(self.kube_proxy)]
        files += ["--network-policy", str(self.network_policy)]
        return ["ip", "netns", "exec", self.name, sys.executable, "-I", "-S", str(self.program), *files, verb]

    @property
    def environment(self) -> dict[str, str]:
        """What systemd would tell it."""
        path = f"{self.directory}/bin:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "RUNTIME_DIRECTORY": str(self.directory / "run")}

    def check(self) -> list[str]:
        """What the program says is wrong."""
        done = subprocess.run(self.command("check"), env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode in {0, 1}, done.stderr
        assert not done.stderr, done.stderr
        lines = done.stdout.splitlines()
        return lines if done.returncode else []

    @contextlib.contextmanager
    def watched(self) -> Iterator[subprocess.Popen[bytes]]:
        """With the program at work, from the moment on in which it says that it is."""
        path = str(self.directory / secrets.token_hex(4))
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(path)
        with (
            told,
            self.log.open("ab") as log,
            subprocess.Popen(
                self.command("run"), env={**self.environment, "NOTIFY_SOCKET": path}, stdout=log, stderr=log
            ) as process,
        ):
            try:
                told.settimeout(_START_SECONDS)
                while b"READY=1" not in told.recv(1 << 10):
                    continue
                yield process
            finally:
                process.terminate()
                try:
                    status = process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    # Or this would wait for it without an end.
                    process.kill()
                    raise
                assert status == 0, self.log.read_text()

    def healed(self) -> float:
        """Seconds until nothing is wrong any more."""
        return self.until(lambda: not self.check())

    def until(self, condition: Callable[[], bool]) -> float:
        """Seconds until something is so."""
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < _SECONDS, "\n".join([*self.check(), self.log.read_text()])
            time.sleep(0.05)
        return time.monotonic() - start


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node whose interface is up."""
    with _node(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One on which the program runs, from test to test."""
    with _node(tmp_path_factory.mktemp("node")) as made, made.watched():
        made.healed()
        yield made


@contextlib.contextmanager
def _node(directory: Path) -> Iterator[Node]:
    if os.geteuid() != 0 or not shutil.which("nft") or not shutil.which("ip"):
        pytest.skip("network namespaces take root, ip and nft")
    name = f"kubeproof-test-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        made = Node(directory, name)
        # What a new namespace begins with is its machine's.
        made.run("sysctl -qw net.ipv4.ip_forward=0; ip link set lo up")
        made.run("ip link add eth0 type veth peer name peer; ip link set peer up")
        made.run("ip address add 10.9.0.1/24 dev eth0; ip link set eth0 up")
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
