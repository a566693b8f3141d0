"""Known hosts and the waiting for sshd."""

from __future__ import annotations

import ipaddress
import socket
import threading
from pathlib import Path

import pytest

from kubeproof.core.errors import KubeproofError
from kubeproof.local_hosts import podman, ssh
from kubeproof.local_hosts.plan import LocalHost, Network, Plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    hosts = tuple(
        LocalHost(name, f"lab-{name}", ipaddress.IPv4Address(address))
        for name, address in (("a", "10.213.99.11"), ("b", "10.213.99.12"))
    )
    made = Plan(tmp_path / "hosts.yml", tmp_path, Network("lab", ipaddress.IPv4Network("10.213.99.0/24")), hosts)
    ssh.directory(made).mkdir()
    return made


def test_known_hosts_holds_addresses_and_keys_without_comments(plan: Plan) -> None:
    keys = {"b": "ssh-ed25519 BBBB root@b\n", "a": "ssh-ed25519 AAAA root@a\n"}
    assert ssh.write_known_hosts(plan, keys)
    written = (ssh.directory(plan) / "known_hosts").read_text()
    assert written == "10.213.99.11 ssh-ed25519 AAAA\n10.213.99.12 ssh-ed25519 BBBB\n"
    assert not ssh.write_known_hosts(plan, keys)


def test_a_key_is_made_once(plan: Plan) -> None:
    first, made = ssh.ensure_key(plan)
    second, made_again = ssh.ensure_key(plan)
    assert (made, made_again) == (True, False)
    assert first == second
    assert (ssh.directory(plan) / "id_ed25519").stat().st_mode & 0o077 == 0


def test_half_a_key_pair_is_made_anew(plan: Plan) -> None:
    first, _ = ssh.ensure_key(plan)
    (ssh.directory(plan) / "id_ed25519.pub").unlink()
    second, made = ssh.ensure_key(plan)
    assert made
    assert first != second


def greeting(greetings: list[bytes]) -> int:
    """A server on loopback that greets each connection with the next of these; returns its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for words in greetings:
            connection, _ = server.accept()
            connection.sendall(words)
            connection.close()
        server.close()

    threading.Thread(target=serve, daemon=True).start()
    return int(server.getsockname()[1])


def test_waiting_ends_when_sshd_greets_not_when_something_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    port = greeting([b"", b"", b"SSH-2.0-test\r\n"])
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: connect((address[0], port), timeout))
    ssh.wait_until_reachable(LocalHost("a", "lab-a", ipaddress.IPv4Address("127.0.0.1")), timeout=10, look="look")


def test_waiting_gives_up_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int], timeout: float) -> socket.socket:
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    look = podman.console("lab-a")
    with pytest.raises(KubeproofError, match="podman exec -it lab-a journalctl"):
        ssh.wait_until_reachable(LocalHost("a", "lab-a", ipaddress.IPv4Address("10.213.99.11")), timeout=0, look=look)
