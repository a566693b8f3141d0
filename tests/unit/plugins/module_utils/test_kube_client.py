"""How long modules wait for an API server that is there and does not answer."""

from __future__ import annotations

import datetime
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils import kube_client
from ansible.module_utils.kube_client import ApiError, Client
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kubeproof.pki import cas


@pytest.fixture
def access(tmp_path: Path) -> dict[str, str]:
    """A CA, and a client's certificate."""
    cas.ensure_cas(tmp_path, "test", datetime.timedelta(days=1))
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "client.key").write_bytes(cas.private_pem(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    wanted = cas.Wanted("kubernetes", "client", ("client",))
    certificate = cas.CA.load(tmp_path, "kubernetes").issue(
        wanted, public.decode(), datetime.datetime.now(datetime.UTC)
    )
    (tmp_path / "client.crt").write_text(certificate)
    names = {"ca": "kubernetes.crt", "certificate": "client.crt", "key": "client.key"}
    return {name: str(tmp_path / file) for name, file in names.items()}


@pytest.fixture
def slow() -> Iterator[str]:
    """A server that comes to a connection after a second, and then ends it."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    over.wait(1.0)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
    server.join()


@pytest.mark.parametrize(("patience", "patient"), [(1.0, False), (100.0, True)])
def test_an_answer_is_waited_for_longer_on_slow_hosts(
    access: dict[str, str], slow: str, monkeypatch: pytest.MonkeyPatch, patience: float, patient: bool
) -> None:
    monkeypatch.setattr(kube_client, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(ApiError) as raised:
        Client({"server": slow, **access, "patience": patience}, seconds=0).get("/api/v1/nodes")
    # Who waits long enough sees the end that the server makes.
    assert ("timed out" not in str(raised.value)) is patient, raised.value


@pytest.mark.parametrize(("given", "seconds"), [({}, 30), ({"patience": 2}, 60)])
def test_a_server_that_is_down_is_waited_for_longer_on_slow_hosts(
    access: dict[str, str], given: dict[str, float], seconds: float
) -> None:
    assert Client({"server": "https://127.0.0.1", **access, **given}, 30.0).seconds == seconds


@pytest.mark.parametrize("metadata", [{}, {"namespace": None}, {"namespace": ""}, {"namespace": "default"}])
def test_what_names_no_namespace_is_in_the_default_one(access: dict[str, str], metadata: dict[str, str | None]) -> None:
    client = Client({"server": "https://127.0.0.1:1", **access})
    client.resources["/api/v1"] = {"ConfigMap": ("configmaps", True), "Node": ("nodes", False)}
    named = {"apiVersion": "v1", "metadata": {"name": "a", **metadata}}
    assert client.path({**named, "kind": "ConfigMap"}) == "/api/v1/namespaces/default/configmaps/a"
    assert client.path({**named, "kind": "Node"}) == "/api/v1/nodes/a"
