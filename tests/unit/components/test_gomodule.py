"""Making Go modules of other versions, with a module proxy of files in place of the real one."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kubeproof.components import gobuild, gomodule
from kubeproof.components import pins as real_pins
from kubeproof.components.cache import Cache
from kubeproof.components.pins import Binary, Component, GoBuild, Pins
from kubeproof.components.progress import silent
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import run

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go toolchain here")

MAIN = 'package main\n\nimport "example.org/hello-api"\n\nfunc main() { println("hello v" + api.Version) }\n'
# As Kubernetes's: a godebug line, a module in a directory of its own, and a fork.
UPSTREAM = """\
module example.org/hello

go 1.24.0

godebug default=go1.23

require (
	example.org/hello-api v0.0.0
	example.org/forked v1.0.0
)

replace (
	example.org/forked => example.net/fork v1.1.0
	example.org/hello-api => ./staging/hello-api
	example.org/unused => ./unused
)
"""


def publish(proxy: Path, path: str, version: str, files: Mapping[str, str]) -> None:
    """Have a proxy serve a module of the given files, of which go.mod is one."""
    directory = proxy / path / "@v"
    directory.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{path}@{version}/{name}", text)
    (directory / f"{version}.zip").write_bytes(content.getvalue())
    (directory / f"{version}.mod").write_text(files["go.mod"])
    (directory / f"{version}.info").write_text(json.dumps({"Version": version}))


@pytest.fixture
def _proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A proxy that has hello 1.2.3 and 1.2.4."""
    proxy = tmp_path / "proxy"
    for version in ("2.3", "2.4"):
        program = MAIN + f"// {version}\n"
        imports = 'package world\n\nimport _ "example.org/forked"\n'
        files = {"go.mod": UPSTREAM, "server/main.go": program, "world/world.go": imports}
        publish(proxy, "example.org/hello", f"v1.{version}", files)
        api = {"go.mod": "module example.org/hello-api\n\ngo 1.24.0\n", "api.go": "package api\n\n"}
        api["api.go"] += f'const Version = "1.{version}"\n'
        publish(proxy, "example.org/hello-api", f"v0.{version}", api)
    fork = {"go.mod": "module example.org/forked\n\ngo 1.24.0\n", "forked.go": "package forked\n"}
    publish(proxy, "example.net/fork", "v1.1.0", fork)
    monkeypatch.setenv("GOPROXY", proxy.as_uri())
    monkeypatch.setenv("GOSUMDB", "off")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    yield
    # Its files are read-only, which not everyone can remove.
    subprocess.run(["go", "clean", "-modcache"], check=True)


def pins_of(tmp_path: Path, packages: Mapping[str, str], of: str, go_mod: str) -> Pins:
    """Pins of one component, with a module of its first version."""
    directory = tmp_path / "components/go/hello/1.2.3"
    directory.mkdir(parents=True)
    (directory / "go.mod").write_text(go_mod)
    binaries = {name: Binary(name, frozenset(), (), "hello v{version}") for name in packages}
    build = GoBuild(module="hello", packages=packages, tags=(), stamps={}, cgo=False, cold_seconds=1, of=of)
    return Pins(tmp_path / "components", {"hello": Component("hello", "1.2.3", "bin", binaries, None, build)}, {})


@pytest.fixture
def pins(tmp_path: Path, _proxy: None) -> Pins:
    go_mod = "module kubeproof.invalid/components/hello\n\ngo 1.24.0\n\nrequire example.org/hello v1.2.3\n"
    package = "example.org/hello/server"
    return pins_of(tmp_path, {"hello": package}, package, go_mod)


def _quiet(_: str) -> None:
    """Tell nobody."""


def add(pins: Pins, version: str) -> Path:
    return gomodule.add(pins, "hello", version, _quiet)


