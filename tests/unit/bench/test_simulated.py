"""Simulated hosts of the bench: a host report has all fields of a real one's, and knows what tasks have left."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from bench.simulated import simulated

from kubeproof.settings.host_report import HostReport

FLEET = {
    "hosts": {
        "cp1": {"number": 1, "address": "10.99.0.1", "etcd": True},
        "w1": {"number": 2, "address": "10.99.0.2", "etcd": False},
    },
    "public_key": "PUBLIC",
}
ASKED = {"paths": ["/"], "sysctls": []}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "fleet.json").write_text(json.dumps(FLEET))
    return tmp_path


def _ask(directory: Path, name: str, given: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    host = simulated.Host(directory, "10.99.0.1")
    answer: dict[str, Any] = simulated.MODULES[name](host, given, check=check)
    return answer


def _report(directory: Path) -> dict[str, Any]:
    report: dict[str, Any] = _ask(directory, "host_report", ASKED)["ansible_facts"]["kubeproof_host"]
    return report


def _payload(*files: tuple[str, str]) -> dict[str, Any]:
    payload = {
        "files": [{"path": path, "content": base64.b64encode(text.encode()).decode()} for path, text in files],
        "settings": {"cluster_name": "kubeproof"},
        "settle": {"task": "etcd: Install etcd", "digest": "d1", "keys": [{"path": "/etc/etcd/pki/peer"}]},
    }
    return {"_payload": base64.b64encode(json.dumps(payload).encode()).decode()}


def test_a_report_has_all_fields(directory: Path) -> None:
    fields = set(_report(directory))
    # When it was asked is for the action plugin to say.
    assert fields == HostReport.__annotations__.keys() - {"asked"}


def test_what_was_installed_is_settled_with_its_certificate(directory: Path) -> None:
    first = _ask(directory, "install_component", _payload(("/etc/etcd/etcd.yaml", "a: b")))
    _ask(directory, "install_component", _payload(("/etc/etcd/pki/peer.crt", "ISSUED")))
    assert first["changed"]
    assert first["certificates"] == {"/etc/etcd/pki/peer": {"public_key": "PUBLIC", "certificate": ""}}
    settled = _report(directory)["settled"]["tasks"]
    assert settled == {"d1": {"/etc/etcd/pki/peer": {"public_key": "PUBLIC", "certificate": "ISSUED"}}}


def test_check_mode_leaves_nothing(directory: Path) -> None:
    _ask(directory, "install_component", _payload(), check=True)
    _ask(directory, "component_service", {"unit": "etcd.service", "_digest": "d2"}, check=True)
    report = _report(directory)
    assert report["settled"] == {"tasks": {}, "units": {}}
    assert not report["installed"]["manifest"]


def test_what_was_started_is_settled(directory: Path) -> None:
    answer = _ask(directory, "component_service", {"unit": "etcd.service", "_digest": "d2"})
    assert answer["done"]
    report = _report(directory)
    assert report["settled"]["units"] == {"etcd.service": "d2"}
    assert report["installed"]["active"] == ["etcd.service"]
    assert report["etcd"]["peers"] == {"cp1": "https://10.99.0.1:2380"}


def test_a_module_and_its_arguments_are_found_in_what_ansible_sends() -> None:
    arguments = {"ANSIBLE_MODULE_ARGS": {"a": "it's"}}
    sent = f"code\n_main(\nzip_data='UEsD',\nansible_module='kube_wait',\nparams={json.dumps(arguments)!r},\n)".encode()
    assert simulated._asked(sent) == ("kube_wait", {"a": "it's"})
