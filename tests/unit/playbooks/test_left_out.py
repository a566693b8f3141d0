"""A run that leaves out a control-plane host, the first one above all, does what it would do through it elsewhere."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[3]
HOSTS = """
[control_plane]
cp[1:3]
[etcd]
cp[1:3]
[workers]
w[1:2]
[all:vars]
ansible_connection=local
"""
MESSAGE = "through={{ __cluster_speaker }}"
PLAY = [
    {
        "name": "Who speaks",
        "hosts": "control_plane:workers",
        "gather_facts": False,
        "roles": ["cluster"],
        "tasks": [
            {"name": "Say", "ansible.builtin.debug": {"msg": "through={{ __cluster_speaker }}"}, "run_once": True}
        ],
    }
]


def play(directory: Path, *arguments: str) -> str:
    (directory / "hosts").write_text(HOSTS)
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(directory / "hosts"), *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("limit", "speaker"), [("all", "cp1"), ("!cp1", "cp2"), ("!cp1:!cp2", "cp3"), ("w2", "cp1"), ("cp3:w1", "cp3")]
)
def test_the_api_is_asked_through_a_host_that_takes_part(tmp_path: Path, limit: str, speaker: str) -> None:
    (tmp_path / "play.yml").write_text(yaml.safe_dump(PLAY))
    assert f"through={speaker}" in play(tmp_path, "--limit", limit, str(tmp_path / "play.yml"))


@pytest.mark.parametrize(("found", "speaker"), [("cp2", "cp2"), ("", "cp1")])
def test_without_one_in_the_play_it_is_the_one_that_was_found(tmp_path: Path, found: str, speaker: str) -> None:
    (tmp_path / "play.yml").write_text(yaml.safe_dump(PLAY))
    checked = json.dumps({"__preflight_checked": {"speaker": found}})
    assert f"through={speaker}" in play(tmp_path, "--limit", "w2", "-e", checked, str(tmp_path / "play.yml"))
    # As in an act of an upgrade. One that takes part is asked before one that does not.
    assert "through=cp3" in play(tmp_path, "--limit", "cp3:w1", "-e", checked, str(tmp_path / "play.yml"))


class Ready(BaseHTTPRequestHandler):
    """An API server of which only this is asked."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(name="port")
def _port(tmp_path: Path) -> Iterator[int]:
    """Where a server with a certificate of its own says that it is ready."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    end = now + datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, end)
    builder = builder.add_extension(address, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (tmp_path / "ca.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    none = serialization.NoEncryption()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    (tmp_path / "ca.key").write_bytes(key.private_bytes(*form, none))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "ca.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(name="silent")
def _silent() -> Iterator[int]:
    """A port that takes connections, and says nothing: a machine that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def outside(directory: Path, port: int, *arguments: str, asked: tuple[str, ...] = ("cp1", "cp2", "cp3")) -> str:
    """Look for a host outside the run, as the preflight does: cp1 and cp2 are not to be reached, cp3 is this one."""
    role = {"name": "preflight", "tasks_from": "outside", "rolespec_validate": False}
    task = {"name": "Ask", "ansible.builtin.include_role": role}
    shown = "{{ __preflight_outside.results | map(attribute='item') | join('+') }}"
    statuses = "{{ __preflight_outside.results | map(attribute='status', default='-') | join('+') }}"
    tasks = [
        task,
        {"name": "Say", "ansible.builtin.debug": {"msg": f"asked={shown} got={statuses}"}},
    ]
    (directory / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "workers", "gather_facts": False, "roles": ["cluster"], "tasks": tasks}])
    )
    given = {
        "__preflight_settings": {"outside": list(asked)},
        "__preflight_authority": str(directory / "ca.crt"),
        "cluster_api_port": port,
        # On a busy machine.
        "__preflight_outside_seconds": 900,
        "ansible_python_interpreter": sys.executable,
    }
    limited = ("--limit", "w1:w2", "-e", json.dumps(given))
    return play(directory, *limited, *arguments, str(directory / "play.yml"))


@pytest.mark.parametrize("check", [(), ("--check",)])
def test_the_first_host_outside_the_run_that_answers_is_found(
    tmp_path: Path, port: int, silent: int, check: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = "ansible_connection=ssh ansible_host=127.0.0.1 ansible_port="
    hosts = HOSTS.replace("[etcd]", f"[etcd]\ncp1 {dead}1\ncp2 {dead}{silent}", 1)
    monkeypatch.setattr(sys.modules[__name__], "HOSTS", hosts)
    shown = outside(tmp_path, port, *check)
    assert "asked=cp1+cp2+cp3 got=-+-+200" in shown
    # No host of the run is lost by it.
    assert len(re.findall(r"w\d +: ok=\d+ .*unreachable=0 +failed=0", shown)) == 2


def test_nobody_is_asked_after_the_first_that_answers(tmp_path: Path, port: int) -> None:
    assert "asked=cp1 got=200" in outside(tmp_path, port)


def test_nobody_is_asked_where_the_run_has_one(tmp_path: Path, port: int) -> None:
    shown = outside(tmp_path, port, asked=())
    assert 'asked= got="' in shown
    assert shown.count("skipping:") == 1


def test_a_server_that_is_down_is_no_answer(tmp_path: Path, port: int, silent: int) -> None:
    assert port != silent
    assert "asked=cp1+cp2+cp3 got=-1+-1+-1" in outside(tmp_path, silent)


@pytest.mark.parametrize("limit", ["!cp1", "cp2:cp3"])
def test_no_play_of_an_installation_is_for_one_host_only(tmp_path: Path, limit: str) -> None:
    shown = play(tmp_path, "--list-hosts", "--limit", limit, str(ROOT / "playbooks" / "cluster.yml"))
    counts = re.findall(r"play #\d+ \(.*\): (.*?)\t.*\n.*\n +hosts \((\d+)\):", shown)
    assert "Install DNS and add-ons" in [name for name, _ in counts]
    assert [name for name, count in counts if count == "0"] == []


def test_no_role_picks_a_host_of_the_control_plane_by_its_place() -> None:
    places = re.compile(r"control_plane\[0\]|groups\[['\"]control_plane['\"]\] *\| *first")
    files = [path for part in ("playbooks", "roles") for path in (ROOT / part).rglob("*") if path.is_file()]
    assert [str(path) for path in files if places.search(path.read_text())] == []
