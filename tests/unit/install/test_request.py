"""What install_component asks of a host."""

from __future__ import annotations

import base64
import datetime
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kubeproof.install import request as install
from kubeproof.pki import cas

CERTIFICATE = {"path": "/etc/x/client", "authority": "etcd", "common_name": "x", "usages": ["client"], "owner": "x"}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    cas.ensure_cas(tmp_path / "pki", "test", datetime.timedelta(days=10))
    return tmp_path


def payload(state: Path, rendered: str = "", **arguments: Any) -> dict[str, Any]:
    return install.Request.parse(arguments, str(state)).payload(lambda _name: rendered)


def content(file: dict[str, Any]) -> str:
    return base64.b64decode(file["content"]).decode()


def test_a_template_lands_where_it_lies(state: Path) -> None:
    (file,) = payload(state, "a: 1 # why\n", files=[{"template": "etc/x/x.yaml.j2", "owner": "x"}])["files"]
    assert (file["path"], file["owner"], file["mode"], content(file)) == ("/etc/x/x.yaml", "x", "0644", "a: 1 # why\n")


def test_extra_settings_are_merged_into_toml(state: Path) -> None:
    """containerd's. Without any the file is what the template is, comments and all."""
    text = "# why\nversion = 3\n\n[plugins.'io.containerd.cri.v1.runtime']\n  enable_cdi = true\n"
    extra = {"plugins": {"io.containerd.cri.v1.runtime": {"max_container_log_line_size": 32768}}}
    template = {"template": "etc/x/config.toml.j2"}
    (plain,) = payload(state, text, files=[template])["files"]
    (merged,) = payload(state, text, files=[{**template, "merge": extra}])["files"]
    assert content(plain) == text
    assert tomllib.loads(content(merged)) == {
        "version": 3,
        "plugins": {"io.containerd.cri.v1.runtime": {"enable_cdi": True, "max_container_log_line_size": 32768}},
    }


def test_extra_settings_are_merged_deeply(state: Path) -> None:
    item = {"template": "etc/x.yaml.j2", "merge": {"a": {"c": 3}, "d": 4}}
    (file,) = payload(state, "a: {b: 1, c: 2}\n", files=[item])["files"]
    assert yaml.safe_load(content(file)) == {"a": {"b": 1, "c": 3}, "d": 4}


def test_files_of_the_cas_come_from_the_state_directory(state: Path) -> None:
    items = [
        {"authority": "etcd", "dest": "/a"},
        {"authority_key": "etcd", "dest": "/b", "mode": "0600"},
        {"service_account": "public", "dest": "/c"},
        {"service_account": "private", "dest": "/d", "mode": "0600"},
    ]
    files = payload(state, files=items)["files"]
    sources = ["etcd.crt", "etcd.key", "service-account.pub", "service-account.key"]
    assert [content(file) for file in files] == [(state / "pki" / name).read_text() for name in sources]
    assert [file["secret"] for file in files] == [False, True, False, True]


def test_settings_are_remembered_as_text(state: Path) -> None:
    settings = {"cluster_pod_network_prefix": 24, "containerd_root_directory": "/data/containerd/"}
    assert payload(state, settings=settings)["settings"] == {
        "cluster_pod_network_prefix": "24",
        "containerd_root_directory": "/data/containerd",
    }


def test_a_kubeconfig_refers_to_its_certificates_by_path(state: Path) -> None:
    access = {
        "cluster": "c",
        "user": "u",
        "server": "https://x",
        "authority": "/ca",
        "certificate": "/crt",
        "key": "/k",
    }
    (file,) = payload(state, files=[{"kubeconfig": access, "dest": "/etc/x/kubeconfig"}])["files"]
    document = yaml.safe_load(content(file))
    assert document["users"][0]["user"] == {"client-certificate": "/crt", "client-key": "/k"}
    assert document["current-context"] == "c"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"file": []}, "does not know"),
        ({"files": [{"dest": "/x"}]}, "exactly one of"),
        ({"settings": {"etcd_quota_backend_bytes": 1}}, "are none of those that stay"),
        ({"files": [{"content": "", "template": "x"}]}, "exactly one of"),
        ({"files": [{"content": "x"}]}, "needs 'dest'"),
        ({"files": [{"content": "x", "dest": "/x", "owned": "me"}]}, "unknown keys"),
        ({"files": ["x"]}, "is a dictionary"),
        ({"directories": [{"mode": "0700"}]}, "missing keys"),
        ({"certificates": [{"path": "/x"}]}, "missing keys"),
        ({"files": [{"authority": "nobody", "dest": "/x"}]}, "is missing"),
        ({"files": [{"template": "x.j2", "merge": {"a": 1}}]}, "only a YAML dictionary"),
    ],
)
def test_a_wrong_request_is_refused_in_words(state: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(install.RequestError, match=message):
        payload(state, "text", **arguments)


def test_a_certificate_is_issued_when_missing_and_then_left_alone(state: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    public = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    request = install.Request.parse({"certificates": [CERTIFICATE]}, str(state))
    issued = request.issue({"/etc/x/client": {"certificate": "", "public_key": public}}, pretend=False)
    assert issued.changes == [{"path": "/etc/x/client.crt", "what": "issued: there is none"}]
    (file,) = issued.files
    assert (file["path"], file["owner"]) == ("/etc/x/client.crt", "x")
    found = {"/etc/x/client": {"certificate": content(file), "public_key": public}}
    assert request.issue(found, pretend=False).files == []


def test_check_mode_announces_a_certificate_without_its_key(state: Path) -> None:
    request = install.Request.parse({"certificates": [CERTIFICATE]}, str(state))
    issued = request.issue({"/etc/x/client": {"certificate": "", "public_key": ""}}, pretend=True)
    assert len(issued.changes) == 1
