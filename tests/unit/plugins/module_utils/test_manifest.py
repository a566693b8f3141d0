"""The install manifest: what a host remembers, whoever writes at the same time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.manifest import Manifest, locked

ROOT = Path(__file__).resolve().parents[4]
# As on hosts, Ansible's finder makes plugins/module_utils importable; a process of a test asks pytest's own conftest.
ADD = """
import sys
sys.path[:0] = {path!r}
from tests.unit import conftest
from ansible.module_utils.manifest import Manifest
manifest = Manifest({directory!r})
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    manifest.add("file", "/{name}/%d" % number)
"""


def entries(directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((directory / "manifest.json").read_text())["entries"]
    return found


def test_what_is_known_keeps_its_first_record(tmp_path: Path) -> None:
    Manifest(str(tmp_path)).add("file", "/a", backup=None)
    Manifest(str(tmp_path)).add("file", "/a", backup="/b")
    assert entries(tmp_path) == [{"kind": "file", "path": "/a", "backup": None}]


def test_what_another_has_added_meanwhile_stays(tmp_path: Path) -> None:
    one, other = Manifest(str(tmp_path)), Manifest(str(tmp_path))
    one.add("file", "/one")
    other.add("file", "/other")
    one.settle("cluster_name", "mine")
    other.settle("cluster_name", "mine")
    other.add("file", "/one")
    one.add("file", "/more")
    named = [entry.get("path") or entry["name"] for entry in entries(tmp_path)]
    assert named == ["/one", "/other", "cluster_name", "/more"]


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", ADD.format(path=sys.path, directory=str(tmp_path), name=name)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b", "c")
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(entries(tmp_path)) == 120
    for writer in writers:
        writer.communicate()


def test_the_lock_is_waited_for(tmp_path: Path) -> None:
    manifest = Manifest(str(tmp_path))
    adding = threading.Thread(target=manifest.add, args=("file", "/a"))
    with locked(str(tmp_path)):
        adding.start()
        adding.join(0.3)
        assert not (tmp_path / "manifest.json").exists()
    adding.join(10)
    assert entries(tmp_path) == [{"kind": "file", "path": "/a"}]


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1}', '{"entries": [{"kind": "file"}]}'])
def test_a_manifest_that_is_damaged_meanwhile_stays(tmp_path: Path, content: str) -> None:
    manifest = Manifest(str(tmp_path))
    manifest.add("file", "/a")
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(RuntimeError, match="is damaged"):
        manifest.add("file", "/b")
    assert (tmp_path / "manifest.json").read_text() == content
