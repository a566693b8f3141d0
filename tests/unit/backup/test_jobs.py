"""However a job ends, that is recorded and reported, and nothing is left of it."""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.backup import made

from kubeproof.backup.agent import drill, drill_api, jobs, main, scratch
from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.errors import BackupError
from kubeproof.backup.agent.records import Records

LONG = 30.0


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    hook = ["/bin/sh", "-c", f'echo "$KUBEPROOF_JOB: $KUBEPROOF_REASON" > {tmp_path}/told']
    return made.configuration(tmp_path, on_failure=hook)


def failed(configuration: Configuration, work: Callable[[], str], limit: float = 0) -> str:
    """The reason that was recorded and reported."""
    assert jobs.run(configuration, "drill", work, limit) == 1
    records = Records(configuration.state)
    reason = str(records.status()["attempts"]["drill"]["reason"])
    assert [(event["event"], event["reason"]) for event in records.history()] == [("failure", reason)]
    assert (configuration.state.parent / "told").read_text() == f"drill: {reason}\n"
    metrics = (configuration.state / "metrics" / "etcd_backup.prom").read_text()
    assert 'etcd_backup_failures_total{job="drill"} 1\n' in metrics
    assert list(configuration.directory.iterdir()) == []
    return reason


def slow(configuration: Configuration) -> str:
    """A step of a drill that takes long, and two signals: nobody is to be kept from cleaning up."""
    with scratch.directory(configuration.directory), drill.Proof("20261121T200000Z-cp1", 7).step("read back"):
        try:
            subprocess.run(["/bin/sleep", str(LONG)], check=True)
        except BackupError:
            return "somebody went on"
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
    return ""


def test_one_that_systemd_ends(configuration: Configuration) -> None:
    before = signal.getsignal(signal.SIGTERM)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    started = time.monotonic()
    reason = failed(configuration, lambda: slow(configuration))
    assert reason.startswith("20261121T200000Z-cp1: read back: it was ended by SIGTERM: systemd")
    assert time.monotonic() - started < LONG / 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_one_whose_time_is_over(configuration: Configuration) -> None:
    reason = failed(configuration, lambda: slow(configuration), 0.5)
    assert reason == "20261121T200000Z-cp1: read back: it was not finished within 0 s"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_drill_has_the_time_of_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "run", lambda *given: given[3])
    given = argparse.Namespace(name=None, encryption=None)
    assert main._drill(made.configuration(tmp_path, drill={"timeout": 7}), given) == 7


def test_what_nobody_has_thought_of(configuration: Configuration, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> str:
        raise KeyError("header")

    assert failed(configuration, work) == "KeyError: 'header'"
    assert "Traceback" in capsys.readouterr().err


def test_a_step_that_timed_out_is_told_without_a_number() -> None:
    with pytest.raises(BackupError, match=r"^x: compare: timed out$"), drill.Proof("x", 7).step("compare"):
        raise TimeoutError("timed out")


def test_programs_that_are_started_afterwards_can_be_ended(configuration: Configuration) -> None:
    """The hook, for example."""
    script = "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    said = []

    def work() -> str:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(LONG)
        finally:
            said.append(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
        return ""

    failed(configuration, work)
    assert said == [b"True\n"]


@pytest.fixture
def dying(tmp_path: Path) -> Iterator[Path]:
    """The socket of a server that dies in the midst of its answer."""
    path = tmp_path / "client"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


def test_an_etcd_that_dies_in_the_midst_of_its_answer(configuration: Configuration, dying: Path) -> None:
    etcd = scratch.ScratchEtcd(dying, LONG)

    def work() -> str:
        with drill.Proof("20261121T200000Z-cp1", 7).step("read back"):
            return str(etcd.count(7))

    reason = failed(configuration, work)
    assert reason.startswith("20261121T200000Z-cp1: read back: the scratch etcd broke off its answer: IncompleteRead")


def test_so_an_api_server(dying: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: None)
    connection = scratch._UnixConnection(dying, LONG)
    monkeypatch.setattr(http.client, "HTTPSConnection", lambda *_, **__: connection)
    client = drill_api.Client(0, tmp_path / "apiserver.crt", "", LONG)
    with pytest.raises(ConnectionError, match="the scratch API server broke off its answer: IncompleteRead"):
        client.json("/apis")
