"""The registry of the tests of everything: who has the password gets the image, by tag and by digest."""

from __future__ import annotations

import hashlib
import json
import ssl
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
        registry.serving(tmp_path / "image.tar", tmp_path / "both.pem") as made,
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
