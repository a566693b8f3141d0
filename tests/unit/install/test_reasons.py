"""Why a step is in a plan, from what modules return."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils import component_unit

from kubeproof.install.reasons import KINDS, Reason, of_changes, of_installation, of_service

ACTIVE = {"ActiveState": "active", "InvocationID": "2", "ActiveEnterTimestamp": "Sat 2000-01-01 00:00:00 UTC"}
ISSUED = {"path": "/etc/x/client.crt", "what": "issued: it expires in 10 days"}


@pytest.mark.parametrize(
    ("state", "record", "pending", "kind"),
    [
        ({**ACTIVE, "ActiveState": "inactive"}, {}, (), "down"),
        ({**ACTIVE, "ActiveState": "failed"}, {}, (), "down"),
        (ACTIVE, {}, (), "foreign"),
        (ACTIVE, {"inputs": {"/x": "b"}, "invocation": "2"}, (), "outdated"),
        (ACTIVE, {"inputs": {"/x": "a"}, "invocation": "1"}, ("/x",), "outdated"),
    ],
)
def test_every_reason_of_a_unit_has_a_kind(state: Any, record: Any, pending: Any, kind: str) -> None:
    """With the words of the module itself: a kind that is lost by rewording them would be unknown."""
    words = component_unit.reason_to_restart(state, record, {"/x": "a"}, pending)
    assert words
    assert of_service([f"restarted: {words}"], new_host=False) == Reason(kind, words)


@pytest.mark.parametrize(
    ("done", "kind", "text"),
    [
        (["started: there was no manifest"], "down", "there was no manifest"),
        (["restarted: it was a service"], "form", "it was a service"),
        (["restarted: it was a static pod"], "form", "it was a static pod"),
        (["enabled", "started: it was inactive"], "down", "it was inactive"),
        (["enabled"], "host", "it was not enabled, and would not start at boot"),
        (["reloaded: /etc/haproxy.cfg"], "outdated", "changed since it was read: /etc/haproxy.cfg"),
        (["reloaded: a file was changed after its start"], "outdated", "a file was changed after its start"),
        (["restarted: https://a/b is not there as it makes it at its start"], "object", None),
        (["removed"], "unwanted", KINDS["unwanted"]),
        (["restarted: words of tomorrow"], "unknown", "words of tomorrow"),
    ],
)
def test_what_a_service_does(done: list[str], kind: str, text: str | None) -> None:
    assert of_service(done, new_host=False) == Reason(kind, text or done[0].partition(": ")[2])


def test_on_a_new_host_a_unit_that_does_not_run_is_no_failure() -> None:
    assert of_service(["enabled", "started: it was inactive"], new_host=True).kind == "new-host"
    assert of_service(["restarted: it was not started by kubeproof"], new_host=True).kind == "foreign"


@pytest.mark.parametrize(
    ("asked", "new_host", "kind"),
    [
        ("never", True, "new-host"),
        ("never", False, "new"),
        ("otherwise", False, "settings"),
        ("same", False, "host"),
        ("None", False, "unknown"),
    ],
)
def test_a_file_differs_since_settings_or_the_host_do(asked: str, new_host: bool, kind: str) -> None:
    changes = [{"path": "/etc/x", "what": "content"}, ISSUED]
    assert of_installation(changes, asked, new_host=new_host).kind == kind


def test_where_only_certificates_are_issued_the_reason_is_theirs() -> None:
    assert of_installation([ISSUED], "same", new_host=False) == Reason("certificate", "it expires in 10 days")


@pytest.mark.parametrize(
    ("action", "changes", "kind"),
    [
        ("kube_objects", ["ConfigMap kube-system/coredns: changed"], "object"),
        ("node_taints", ["Node cp1: tainted"], "object"),
        ("host_packages", ["package conntrack: installed"], "missing"),
        ("runtime_images", ["localhost/kubeproof/pause:3.10.2: imported"], "missing"),
        ("volume_directories", ["/srv/volumes/data: created"], "missing"),
        ("kube_proxy_removal", ["kube-proxy.service: stopped", "nft table ip kube-proxy: removed"], "unwanted"),
        ("any", ["a: created", "b: removed"], "unknown"),
        ("any", [], "unknown"),
    ],
)
def test_other_tasks_say_it_by_their_words(action: str, changes: list[str], kind: str) -> None:
    assert of_changes(action, changes).kind == kind


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no kind of reason"):
        Reason("weather", "rain")