def test_a_module_that_can_be_built_at_once(pins: Pins, cache: Cache) -> None:
    made = add(pins, "1.2.4")
    assert made == pins.root / "go/hello/1.2.4"
    other = pins.with_versions({"hello": "1.2.4"})
    tools = gobuild.toolchain()
    gobuild.check(other, other.components["hello"], tools.arch, tools)
    # Building checks what the program says of itself.
    gobuild.build(other, other.components["hello"], tools.arch, tools, cache, silent)
    assert [path.name for path in made.parent.iterdir() if path.name.startswith(".")] == []


def test_what_counts_only_in_a_main_module_is_taken_from_the_projects(pins: Pins) -> None:
    text = (add(pins, "1.2.4") / "go.mod").read_text()
    assert text.startswith("module kubeproof.invalid/components/hello\n\ngo 1.24.0\n\ngodebug default=go1.23\n")
    assert "example.org/forked => example.net/fork v1.1.0\n" in text
    assert "example.org/hello-api => example.org/hello-api v0.2.4\n" in text
    assert "unused" not in text
    assert "\ntool example.org/hello/server\n" in text


@pytest.mark.usefixtures("_proxy")
def test_programs_of_ours_are_taken_along(tmp_path: Path) -> None:
    go_mod = "module kubeproof.invalid/components/hello\n\ngo 1.24.0\n\nrequire example.org/hello v1.2.3\n"
    pins = pins_of(tmp_path, {"own": "kubeproof.invalid/components/hello/own"}, "example.org/hello", go_mod)
    program = pins.root / "go/hello/1.2.3/own/main.go"
    program.parent.mkdir()
    program.write_text('package main\n\nimport _ "example.org/hello/world"\n\nfunc main() { println("hello") }\n')
    made = add(pins, "1.2.4")
    assert (made / "own/main.go").read_text() == program.read_text()
    text = (made / "go.mod").read_text()
    assert "example.org/hello v1.2.4\n" in text
    assert "tool" not in text


def test_a_stand_in_for_another_module_is_not_taken_along(pins: Pins) -> None:
    stand_in = pins.root / "go/hello/1.2.3/forked"
    stand_in.mkdir()
    (stand_in / "go.mod").write_text("module example.org/forked\n\ngo 1.24.0\n")
    (stand_in / "forked.go").write_text("package forked\n")
    assert sorted(path.name for path in add(pins, "1.2.4").iterdir()) == ["go.mod", "go.sum"]


def test_a_version_that_is_not_served(pins: Pins) -> None:
    with pytest.raises(KubeproofError, match=r"hello 1\.2\.5 is not available: .*\n.*go list -m -versions"):
        add(pins, "1.2.5")
    assert [path.name for path in (pins.root / "go/hello").iterdir()] == ["1.2.3"]


def test_a_module_that_is_there(pins: Pins) -> None:
    with pytest.raises(KubeproofError, match=r"components/go/hello/1\.2\.3/go\.mod is there already"):
        add(pins, "1.2.3")


@pytest.mark.parametrize("name", ["helo", "pause"])
def test_what_is_no_component(pins: Pins, name: str) -> None:
    with pytest.raises(KubeproofError, match=r"'(helo|pause)' is not a component; known are hello"):
        gomodule.add(pins, name, "1.2.4", _quiet)


def test_an_image_is_not_built_of_a_module_of_its_own() -> None:
    with pytest.raises(KubeproofError, match="pause is an image"):
        gomodule.add(real_pins.load(), "pause", "3.10.9", _quiet)


@pytest.mark.usefixtures("_proxy")
def test_a_module_of_which_only_files_are_taken(tmp_path: Path) -> None:
    go_mod = "module kubeproof.invalid/components/hello\n\ngo 1.24.0\n\nrequire example.org/hello v1.2.3\n"
    made = add(pins_of(tmp_path, {}, "example.org/hello", go_mod), "1.2.4")
    assert "example.org/hello v1.2.4\n" in (made / "go.mod").read_text()
    sums = (made / "go.sum").read_text()
    assert "example.org/hello v1.2.4 h1:" in sums
    assert "v1.2.3" not in sums
    # As a build does it, in which go.sum may not be completed.
    run(["go", "-C", str(made), "mod", "download", "-json", "example.org/hello"], env=gobuild.environment())
