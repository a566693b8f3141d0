"""Builds with copies of modules that have files of ours in them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.unit.components.test_gomodule import publish

from kubeproof.components import gobuild, gomodule
from kubeproof.components.cache import Cache
from kubeproof.components.pins import Binary, Component, GoBuild, ModuleCopy, Pins
from kubeproof.components.progress import silent
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import run

THEIRS = {
    "go.mod": "module example.org/list\n\ngo 1.24.0\n",
    "names/names.go": 'package names\n\nimport _ "example.org/unavailable"\n\nconst Name = "theirs"\n',
    "names/more.go": 'package names\n\nconst More = "kept"\n',
}
OURS = {
    "go.mod": "module kubeproof.invalid/hello\n\ngo 1.24.0\n\nrequire example.org/list v1.2.3\n\n"
    "replace example.org/list => ./list\n",
    "go.sum": "",
    "list/names/names.go": 'package names\n\nconst Name = "ours"\n',
    "main/main.go": 'package main\n\nimport "example.org/list/names"\n\n'
    "func main() { println(names.Name, names.More) }\n",
}

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go toolchain here")


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pins:
    publish(tmp_path / "proxy", "example.org/list", "v1.2.3", THEIRS)
    monkeypatch.setenv("GOPROXY", (tmp_path / "proxy").as_uri())
    monkeypatch.setenv("GOSUMDB", "off")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    for name, text in OURS.items():
        path = tmp_path / "components/go/hello/1.2.3" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command = ["go", "-C", str(tmp_path), "mod", "download", "-json", "-modcacherw", "example.org/list@v1.2.3"]
    told = json.loads(run(command, env=gobuild.environment(GOFLAGS="-mod=mod")))
    build = GoBuild(
        module="hello",
        packages={"hello": "kubeproof.invalid/hello/main"},
        tags=(),
        stamps={},
        cgo=False,
        cold_seconds=5,
        of="example.org/list",
        copies=(ModuleCopy("example.org/list", "v1.2.3", told["Sum"], "list"),),
    )
    binaries = {"hello": Binary("hello", frozenset(), (), "ours kept")}
    hello = Component("hello", "1.2.3", "bin", binaries, None, build)
    return Pins(tmp_path / "components", {"hello": hello}, {})


def built(pins: Pins, cache: Cache) -> tuple[Path, bool]:
    tools = gobuild.toolchain()
    result, fresh = gobuild.build(pins, pins.components["hello"], tools.arch, tools, cache, silent)
    return result.blobs["hello"].path, fresh


def test_our_files_are_in_the_place_of_theirs_and_the_rest_is_theirs(pins: Pins, cache: Cache) -> None:
    program, fresh = built(pins, cache)
    assert fresh
    assert subprocess.run([program], check=True, capture_output=True, text=True).stderr == "ours kept\n"
    assert built(pins, cache) == (program, False)
    # Of where it was made nothing is left in it, and ours have no more files than before.
    assert str(cache.directory).encode() not in program.read_bytes()
    assert not (pins.root / "go/hello/1.2.3/list/names/more.go").exists()


def test_another_file_of_ours_is_another_build(pins: Pins, cache: Cache) -> None:
    tools = gobuild.toolchain()
    before = gobuild.key(pins, pins.components["hello"], "amd64", tools)
    ours = pins.root / "go/hello/1.2.3/list/names/names.go"
    ours.write_text(ours.read_text() + "\n")
    assert gobuild.key(pins, pins.components["hello"], "amd64", tools) != before


def test_a_module_with_another_sum_is_refused(pins: Pins, cache: Cache) -> None:
    hello = pins.components["hello"]
    wrong = dataclasses.replace(hello.go.copies[0], sum="h1:another")
    other = dataclasses.replace(hello, go=dataclasses.replace(hello.go, copies=(wrong,)))
    with pytest.raises(
        KubeproofError, match=r"example.org/list@v1.2.3 is not what components.yml says: its sum is h1:"
    ):
        built(dataclasses.replace(pins, components={"hello": other}), cache)


def test_no_module_of_another_version_is_made_of_it(pins: Pins) -> None:
    with pytest.raises(KubeproofError, match=r"files of our own in copies of example\.org/list"):
        gomodule.add(pins, "hello", "1.2.4", print)
