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
    assert port_probe.listen(HERE, ports, seconds=30, pid_file=pid_file) == (ports, [])
    assert failed(*ports) == []
    assert failed(*ports) == []
    port_probe.close(pid_file)
    assert failed(*ports) == ports
    # What starts there next finds the ports free.
    for port in ports:
        socket.create_server((HERE, port)).close()


def test_it_ends_by_itself(pid_file: str) -> None:
    # Long enough to be asked in that time on a busy machine.
    [port], _ = port_probe.listen(HERE, free_ports(1), seconds=5, pid_file=pid_file)
    assert failed(port) == []
    deadline = time.monotonic() + 60
    while port_probe.is_locked(pid_file):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert failed(port) == [port]


def test_ports_in_use_are_left_out_and_accept_connections_anyway(pid_file: str) -> None:
    with socket.create_server((HERE, 0)) as server:
        taken, [free] = server.getsockname()[1], free_ports(1)
        assert port_probe.listen(HERE, [taken, free], seconds=30, pid_file=pid_file) == ([free], [])
        assert failed(taken, free) == []


def silent(*ports: int) -> dict[int, str]:
    """The UDP ports that do not answer, each with the error."""
    targets = [{"address": HERE, "port": port, "protocol": "udp"} for port in ports]
    return {target["port"]: target["error"] for target in port_probe.failed_targets(targets, seconds=2)}


def free_udp_ports(number: int) -> list[int]:
    opened = port_probe.open_udp_ports(HERE, [0] * number)
    ports = [each.getsockname()[1] for each in opened]
    for each in opened:
        each.close()
    return ports


def test_datagrams_are_answered_until_it_is_closed(pid_file: str) -> None:
    [tcp], udp = free_ports(1), free_udp_ports(2)
    assert set(silent(*udp)) == set(udp)
    found = port_probe.listen(HERE, [tcp], seconds=30, pid_file=pid_file, udp_ports=udp)
    assert found == ([tcp], udp)
    assert silent(*udp) == {}
    assert failed(tcp) == []
    port_probe.close(pid_file)
    assert "refused" in silent(*udp)[udp[0]]
    # What starts there next finds the ports free.
    assert port_probe.listen(HERE, [], seconds=30, pid_file=pid_file, udp_ports=udp) == ([], udp)


def test_a_udp_port_in_use_is_left_out_and_does_not_answer(pid_file: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HERE, 0))
        taken = other.getsockname()[1]
        assert port_probe.listen(HERE, [], seconds=30, pid_file=pid_file, udp_ports=[taken]) == ([], [])
        assert silent(taken) == {taken: "no answer"}


def test_only_questions_are_answered_and_with_no_more_than_was_asked(pid_file: str) -> None:
    _, [port] = port_probe.listen(HERE, [], seconds=30, pid_file=pid_file, udp_ports=free_udp_ports(1))
    nonce = b"n" * port_probe.NONCE_BYTES
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.3)
        for other in (b"hello", port_probe.ANSWER + nonce, port_probe.QUESTION + nonce + b"more"):
            asking.sendto(other, (HERE, port))
            with pytest.raises(TimeoutError):
                asking.recv(100)
        asking.settimeout(10)
        asking.sendto(port_probe.QUESTION + nonce, (HERE, port))
        assert asking.recv(100) == port_probe.ANSWER + nonce
    assert len(port_probe.QUESTION) == len(port_probe.ANSWER)


def test_a_datagram_that_is_lost_is_sent_again() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HERE, 0))

        def reply_to_the_third() -> None:
            for _ in range(2):
                server.recvfrom(100)
            question, sender = server.recvfrom(100)
            server.sendto(port_probe.ANSWER + b"another", sender)
            server.sendto(port_probe.ANSWER + question[len(port_probe.QUESTION) :], sender)
            port_probe.answer(server)

        thread = threading.Thread(target=reply_to_the_third, daemon=True)
        thread.start()
        assert not port_probe.unanswered(HERE, server.getsockname()[1], seconds=20)
        thread.join(20)


def test_listening_again_takes_the_place_of_what_listened(pid_file: str) -> None:
    first, second = free_ports(2)
    port_probe.listen(HERE, [first], seconds=30, pid_file=pid_file)
    assert port_probe.listen(HERE, [second], seconds=30, pid_file=pid_file) == ([second], [])
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
