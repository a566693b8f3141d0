"""Copies with real targets: a directory, a real sshd with rsync, a real S3 server with TLS."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.backup.conftest import Store, agent_environment, free_port

from kubeproof.backup.agent import files, manifest, save, target_rsync, targets
from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.errors import BackupError
from kubeproof.backup.agent.records import Records
from kubeproof.backup.agent.target import Target

CLUSTER = "test"


@dataclass
class Place:
    """A target, and where its copies are to be looked at."""

    settings: dict[str, Any]
    directory: Path

    def names(self) -> list[str]:
        """What is there under a final name, by what the target takes for one."""
        return [each.name for each in self.target().listing()]

    def target(self) -> Target:
        return targets.make(self.settings, CLUSTER, 600)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, f"it ended with {process.returncode}"
        assert time.monotonic() < deadline, "it does not listen"
        time.sleep(0.05)


@contextlib.contextmanager
def sshd(directory: Path, key: Path, port: int) -> Iterator[str]:
    """A real sshd on loopback, as this user, with keys of its own; its line for known_hosts."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program or not shutil.which("rsync"):
        pytest.skip("there is no sshd or rsync on this machine")
    directory.mkdir(mode=0o700, exist_ok=True)
    host_key = directory / "host_key"
    if not host_key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key], check=True)
    (directory / "authorized_keys").write_text(target_rsync.public_key(key) + "\n")
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nAuthorizedKeysFile {directory}/authorized_keys\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen(
        [program, "-D", "-e", "-f", directory / "sshd_config"], stderr=(directory / "log").open("ab")
    )
    try:
        wait_for_port(port, process)
        yield f"[127.0.0.1]:{port} {' '.join(host_key.with_suffix('.pub').read_text().split()[:2])}"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def s3_server(
    program: Path, directory: Path, port: int, access: tuple[str, str] = ("backup", "secret-key")
) -> Iterator[Path]:
    """A real S3 server on loopback, over TLS; the certificate by which it is known."""
    directory.mkdir(mode=0o700, exist_ok=True)
    certificate, key = directory / "tls.crt", directory / "tls.key"
    if not certificate.exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
    (directory / "data" / "bucket").mkdir(parents=True, exist_ok=True)
    options = [f"--addr=127.0.0.1:{port}", f"--cert={certificate}", f"--key={key}", f"--auth-key={','.join(access)}"]
    command: list[str | Path] = [
        program,
        "serve",
        "s3",
        directory / "data",
        *options,
        "--config=",
        "--vfs-cache-mode=off",
    ]
    process = subprocess.Popen(command, stderr=(directory / "log").open("ab"))
    try:
        wait_for_port(port, process)
        yield certificate
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def backups_made(store: Store) -> Configuration:
    configuration = store.configuration()
    for _ in range(3):
        save.save(configuration, "hand")
        store.fill(20, "more")
    return configuration


@pytest.fixture
def directory_place(tmp_path: Path) -> Place:
    path = tmp_path / "elsewhere"
    path.mkdir()
    settings = {"name": "disk", "type": "directory", "path": str(path), "mount": False, "timeout": 600}
    return Place(settings, path / CLUSTER)


@pytest.fixture
def rsync_place(tmp_path: Path) -> Iterator[Place]:
    port, key, path = free_port(), tmp_path / "state" / "ssh" / "id_ed25519", tmp_path / "far"
    known = tmp_path / "known_hosts"
    with sshd(tmp_path / "sshd", key, port) as line:
        known.write_text(line + "\n")
        yield Place(
            {"name": "far", "type": "rsync", "host": "127.0.0.1", "port": port, "user": getpass.getuser(),
             "path": str(path), "key": str(key), "known_hosts": str(known), "timeout": 600},
            path / CLUSTER,
        )  # fmt: skip


