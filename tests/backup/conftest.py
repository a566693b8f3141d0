"""A real etcd on loopback, with certificates, for the program that backs it up: from the cache, built if need be."""

from __future__ import annotations

import datetime
import json
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.programs import Ctl
from kubeproof.components import fetch, gobuild, pins
from kubeproof.components.cache import Cache
from kubeproof.components.lock import Lock
from kubeproof.components.progress import silent
from kubeproof.core import files
from kubeproof.pki import cas

_STARTED_SECONDS = 60.0


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with etcd, etcdctl and etcdutl."""
    state, directory = tmp_path_factory.mktemp("state"), tmp_path_factory.mktemp("bin")
    architecture = pins.MACHINES[platform.machine()]
    request = fetch.Request(source="go", architectures=(architecture,), groups=("etcd",))
    fetch.fetch(request, pins.load(), state)
    entry = Lock(state).component(architecture, "etcd")
    assert entry is not None
    with Cache() as cache:
        for name, binary in entry["binaries"].items():
            blob = cache.blob(binary["sha256"])
            assert blob is not None
            (directory / name).symlink_to(blob.path)
    return directory


@pytest.fixture(scope="session")
def s3_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with rclone and an S3 server, built if they are not cached."""
    directory, pinned = tmp_path_factory.mktemp("s3"), pins.load()
    tools, architecture = gobuild.toolchain(), pins.MACHINES[platform.machine()]
    with Cache() as cache:
        for name in ("rclone", "s3-server"):
            built, _ = gobuild.build(pinned, pinned.components[name], architecture, tools, cache, silent)
            (directory / name).symlink_to(built.blobs[name].path)
    return directory


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@dataclass
class Store:
    """One member of an etcd of its own, on loopback."""

    programs: Path
    directory: Path
    name: str = "cp1"
    client_port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.client_port}"

    @property
    def ctl(self) -> Ctl:
        return Ctl(str(self.programs / "etcdctl"), self.configuration().etcd)

    def settings(self, **more: Any) -> dict[str, Any]:
        """The program's configuration, as JSON has it."""
        pki_directory = self.directory / "pki"
        for name in ("backups", "state"):
            (self.directory / name).mkdir(exist_ok=True)
        return {
            "cluster": "test",
            "host": self.name,
            "user": "root",
            "directory": str(self.directory / "backups"),
            "state": str(self.directory / "state"),
            "keys": "",
            "etcd": {
                "endpoint": self.url,
                "endpoints": [self.url],
                "ca": str(pki_directory / "etcd.crt"),
                "certificate": str(pki_directory / "client.crt"),
                "key": str(pki_directory / "client.key"),
            },
            "programs": {name: str(self.programs / name) for name in ("etcd", "etcdctl", "etcdutl")},
            "interval": 21600,
            "overdue": 30000,
            "timeout": 60,
            "keep": {"last": 100, "hourly": 0, "daily": 0, "weekly": 0, "bytes": 0, "free": 0},
            **more,
        }

    def configuration(self, **more: Any) -> Configuration:
        return Configuration.parse(self.settings(**more))

    def configure(self, **more: Any) -> Path:
        """Write the configuration; returns its path."""
        path = self.directory / "backup.json"
        path.write_text(json.dumps(self.settings(**more)))
        return path

    def fill(self, keys: int, value: str = "x" * 200) -> None:
        """Put keys into it, a hundred in a transaction."""
        for start in range(0, keys, 100):
            puts = [
                f"put /registry/test/{number:06d} {value}{number}" for number in range(start, min(keys, start + 100))
            ]
            command = self.ctl.command("txn")
            subprocess.run(command, input="\n" + "\n".join(puts) + "\n\n\n", text=True, capture_output=True, check=True)

    @contextmanager
    def running(self) -> Iterator[Store]:
        """Run it for the time of a ``with`` block."""
        with (self.directory / "etcd.log").open("wb") as log:
            process = subprocess.Popen(self._command(), stdout=log, stderr=log)
            try:
                self._wait(process)
                yield self
            finally:
                process.terminate()
                process.wait()

    def make_certificates(self) -> None:
        directory = self.directory / "pki"
        cas.ensure_cas(directory, "test", datetime.timedelta(days=1))
        ca = cas.CA.load(directory, "etcd")
        self._issue(ca, cas.Wanted("etcd", self.name, ("server", "client"), addresses=("127.0.0.1",)), "server")
        self._issue(ca, cas.Wanted("etcd", "etcd-backup", ("client",)), "client")

    def _issue(self, ca: cas.CA, wanted: cas.Wanted, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        now = datetime.datetime.now(datetime.UTC)
        path = self.directory / "pki" / name
        path.with_suffix(".crt").write_text(ca.issue(wanted, public.decode(), now))
        files.write_private(path.with_suffix(".key"), cas.private_pem(key))

    def _command(self) -> list[str]:
        directory, peer = self.directory / "pki", f"http://127.0.0.1:{self.peer_port}"
        return [
            str(self.programs / "etcd"),
            f"--name={self.name}",
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={self.name}={peer}",
            f"--cert-file={directory / 'server.crt'}",
            f"--key-file={directory / 'server.key'}",
            f"--trusted-ca-file={directory / 'etcd.crt'}",
            "--client-cert-auth",
        ]

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _STARTED_SECONDS
        while subprocess.run(self.ctl.command("endpoint", "health"), capture_output=True, check=False).returncode:
            assert process.poll() is None, (self.directory / "etcd.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "etcd does not become healthy"
            time.sleep(0.1)


@pytest.fixture
def store(programs: Path, tmp_path: Path) -> Iterator[Store]:
    """An etcd that runs, with 500 keys in it."""
    made = Store(programs, tmp_path)
    made.make_certificates()
    with made.running():
        made.fill(500)
        yield made


def agent_environment() -> dict[str, str]:
    """The environment in which ``python -m kubeproof.backup.agent`` is this repository's."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
