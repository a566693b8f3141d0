"""What an upgrade asks: which pods, which events, and what of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from ansible.module_utils.kube_client import ApiError, Client

import upgrade_look

EVENT = {
    "auditID": "1",
    "annotations": {"k8s.io/removed-release": "1.37"},
    "objectRef": {"resource": "flowschemas"},
    "user": {"username": "jane", "groups": ["many"]},
    "userAgent": "kubectl/v1.20",
}


def test_events_about_what_will_be_removed(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    lines = [
        json.dumps(EVENT, separators=(",", ":")),
        '{"annotations":{"other":"x"}}',
        '{"annotations":{"k8s.io/removed-release":"1',
    ]
    log.write_text("\n".join(lines))
    (found,) = upgrade_look.removed(str(log))
    assert found == {
        "user": {"username": "jane"},
        "annotations": EVENT["annotations"],
        "objectRef": EVENT["objectRef"],
        "userAgent": "kubectl/v1.20",
    }
    assert list(upgrade_look.removed(str(tmp_path / "none"))) == []


def test_a_status_of_the_gateway_is_one_of_etcdctl() -> None:
    found = upgrade_look.numbered({"header": {"member_id": "18446744073709551615"}, "version": "3.7.3"})
    assert found == {"header": {"member_id": 18446744073709551615}, "version": "3.7.3", "leader": 0}


def test_of_pods_only_what_matters() -> None:
    item = {
        "metadata": {"name": "web", "namespace": "default", "managedFields": ["much"], "annotations": {"a": "b"}},
        "spec": {"nodeName": "w1", "containers": ["much"], "volumes": [{"name": "c", "emptyDir": None}, {"name": "s"}]},
        "status": {"phase": "Running", "conditions": ["much"]},
    }
    assert upgrade_look.pod(item) == {
        "metadata": {"name": "web", "namespace": "default", "annotations": {"a": "b"}},
        "spec": {"nodeName": "w1", "volumes": [{"name": "c", "emptyDir": {}}]},
        "status": {"phase": "Running"},
    }


class _Server:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        self.asked.append(f"{method} {path}")
        if "eviction" in path:
            assert body["deleteOptions"] == {"dryRun": ["All"]}
            return 429, {"message": "no"}
        return 200, {
            "message": "[+]ping ok" if "readyz" in path else "other 1\napiserver_requested_deprecated_apis{} 1"
        }


def test_what_a_server_says_of_itself(tmp_path: Path) -> None:
    found = upgrade_look.server(cast(Client, _Server()), str(tmp_path / "none"))
    assert found == {"ready": "[+]ping ok", "deprecated": ["apiserver_requested_deprecated_apis{} 1"], "audit": []}


def test_a_check_that_fails_once_is_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade_look, "POLL_SECONDS", 0.0)
    answers = iter([(500, "[-]etcd failed: reason withheld"), (200, "[+]etcd ok")])

    class Once:
        def ask(self, *_: str) -> tuple[int, dict[str, Any]]:
            status, text = next(answers)
            return status, {"message": text}

    assert upgrade_look.readiness(cast(Client, Once())) == "[+]etcd ok"
    answers = iter([(500, "[-]etcd failed: reason withheld")])
    monkeypatch.setattr(upgrade_look, "READY_SECONDS", -1.0)
    assert upgrade_look.readiness(cast(Client, Once())) == "[-]etcd failed: reason withheld"


def test_evictions_are_dry_runs_where_there_are_budgets() -> None:
    server = _Server()
    pods = [
        {"metadata": {"name": name, "namespace": namespace}, "spec": {"nodeName": node}}
        for name, namespace, node in (("one", "shop", "w1"), ("pending", "shop", ""), ("other", "free", "w1"))
    ]
    found = upgrade_look.evictions(
        cast(Client, server), {"pods": pods, "budgets": [{"metadata": {"namespace": "shop"}}]}
    )
    assert found == {"shop/one": {"code": 429, "answer": {"message": "no"}}}
    assert server.asked == ["POST /api/v1/namespaces/shop/pods/one/eviction?dryRun=All"]


@pytest.mark.parametrize("error", [ApiError("nobody there"), FileNotFoundError("no certificate")])
def test_what_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def client(*_: Any) -> None:
        raise error

    monkeypatch.setattr(upgrade_look, "Client", client)
    monkeypatch.setattr(upgrade_look, "etcd", dict)
    found = upgrade_look.look({"api_server": True, "cluster": False, "audit_log": "/x"})
    assert found["problem"] == str(error)
    assert upgrade_look.look({"api_server": False, "cluster": False, "audit_log": "/x"})["problem"] == ""


def test_what_is_free_where_versions_are_staged(tmp_path: Path) -> None:
    assert upgrade_look.free(str(tmp_path)) > 0
    assert upgrade_look.free(str(tmp_path / "none")) == 0


def test_of_a_turn_only_what_is_not_secret(tmp_path: Path) -> None:
    assert upgrade_look.turn(str(tmp_path)) == {}
    record = tmp_path / "turn" / "turn.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"state": "put back", "act": "nodes", "by": "host", "files": {"key": "private"}}))
    assert upgrade_look.turn(str(tmp_path)) == {"state": "put back", "act": "nodes", "by": "host"}
    record.write_text("{")
    assert "cannot be read" in upgrade_look.turn(str(tmp_path))["problems"][0]


def test_certificates_that_others_have_made(tmp_path: Path) -> None:
    paths = ["/etc/etcd/pki/ca.crt", "/etc/etcd/pki/own.crt", "/var/lib/kubelet/pki/kubelet-client-current.pem"]
    assert upgrade_look.foreign(paths, str(tmp_path / "none")) == []
    entries = [{"kind": "file", "path": "/etc/etcd/pki/ca.crt"}]
    (tmp_path / "manifest.json").write_text(json.dumps({"entries": entries}))
    assert upgrade_look.foreign(paths, str(tmp_path)) == ["/etc/etcd/pki/own.crt"]
    (tmp_path / "manifest.json").write_text("{")
    assert upgrade_look.foreign(paths, str(tmp_path)) == []


def test_certificates_of_files_that_are_in_use(tmp_path: Path) -> None:
    block = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
    pki = tmp_path / "kubelet" / "pki"
    pki.mkdir(parents=True)
    (tmp_path / "ca.crt").write_text(block.format("YWJj\nZGVm") + block.format("c2Vjb25k"))
    (tmp_path / "ca.key").write_text("-----BEGIN PRIVATE KEY-----\nYWJj\n-----END PRIVATE KEY-----\n")
    (tmp_path / "empty.crt").write_text("")
    (pki / "kubelet-client-2026-01-01-00-00-00.pem").write_text(block.format("b2xk"))
    (pki / "kubelet-client-2026-11-01-00-00-00.pem").write_text(block.format("bmV3"))
    (pki / "kubelet-client-current.pem").symlink_to("kubelet-client-2026-11-01-00-00-00.pem")
    (pki / "gone.pem").symlink_to("nowhere")
    assert upgrade_look.certificates([str(tmp_path), str(tmp_path / "none")]) == {
        str(tmp_path / "ca.crt"): "YWJjZGVm",
        str(pki / "kubelet-client-current.pem"): "bmV3",
    }
