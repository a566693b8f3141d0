"""The action plugin that installs a component: when it asks the host at all, and for what."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from plugins.action.install_component import ActionModule

from kubeproof.backup import keys
from kubeproof.install.pending import Pending
from kubeproof.install.rolling import this_run
from kubeproof.pki import cas

FILE = {"dest": "/etc/x/config", "content": "a"}
CERTIFICATE = {"path": "/etc/x/client", "authority": "etcd", "common_name": "x", "usages": ["client"]}
ANSWER = {"changed": False, "changes": [], "certificates": {}}


class Host:
    """A host that gives the answers it was made with, and remembers what it was asked."""

    def __init__(self, state: Path) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.settled: dict[str, Any] | None = {}
        self.check_mode = False
        self.installed = True
        self._state = state

    def run(self, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> dict[str, Any]:
        report: dict[str, Any] = {} if self.settled is None else {"settled": {"tasks": self.settled, "units": {}}}
        report["installed"] = {"manifest": self.installed}
        variables = {
            "inventory_hostname": "cp1",
            "cluster_state_directory": str(self._state),
            "ansible_facts": {"kubeproof_host": report},
        }
        plugin = ActionModule.__new__(ActionModule)
        plugin._templar = Templar(loader=DataLoader(), variables=variables)
        plugin._execute_module = self._execute
        plugin._task = SimpleNamespace(args=arguments, check_mode=self.check_mode, name="Install x", _role=None)
        monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_: {})
        result: dict[str, Any] = plugin.run(task_vars=variables)
        return result

    def _execute(self, **call: Any) -> dict[str, Any]:
        self.asked.append(json.loads(base64.b64decode(call["module_args"]["_payload"])))
        return self.answers.pop(0)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    cas.ensure_cas(tmp_path / "pki", "test", datetime.timedelta(days=10))
    return Host(tmp_path)


def settle(host: Host, monkeypatch: pytest.MonkeyPatch, answer: Any, **arguments: Any) -> None:
    """Install something, and let the host report from then on that it is as it was left."""
    host.answers = [{**ANSWER, "certificates": answer}]
    host.run(monkeypatch, **arguments)
    host.settled = {host.asked.pop()["settle"]["digest"]: answer}


def test_what_is_reported_as_it_was_left_is_not_asked_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(host, monkeypatch, {}, files=[FILE])
    assert host.run(monkeypatch, files=[FILE])["changed"] is False
    assert host.asked == []


def test_a_private_key_of_backups_that_is_made_anew_is_warned_of(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_INSTALLATION", datetime.timedelta(0))
    file = {"dest": "/etc/x/keys", "cluster_keys": {"how": "encrypted", "recipients": []}}
    host.answers = [ANSWER, ANSWER]
    (warning,) = host.run(monkeypatch, files=[file])["warnings"]
    assert keys.IDENTITY in warning
    assert "warnings" not in host.run(monkeypatch, files=[file])


def test_other_content_is_asked_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(host, monkeypatch, {}, files=[FILE])
    host.answers = [ANSWER]
    host.run(monkeypatch, files=[{**FILE, "content": "b"}])
    assert len(host.asked) == 1


def test_after_a_change_hosts_are_asked(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(host, monkeypatch, {}, files=[FILE])
    host.answers = [{**ANSWER, "changed": True}, ANSWER]
    host.run(monkeypatch, files=[{**FILE, "content": "b"}])
    host.run(monkeypatch, files=[FILE])
    assert len(host.asked) == 2


def test_a_playbook_without_a_report_to_trust_leaves_no_mark(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.settled = None
    host.answers = [{**ANSWER, "changed": True}]
    host.run(monkeypatch, files=[FILE])
    assert not (host._state / "rolling").exists()


def test_the_host_is_told_what_to_look_at(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    told = {"/etc/x/client": {"certificate": "", "public_key": pem}}
    host.answers = [{**ANSWER, "certificates": told}, {**ANSWER, "changed": True}]
    request = {
        "files": [FILE],
        "certificates": [CERTIFICATE],
        "directories": [{"path": "/etc/x"}],
        "absent": ["/etc/old"],
        "users": ["x"],
        "modules": ["overlay"],
        "sysctls": {"net.ipv4.ip_forward": "1"},
    }
    host.run(monkeypatch, **request)
    first, second = host.asked
    assert first["settle"]["subject"] == {
        "files": ["/etc/old", "/etc/x", "/etc/x/client.crt", "/etc/x/client.key", "/etc/x/config"],
        "users": ["x"],
        "modules": ["overlay"],
        "sysctls": ["net.ipv4.ip_forward"],
    }
    # The certificate comes with the second call, after which everything is as it should be.
    assert [file["path"] for file in second["files"]] == ["/etc/x/client.crt"]
    assert second["settle"] == first["settle"]
    assert [key["path"] for key in second["settle"]["keys"]] == ["/etc/x/client"]


def test_a_certificate_that_is_to_be_renewed_is_asked_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    request = {"certificates": [CERTIFICATE]}
    told = {"/etc/x/client": {"certificate": "", "public_key": pem}}
    host.answers = [{**ANSWER, "certificates": told}, ANSWER]
    host.run(monkeypatch, **request)
    first, second = host.asked
    issued = base64.b64decode(second["files"][0]["content"]).decode()
    good = {"/etc/x/client": {"certificate": issued, "public_key": pem}}

    host.asked.clear()
    host.settled = {first["settle"]["digest"]: good}
    monkeypatch.setattr("kubeproof.install.look.Look._holds", lambda *_: True)
    assert host.run(monkeypatch, **request)["changed"] is False
    assert host.asked == []
    host.settled = {first["settle"]["digest"]: told}
    host.answers = [{**ANSWER, "certificates": told}, ANSWER]
    assert host.run(monkeypatch, **request)["changed"] is True
    assert len(host.asked) == 2


def test_check_mode_notes_what_it_would_change(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host.check_mode = True
    host.answers = [{**ANSWER, "changed": True, "changes": [{"path": "/etc/x/config", "what": "content"}]}]
    host.run(monkeypatch, files=[FILE])
    pending = Pending(tmp_path / "rolling" / "pending", "cp1", this_run())
    assert pending.paths() == {"/etc/x/config": hashlib.sha256(b"a").hexdigest()}
    # What was reported still holds: nothing was changed.
    assert not (tmp_path / "rolling" / "changed").exists()


@pytest.mark.parametrize(
    ("before", "installed", "kind"),
    [("otherwise", True, "settings"), ("same", True, "host"), ("never", True, "new"), ("never", False, "new-host")],
)
def test_check_mode_says_why(
    host: Host, monkeypatch: pytest.MonkeyPatch, before: str, installed: bool, kind: str
) -> None:
    host.check_mode, host.installed = True, installed
    changes = [{"path": "/etc/x/config", "what": "content"}]
    host.answers = [{**ANSWER, "changed": True, "changes": changes, "asked_before": before}] * 2
    result = host.run(monkeypatch, files=[FILE])
    assert result["step"]["reason"]["kind"] == kind
    assert (result["step"]["restarts"], "asked_before" in result) == ([], False)
    # The same a second time is not to be done, and needs no reason.
    assert "step" not in host.run(monkeypatch, files=[FILE])


def test_a_run_does_not_say_why(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.answers = [{**ANSWER, "changed": True, "changes": [{"path": "/etc/x/config", "what": "content"}]}]
    assert "step" not in host.run(monkeypatch, files=[FILE])
