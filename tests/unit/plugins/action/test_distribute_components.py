"""What a host would be sent, in a real play in check mode. No host but this one is asked, and nothing is sent."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plugins.action.distribute_components import _STEP, ActionModule, _request
from tests.unit.plugins.action.test_preflight import ASK, Play

from kubeproof.components.distribution import Distribution, HostFile

_NEEDS_ZSTD = pytest.mark.skipif(shutil.which("zstd") is None, reason="there is no zstd here")
BINARIES = (HostFile("/bin/etcd", "1", 1, "0755", "etcd", "etcd"), HostFile("/bin/kubelet", "2", 1, "0755", "kubelet"))
WANTED = Distribution(BINARIES, {"versions": {"etcd": "3.7.3"}, "image_archives": []})


@pytest.mark.parametrize(
    ("programs", "stage", "paths", "versions"),
    [
        ((), False, ["/bin/etcd", "/bin/kubelet"], {"etcd": "3.7.3"}),
        (("etcd",), False, ["/bin/etcd"], None),
        ((), True, ["/bin/etcd", "/bin/kubelet"], None),
    ],
)
def test_versions_are_of_a_host_that_gets_everything(
    programs: Sequence[str], stage: bool, paths: list[str], versions: dict[str, str] | None
) -> None:
    request = _request(WANTED, programs, stage=stage)
    assert [file["path"] for file in request["files"]] == paths
    assert (request["versions"], request["stage"]) == (versions, stage)


@pytest.mark.parametrize(("check", "place", "sends"), [(False, "/there", True), (False, "", False), (True, "", False)])
def test_a_host_is_asked_again_only_if_it_was_sent_something(
    monkeypatch: pytest.MonkeyPatch, check: bool, place: str, sends: bool
) -> None:
    change = {"path": "/bin/etcd", "sha256": "1", "what": "different", "sent": not place}
    asked: list[Any] = []

    def compared(_plugin: ActionModule, _request: Any, _settle: Any, staging: str | None = None) -> dict[str, Any]:
        asked.append(staging)
        return {"changes": [change], "staging": place, "zstd": True}

    monkeypatch.setattr(ActionModule, "_plan", lambda _: WANTED)
    monkeypatch.setattr(ActionModule, "_compared", compared)
    monkeypatch.setattr(ActionModule, "_send", lambda _, answer: asked.append(answer["staging"] + " was sent to"))
    monkeypatch.setattr(ActionModule, "_pending", SimpleNamespace(add=lambda _: None))
    plugin = ActionModule.__new__(ActionModule)
    plugin._task = SimpleNamespace(args={"programs": ["etcd"]}, check_mode=check, name="Distribute", _role=None)
    plugin._variables = {}
    result = plugin.act()
    assert asked == [None, *(["/there was sent to", "/there"] if sends else [])]
    assert result["changes"] == [{"path": "/bin/etcd", "what": "different"}]


@pytest.mark.parametrize("zstd", [False, pytest.param(True, marks=_NEEDS_ZSTD)])
@pytest.mark.parametrize("installed", [False, True])
def test_where_a_cluster_runs_files_are_written_in_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: bool, zstd: bool
) -> None:
    """More than one slice, and steps that do not add up to it; on the way they are whole."""
    content = os.urandom(_STEP) * 9 + b"the end"
    (blob := tmp_path / "blob").write_bytes(content)
    (there := tmp_path / "there").mkdir()
    commands: list[str] = []

    def command(_plugin: ActionModule, text: str, data: bytes) -> None:
        commands.append(text)
        subprocess.run(["sh", "-c", text], input=data, check=True)

    def packed(*_: Any) -> Path:
        subprocess.run(["zstd", "-q", "-f", blob, "-o", tmp_path / "packed"], check=True)
        return tmp_path / "packed"

    monkeypatch.setattr(ActionModule, "_command", command)
    monkeypatch.setattr("kubeproof.components.distribution.blob", lambda *_: SimpleNamespace(path=blob))
    monkeypatch.setattr("kubeproof.components.transfer.compressed", packed)
    plugin = ActionModule.__new__(ActionModule)
    plugin._variables = {"ansible_facts": {"kubeproof_host": {"installed": {"manifest": installed}}}}
    change = {"path": "/bin/etcd", "sha256": "1", "what": "different", "sent": False}
    plugin._send({"changes": [change], "staging": str(there), "zstd": zstd})
    assert (there / "1").read_bytes() == content
    assert {"oflag=dsync" in text for text in commands} == {installed}
    assert len(commands) == (1 if zstd else 2)


def test_check_mode_lists_what_is_to_be_fetched_first(tmp_path: Path) -> None:
    distribute = {
        "name": "Distribute",
        "distribute_components": {
            "state_directory": str(tmp_path / "state"),
            "directories": {"bin": str(tmp_path / "bin"), "cni": str(tmp_path / "cni")},
            # That host has none of etcd's own.
            "groups": ["etcd"],
        },
        "when": "inventory_hostname == 'h2'",
    }
    show = {
        "name": "Show",
        "ansible.builtin.debug": {"msg": "{{ sent.changes | map(attribute='what') | unique | sort | join('; ') }}"},
        "when": "inventory_hostname == 'h2'",
    }
    play = Play(tmp_path)
    play.variables["cluster_state_directory"] = str(tmp_path / "state")
    done = play.run(ASK, distribute | {"register": "sent"}, show, options=("--check",))
    assert done.returncode == 0, done.stdout
    assert "containerd 2.4.2, once fetched; " in done.stdout
    assert "; etcd 3.7.3, once fetched; " in done.stdout
    assert "the image pause 3.10.2, once fetched" in done.stdout
    assert not (tmp_path / "bin").exists()
    done = play.run(ASK, distribute)
    assert "was not fetched for" in done.stdout + done.stderr
