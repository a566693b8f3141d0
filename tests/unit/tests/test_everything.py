"""The registry of the tests of everything: who has the password gets the image, and brings charts."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import ssl
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.everything import registry

from kubeproof.components import oci
from kubeproof.verify.act.application_operator import gate

PASSWORD = {"Authorization": f"Basic {registry.authorization()}"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a registry that runs, which trusts its CA."""
    program = tmp_path / "program"
    program.write_bytes(b"ELF")
    contents = oci.Contents("x:1", "amd64", {"/program": (program, 0o755)}, {}, [], "0:0", (), ("/program",), (), {})
    oci.write_archive(contents, tmp_path / "image.tar")
    issued = gate.issue("localhost")
    (tmp_path / "both.pem").write_text(issued.certificate + issued.key)
    trust = ssl.create_default_context(cadata=issued.ca)
    with (
        registry.serving(tmp_path / "image.tar", tmp_path / "both.pem", "127.0.0.1") as made,
        httpx.Client(base_url=f"https://localhost:{made.port}", verify=trust, trust_env=False) as opened,
    ):
        yield opened


def test_the_image_is_for_who_has_the_password(client: httpx.Client) -> None:
    path = f"/v2/{registry.REPOSITORY}/manifests/{registry.TAG}"
    refused = client.get(path)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="tests"')
    client.headers.update(PASSWORD)
    assert client.head(path, params={"ns": "registry.test"}).headers["Content-Type"].endswith("manifest.v1+json")
    manifest = client.get(path)
    digest = f"sha256:{hashlib.sha256(manifest.content).hexdigest()}"
    assert client.get(path.replace(f"/{registry.TAG}", f"/{digest}")).content == manifest.content
    for blob in (json.loads(manifest.content)["config"], *json.loads(manifest.content)["layers"]):
        content = client.get(f"/v2/{registry.REPOSITORY}/blobs/{blob['digest']}").content
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob["digest"]


def test_there_is_nothing_else(client: httpx.Client) -> None:
    client.headers.update(PASSWORD)
    assert client.get("/v2/").status_code == 200
    for path in ("/", "/v2/other/manifests/1", f"/v2/{registry.REPOSITORY}/manifests/2"):
        assert client.get(path).status_code == 404


def test_what_is_pushed_is_pulled(client: httpx.Client) -> None:
    """As Helm does it: is the blob there, begin, send all of it; then the manifest, by tag."""
    content, manifest, kind = b"a chart", b'{"layers": []}', "application/vnd.oci.image.manifest.v1+json"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert client.post("/v2/charts/greeter/blobs/uploads/").status_code == 401
    client.headers.update(PASSWORD)
    assert client.head(f"/v2/charts/greeter/blobs/{digest}").status_code == 404
    assert client.get("/v2/charts/greeter/tags/list").status_code == 404
    begun = client.post("/v2/charts/greeter/blobs/uploads/")
    assert begun.status_code == 202
    place = begun.headers["Location"]
    kept = client.put(place, params={"digest": digest}, content=content)
    assert (kept.status_code, kept.headers["Location"]) == (201, f"/v2/charts/greeter/blobs/{digest}")
    assert client.put(place, params={"digest": digest}, content=content).status_code == 404, "it is over"
    put = client.put("/v2/charts/greeter/manifests/1.0.0", content=manifest, headers={"Content-Type": kind})
    assert put.status_code == 201

    assert client.get(f"/v2/charts/greeter/blobs/{digest}").content == content
    for reference in ("1.0.0", put.headers["Docker-Content-Digest"]):
        got = client.get(f"/v2/charts/greeter/manifests/{reference}")
        assert (got.content, got.headers["Content-Type"]) == (manifest, kind)
    assert client.get("/v2/charts/greeter/tags/list").json() == {"name": "charts/greeter", "tags": ["1.0.0"]}
    assert client.get("/v2/charts/other/manifests/1.0.0").status_code == 404


def test_what_is_pushed_must_be_what_it_is_said_to_be(client: httpx.Client) -> None:
    client.headers.update(PASSWORD)
    place = client.post("/v2/charts/greeter/blobs/uploads/").headers["Location"]
    digest = f"sha256:{hashlib.sha256(b'a chart').hexdigest()}"
    assert client.put(place, params={"digest": digest}, content=b"another chart").status_code == 400
    assert client.get(f"/v2/charts/greeter/blobs/{digest}").status_code == 404


def test_it_is_at_its_own_address_alone(client: httpx.Client) -> None:
    with socket.socket() as other:
        other.settimeout(5)
        assert other.connect_ex(("127.0.0.2", client.base_url.port)) != 0


def test_its_address_may_come_later(tmp_path: Path) -> None:
    """Hosts' segment is made after what their inventory has to name."""
    (tmp_path / "both.pem").write_text((issued := gate.issue("localhost")).certificate + issued.key)
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        content = json.dumps({"manifests": [{"mediaType": "x", "digest": "sha256:0"}]}).encode()
        for name, data in (("index.json", content), ("blobs/sha256/0", b"{}")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    with registry.serving(tmp_path / "image.tar", tmp_path / "both.pem", "192.0.2.77") as made:
        assert made.port