@pytest.fixture
def s3_place(s3_programs: Path, tmp_path: Path) -> Iterator[Place]:
    port = free_port()
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps({"access_key_id": "backup", "secret_access_key": "secret-key"}))
    with s3_server(s3_programs / "s3-server", tmp_path / "s3", port) as ca:
        yield Place(
            {"name": "s3", "type": "s3", "endpoint": f"https://127.0.0.1:{port}", "bucket": "bucket", "prefix": "deep",
             "credentials": str(credentials), "ca": str(ca), "rclone": str(s3_programs / "rclone"), "timeout": 600},
            tmp_path / "s3" / "data" / "bucket" / "deep" / CLUSTER,
        )  # fmt: skip


@pytest.fixture(params=["directory", "rsync", "s3"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


def with_targets(configuration: Configuration, *places: Place, **settings: Any) -> Configuration:
    return replace(configuration, targets=[{**each.settings, **settings} for each in places])


def local(configuration: Configuration) -> list[str]:
    return sorted(path.name for path in configuration.directory.iterdir() if manifest.is_name(path.name))


def all_check(place: Place, configuration: Configuration, scratch: Path) -> list[str]:
    """Fetch what is there under a final name; each has to be whole."""
    names = place.names()
    for name in names:
        path = targets.fetch(
            place.target(), name, scratch, configuration.programs.etcdutl, configuration.etcd.ca_digest
        )
        assert path == scratch / name
        shutil.rmtree(path)
    return names


def test_copies_are_brought_once_and_come_back_whole(place: Place, backups_made: Configuration, tmp_path: Path) -> None:
    configuration = with_targets(backups_made, place)
    said = targets.copy(configuration)
    status = Records(configuration.state).status()["targets"][place.settings["name"]]
    there = {path: path.stat().st_mtime_ns for path in place.directory.rglob("*") if path.is_file()}
    scratch = tmp_path / "back"
    scratch.mkdir()
    assert "sent" in said
    assert sorted(all_check(place, configuration, scratch)) == local(configuration)
    assert status["ok"]
    assert status["newest"] == local(configuration)[-1]
    assert status["copies"] == 3
    assert targets.copy(configuration) == f"{place.settings['name']}: it has all"
    assert {path: path.stat().st_mtime_ns for path in place.directory.rglob("*") if path.is_file()} == there


def test_retention_at_the_target_is_that_of_the_host(place: Place, backups_made: Configuration) -> None:
    configuration = with_targets(backups_made, place)
    targets.copy(configuration)
    fewer = replace(configuration, keep=replace(configuration.keep, last=1))
    assert "removed" in targets.copy(fewer)
    assert place.names() == local(configuration)[-1:]
    assert targets.copy(fewer) == f"{place.settings['name']}: it has all"


def test_what_is_damaged_there_is_told_and_sent_again(
    place: Place, backups_made: Configuration, tmp_path: Path
) -> None:
    configuration = with_targets(backups_made, place)
    targets.copy(configuration)
    newest = local(configuration)[-1]
    victim = place.directory / newest / manifest.SNAPSHOT
    victim.write_bytes(victim.read_bytes()[:-100])
    scratch = tmp_path / "back"
    scratch.mkdir()
    with pytest.raises(BackupError):
        targets.fetch(place.target(), newest, scratch, configuration.programs.etcdutl)
    assert list(scratch.iterdir()) == []
    assert f"sent {newest}" in targets.copy(configuration)
    assert len(all_check(place, configuration, scratch)) == 3


def test_another_clusters_copies_are_left_alone(place: Place, backups_made: Configuration) -> None:
    configuration = with_targets(backups_made, place)
    foreign = place.directory / "20200101T000000Z-other"
    foreign.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(configuration.directory / local(configuration)[0], foreign)
    document = json.loads((foreign / manifest.NAME).read_text())
    document.update(name=foreign.name, authority="0" * 64)
    (foreign / manifest.NAME).write_bytes(manifest.Manifest.parse(files.render(manifest._sealed(document))).render())
    targets.copy(configuration)
    targets.copy(replace(configuration, keep=replace(configuration.keep, last=1)))
    assert foreign.name in place.names()
    assert Records(configuration.state).status()["targets"][place.settings["name"]]["copies"] == 1


def test_killed_at_any_moment_nothing_under_a_final_name_is_unfinished(
    place: Place, store: Store, backups_made: Configuration, tmp_path: Path
) -> None:
    store.fill(20000, "large" * 200)
    for _ in range(2):
        save.save(backups_made, "hand")
    configuration = with_targets(backups_made, place)
    path = store.configure(targets=[dict(each) for each in configuration.targets])
    command = [sys.executable, "-m", "kubeproof.backup.agent", "--config", str(path), "copy"]
    scratch = tmp_path / "back"
    scratch.mkdir()
    draw = random.Random(7)  # noqa: S311 - repeatable is what is wanted
    started = time.monotonic()
    subprocess.run(command, env=agent_environment(), check=True, capture_output=True)
    whole = time.monotonic() - started
    for _ in range(20):
        shutil.rmtree(place.directory, ignore_errors=True)
        process = subprocess.Popen(command, env=agent_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(draw.uniform(0.1, whole))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(0.2)
        with contextlib.suppress(BackupError):
            all_check(place, configuration, scratch) if place.directory.exists() else None
    targets.copy(configuration)
    assert sorted(all_check(place, configuration, scratch)) == local(configuration)
    assert place.target().unfinished() == []


def test_one_that_is_down_delays_no_other(directory_place: Place, backups_made: Configuration) -> None:
    with socket.socket() as deaf:
        # It takes connections, and never says a word.
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(20)
        hanging = {"name": "deaf", "type": "rsync", "host": "127.0.0.1", "port": deaf.getsockname()[1],
                   "user": "nobody", "path": "/nowhere", "known_hosts": "/dev/null", "timeout": 3}  # fmt: skip
        gone = {**hanging, "name": "gone", "port": free_port()}
        configuration = replace(backups_made, targets=[hanging, directory_place.settings, gone])
        started = time.monotonic()
        with pytest.raises(BackupError, match=r"deaf: .*3 s.*disk: sent .*gone: .*refused"):
            targets.copy(configuration)
    assert time.monotonic() - started < 20
    status = Records(configuration.state).status()["targets"]
    assert {name: entry["ok"] for name, entry in status.items()} == {"deaf": False, "disk": True, "gone": False}
    assert sorted(directory_place.names()) == local(configuration)


def test_a_target_that_comes_back_gets_what_it_lacks(s3_place: Place, backups_made: Configuration) -> None:
    wrong = {**s3_place.settings, "endpoint": f"https://127.0.0.1:{free_port()}", "timeout": 20}
    with pytest.raises(BackupError, match="s3: "):
        targets.copy(replace(backups_made, targets=[wrong]))
    targets.copy(with_targets(backups_made, s3_place))
    status = Records(backups_made.state).status()["targets"]["s3"]
    assert status["ok"]
    assert status["copies"] == 3


def test_wrong_credentials_are_told(
    s3_place: Place, rsync_place: Place, backups_made: Configuration, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"access_key_id": "backup", "secret_access_key": "guessed"}))
    nobody = target_key(tmp_path / "nobody")
    configuration = replace(
        backups_made,
        targets=[{**s3_place.settings, "credentials": str(wrong)}, {**rsync_place.settings, "key": str(nobody)}],
    )
    with pytest.raises(BackupError, match=r"s3: .*(403|SignatureDoesNotMatch|denied).*far: .*[Pp]ermission denied"):
        targets.copy(configuration)


def test_a_host_with_another_key_is_not_talked_to(
    rsync_place: Place, backups_made: Configuration, tmp_path: Path
) -> None:
    other = target_key(tmp_path / "other")
    known = tmp_path / "other_known_hosts"
    words = other.with_suffix(".pub").read_text().split()[:2]
    known.write_text(f"[127.0.0.1]:{rsync_place.settings['port']} {' '.join(words)}\n")
    with pytest.raises(BackupError, match=r"far: .*[Hh]ost key"):
        targets.copy(with_targets(backups_made, rsync_place, known_hosts=str(known)))
    assert not rsync_place.directory.exists()


def target_key(path: Path) -> Path:
    target_rsync.public_key(path)
    return path


def test_a_server_with_another_certificate_is_not_talked_to(s3_place: Place, backups_made: Configuration) -> None:
    with pytest.raises(BackupError, match=r"s3: .*(certificate|x509)"):
        targets.copy(with_targets(backups_made, s3_place, ca=""))


def test_a_mount_point_that_is_not_mounted_gets_nothing(directory_place: Place, backups_made: Configuration) -> None:
    with pytest.raises(BackupError, match="disk: nothing is mounted on"):
        targets.copy(with_targets(backups_made, directory_place, mount=True))
    with pytest.raises(BackupError, match=r"disk: .* is not a directory"):
        targets.copy(with_targets(backups_made, directory_place, path="/nowhere/at/all"))
    assert not directory_place.directory.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a file system of its own takes root")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("kind", ["directory", "rsync", "s3"])
def test_a_full_target_is_told_and_keeps_what_it_has(
    kind: str,
    small_disk: Path,
    s3_programs: Path,
    rsync_place: Place,
    store: Store,
    backups_made: Configuration,
    tmp_path: Path,
) -> None:
    with contextlib.ExitStack() as stack:
        if kind == "directory":
            place = Place(
                {"name": "disk", "type": "directory", "path": str(small_disk), "timeout": 600}, small_disk / CLUSTER
            )
        elif kind == "rsync":
            place = Place({**rsync_place.settings, "path": str(small_disk)}, small_disk / CLUSTER)
        else:
            port, credentials = free_port(), tmp_path / "credentials.json"
            credentials.write_text(json.dumps({"access_key_id": "backup", "secret_access_key": "secret-key"}))
            ca = stack.enter_context(s3_server(s3_programs / "s3-server", small_disk / "s3", port))
            settings = {"name": "s3", "type": "s3", "endpoint": f"https://127.0.0.1:{port}", "bucket": "bucket",
                        "credentials": str(credentials), "ca": str(ca),
                        "rclone": str(s3_programs / "rclone"), "timeout": 600}  # fmt: skip
            place = Place(settings, small_disk / "s3" / "data" / "bucket" / CLUSTER)
        small = with_targets(backups_made, place)
        with contextlib.suppress(BackupError):
            targets.copy(small)
        before = place.names()
        store.fill(5000, "large" * 50)
        save.save(small, "hand")
        with pytest.raises(BackupError, match=f"{place.settings['name']}: "):
            targets.copy(small)
        scratch = tmp_path / "back"
        scratch.mkdir()
        assert before
        assert set(all_check(place, small, scratch)) >= set(before)
        assert Records(small.state).status()["targets"][place.settings["name"]]["ok"] is False


def test_a_damaged_backup_is_not_sent(directory_place: Place, backups_made: Configuration) -> None:
    newest = backups_made.directory / local(backups_made)[-1]
    with (newest / manifest.SNAPSHOT).open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"?")
    with pytest.raises(BackupError, match="SHA-256"):
        targets.copy(with_targets(backups_made, directory_place))


def test_a_slow_target_is_ended_in_its_time(rsync_place: Place, backups_made: Configuration, tmp_path: Path) -> None:
    slow = tmp_path / "bin"
    slow.mkdir()
    real = shutil.which("rsync")
    (slow / "rsync").write_text(f'#!/bin/sh\nsleep 30\nexec {real} "$@"\n')
    (slow / "rsync").chmod(0o755)
    old = os.environ["PATH"]
    os.environ["PATH"] = f"{slow}:{old}"
    try:
        started = time.monotonic()
        with pytest.raises(BackupError, match="far: it was not done within 2 s"):
            targets.copy(with_targets(backups_made, rsync_place, timeout=2))
        assert time.monotonic() - started < 10
    finally:
        os.environ["PATH"] = old
