"""Ports are listened on in the background and connected to, with real sockets of this machine."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import port_probe

HERE = "127.0.0.1"


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "probe.pid")
    yield path
    port_probe.close(path)


def failed(*ports: int) -> list[int]:
    """The ports to which there is no connection."""
    targets = [{"address": HERE, "port": port} for port in ports]
    return [target["port"] for target in port_probe.failed_targets(targets, seconds=2)]


def free_ports(number: int) -> list[int]:
    with_sockets = [socket.create_server((HERE, 0)) for _ in range(number)]
    ports = [server.getsockname()[1] for server in with_sockets]
    for server in with_sockets:
        server.close()
    return ports


def test_it_listens_until_it_is_closed(pid_file: str) -> None:
    ports = free_ports(2)
    assert failed(*ports) == ports
    assert port_probe.listen(HERE, ports, seconds=30, pid_file=pid_file) == ports
    assert failed(*ports) == []
    assert failed(*ports) == []
    port_probe.close(pid_file)
    assert failed(*ports) == ports
    # What starts there next finds the ports free.
    for port in ports:
        socket.create_server((HERE, port)).close()


def test_it_ends_by_itself(pid_file: str) -> None:
    # Long enough to be asked in that time on a busy machine.
    [port] = port_probe.listen(HERE, free_ports(1), seconds=5, pid_file=pid_file)
    assert failed(port) == []
    deadline = time.monotonic() + 60
    while port_probe.is_locked(pid_file):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert failed(port) == [port]


def test_ports_in_use_are_left_out_and_accept_connections_anyway(pid_file: str) -> None:
    with socket.create_server((HERE, 0)) as server:
        taken, [free] = server.getsockname()[1], free_ports(1)
        assert port_probe.listen(HERE, [taken, free], seconds=30, pid_file=pid_file) == [free]
        assert failed(taken, free) == []


def test_listening_again_takes_the_place_of_what_listened(pid_file: str) -> None:
    first, second = free_ports(2)
    port_probe.listen(HERE, [first], seconds=30, pid_file=pid_file)
    assert port_probe.listen(HERE, [second], seconds=30, pid_file=pid_file) == [second]
    assert failed(first, second) == [first]


def test_a_pid_file_that_is_left_over_ends_no_process(pid_file: str) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        Path(pid_file).write_text(str(other.pid))
        port_probe.close(pid_file)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.2)
        other.kill()
    assert not Path(pid_file).exists()


def test_targets_are_asked_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [{"address": HERE, "port": 6000 + number} for number in range(30)]
    together = threading.Barrier(len(targets))

    def connect(_address: tuple[str, int], timeout: float) -> socket.socket:
        # Breaks, with another error, unless all are there.
        together.wait(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    found = port_probe.failed_targets(targets, seconds=10)
    assert found == [{**target, "error": "timed out"} for target in targets]
