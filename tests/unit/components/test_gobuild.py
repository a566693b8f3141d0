"""Builds from Go modules, with a module of a few lines in place of Kubernetes."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from kubeproof.components import gobuild
from kubeproof.components.cache import Cache
from kubeproof.components.gobuild import NoToolchain, Toolchain
from kubeproof.components.pins import Binary, Component, GoBuild, Pins
from kubeproof.components.progress import Event, Phase, silent
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import ProgramFailed

PROGRAM = """\
package main

import "example.org/hello/version"

func main() { println(version.Name, version.Version) }
"""
FILES = {
    "go.mod": "module kubeproof.invalid/hello\n\ngo 1.24.0\n\nrequire example.org/hello v1.2.3\n\n"
    "replace example.org/hello => ./hello\n",
    "go.sum": "",
    "hello/go.mod": "module example.org/hello\n\ngo 1.24.0\n",
    "hello/version/version.go": 'package version\n\nvar Version = "unknown"\n\nconst Name = "hello"\n',
    "hello/server/v3/main.go": PROGRAM,
    "hello/client/main.go": PROGRAM,
}

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go toolchain here")


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    for name, text in FILES.items():
        path = tmp_path / "components/go/hello/1.2.3" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    build = GoBuild(
        module="hello",
        packages={"hello": "example.org/hello/server/v3", "helloctl": "example.org/hello/client"},
        tags=("some_tag",),
        stamps={"example.org/hello/version.Version": "v{version}"},
        cgo=False,
        cold_seconds=5,
    )
    binaries = {name: Binary(name, frozenset(), (), "hello v{version}") for name in build.packages}
    hello = Component("hello", "1.2.3", "bin", binaries, None, build)
    return Pins(tmp_path / "components", {"hello": hello}, {})


@pytest.fixture
def tools() -> Toolchain:
    return gobuild.toolchain() if shutil.which("go") else Toolchain("1.26.8", "amd64")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("go1.26.8", "1.26.8"),
        ("go1.26.8 (Red Hat 1.26.8-1.el10)", "1.26.8"),
        ("go1.26.8 X:nodwarf5", "1.26.8"),
        ("devel go1.27-b57fe78 Tue Nov 3 12:00:00 2026 +0000", "1.27-b57fe78"),
    ],
)
def test_a_distribution_may_say_more_than_a_version(
    pins: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, version: str
) -> None:
    go = tmp_path / "bin/go"
    go.parent.mkdir()
    go.write_text(f"#!/bin/sh\nprintf '%s\\n' '{said}' amd64\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:{os.environ['PATH']}")
    found = gobuild.toolchain()
    assert (found.version, found.arch) == (version, "amd64")
    hello = pins.components["hello"]
    same = gobuild.key(pins, hello, "amd64", found) == gobuild.key(pins, hello, "amd64", Toolchain(version, "amd64"))
    assert same == (said == f"go{version}")


def build(pins: Pins, cache: Cache, tools: Toolchain, arch: str = "") -> tuple[dict[str, Path], bool]:
    result, fresh = gobuild.build(pins, pins.components["hello"], arch or tools.arch, tools, cache, silent)
    return {name: blob.path for name, blob in result.blobs.items()}, fresh


def source(pins: Pins, name: str) -> Path:
    return pins.root / "go/hello/1.2.3" / name


def changed(pins: Pins, **changes: object) -> Pins:
    """The pins with something else in the build of ``hello``."""
    hello = pins.components["hello"]
    go = dataclasses.replace(hello.go, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(pins, components={"hello": dataclasses.replace(hello, go=go)})


@needs_go
def test_binaries_are_named_stamped_and_cached(pins: Pins, cache: Cache, tools: Toolchain) -> None:
    binaries, fresh = build(pins, cache, tools)
    assert fresh
    assert set(binaries) == {"hello", "helloctl"}
    for path in binaries.values():
        assert subprocess.run([path], check=True, capture_output=True, text=True).stderr == "hello v1.2.3\n"
    assert build(pins, cache, tools) == (binaries, False)


@needs_go
def test_packages_tests_are_programs_too(pins: Pins, cache: Cache, tools: Toolchain) -> None:
    for package in ("client", "server/v3"):
        source(pins, f"hello/{package}/main_test.go").write_text(
            'package main\n\nimport "testing"\n\nfunc TestMain(*testing.M) { println("test of"); main() }\n'
        )
    binaries, _ = build(changed(pins, test=True), cache, tools)
    assert set(binaries) == {"hello", "helloctl"}
    for path in binaries.values():
        assert subprocess.run([path], check=True, capture_output=True, text=True).stderr == "test of\nhello v1.2.3\n"


@needs_go
def test_a_build_is_reproducible_and_the_users_flags_do_not_matter(
    pins: Pins, tmp_path: Path, tools: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cache(tmp_path / "one") as one, Cache(tmp_path / "two") as two:
        first, _ = build(pins, one, tools)
        shutil.copytree(pins.root, tmp_path / "elsewhere")
        monkeypatch.setenv("GOFLAGS", "-race -mod=vendor")
        second, _ = build(dataclasses.replace(pins, root=tmp_path / "elsewhere"), two, tools)
    assert {path.name for path in first.values()} == {path.name for path in second.values()}


@needs_go
def test_another_architecture(pins: Pins, cache: Cache, tools: Toolchain) -> None:
    binaries, _ = build(pins, cache, tools, arch="arm64")
    header = binaries["hello"].read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert header[18] == 0xB7, "EM_AARCH64"


@needs_go
def test_progress_counts_packages(pins: Pins, cache: Cache, tools: Toolchain) -> None:
    # Packages that Go has compiled before are not built again, so this one must be new to its cache.
    source(pins, "hello/client/main.go").write_text(PROGRAM + f"// {uuid.uuid4()}\n")
    events: list[Event] = []
    gobuild.build(pins, pins.components["hello"], tools.arch, tools, cache, events.append)
    assert {(event.component, event.phase, event.unit) for event in events} == {("hello", Phase.BUILD, "packages")}
    assert events[-1].done == len(events)


@needs_go
def test_what_does_not_compile_is_said_in_the_compilers_words(pins: Pins, cache: Cache, tools: Toolchain) -> None:
    source(pins, "hello/client/main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(ProgramFailed, match="undefined: nonsense"):
        build(pins, cache, tools)
    assert list(cache.directory.glob("blobs/*")) == []


@needs_go
def test_a_binary_that_says_another_version_is_refused(pins: Pins, cache: Cache, tools: Toolchain) -> None:
    with pytest.raises(KubeproofError, match=r"the built hello does not say 'hello v1\.2\.3': hello unknown"):
        build(changed(pins, stamps={}), cache, tools)
    assert list(cache.directory.glob("blobs/*")) == []


@needs_go
def test_of_a_binary_that_knows_no_version_the_compilers_note_is_read(
    pins: Pins, cache: Cache, tools: Toolchain
) -> None:
    def silent(version: str) -> Pins:
        hello = pins.components["hello"]
        output = f"example.org/hello\t{version}"
        binaries = {
            key: dataclasses.replace(each, version_arguments=None, version_output=output)
            for key, each in hello.binaries.items()
        }
        return dataclasses.replace(pins, components={"hello": dataclasses.replace(hello, binaries=binaries)})

    with pytest.raises(KubeproofError, match=r"does not say 'example\.org/hello\\tv9\.9\.9'"):
        build(silent("v9.9.9"), cache, tools)
    assert build(silent("v{version}"), cache, tools)[1]


def test_the_key_changes_with_all_that_the_bytes_depend_on(pins: Pins) -> None:
    hello = pins.components["hello"]
    tools = Toolchain("1.26.8", "amd64")
    keys = [
        gobuild.key(pins, hello, "amd64", tools),
        gobuild.key(pins, hello, "arm64", tools),
        gobuild.key(pins, hello, "amd64", Toolchain("1.26.9", "amd64")),
        gobuild.key(pins, changed(pins, tags=()).components["hello"], "amd64", tools),
        gobuild.key(pins, changed(pins, test=True).components["hello"], "amd64", tools),
    ]
    for name in ("go.mod", "go.sum"):
        path = source(pins, name)
        path.write_text(path.read_text() + "\n")
        keys.append(gobuild.key(pins, hello, "amd64", tools))
    shutil.copytree(pins.root / "go/hello/1.2.3", pins.root / "go/hello/1.2.4")
    keys.append(gobuild.key(pins, dataclasses.replace(hello, version="1.2.4"), "amd64", tools))
    assert len(set(keys)) == len(keys)


def test_where_it_comes_from(pins: Pins) -> None:
    assert gobuild.origin(pins, pins.components["hello"]) == "example.org/hello@v1.2.3"


def test_a_package_of_no_required_module(pins: Pins) -> None:
    other = changed(pins, packages={"hello": "example.net/hello"}).components["hello"]
    with pytest.raises(KubeproofError, match=r"go\.mod does not require the module of example\.net/hello"):
        gobuild.origin(pins, other)


def test_an_old_toolchain_is_said(pins: Pins) -> None:
    with pytest.raises(NoToolchain, match=r"hello needs Go 1\.24\.0, this machine has 1\.23\.9\n.*go\.dev/dl"):
        gobuild.check(pins, pins.components["hello"], "amd64", Toolchain("1.23.9", "amd64"))


def test_no_toolchain_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoToolchain, match=r"not on the PATH.*\n.*component_source to release"):
        gobuild.toolchain()


def test_c_code_for_another_architecture_is_refused(pins: Pins) -> None:
    hello = changed(pins, cgo=True).components["hello"]
    with pytest.raises(
        KubeproofError, match=r"C code and can't be built for arm64 on a amd64 machine\n.*release or mirror"
    ):
        gobuild.check(pins, hello, "arm64", Toolchain("1.26.8", "amd64"))


def test_a_version_without_a_module_is_refused_and_how_to_make_one_is_said(pins: Pins) -> None:
    other = pins.with_versions({"hello": "1.2.10"})
    shutil.copytree(pins.root / "go/hello/1.2.3", pins.root / "go/hello/1.2.11")
    problem = (
        r"no Go module of hello 1\.2\.10.*has: 1\.2\.3, 1\.2\.11\n"
        r".*`\./kubeproof components add hello 1\.2\.10`.*release or mirror"
    )
    with pytest.raises(KubeproofError, match=problem):
        gobuild.check(other, other.components["hello"], "amd64", Toolchain("1.26.8", "amd64"))


def test_another_version_is_built_of_its_own_module(pins: Pins) -> None:
    shutil.copytree(pins.root / "go/hello/1.2.3", pins.root / "go/hello/1.2.4")
    go_mod = pins.root / "go/hello/1.2.4/go.mod"
    go_mod.write_text(go_mod.read_text().replace("v1.2.3", "v1.2.4"))
    other = pins.with_versions({"hello": "1.2.4"})
    gobuild.check(other, other.components["hello"], "amd64", Toolchain("1.26.8", "amd64"))
    assert gobuild.origin(other, other.components["hello"]) == "example.org/hello@v1.2.4"


def test_no_compiler_is_said_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(KubeproofError, match=r"no C compiler for arm64.*\n.*apt-get install gcc-aarch64-linux-gnu"):
        gobuild.compiler("arm64")


def test_what_c_code_takes_is_said_before_anything_is_built(
    pins: Pins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cc").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    hello = changed(pins, cgo=True).components["hello"]
    with pytest.raises(KubeproofError, match=r"lacks .*pkg-config.*\n.* pkg-config"):
        gobuild.check(pins, hello, "amd64", Toolchain("1.26.8", "amd64"))


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
def test_a_c_program(cache: Cache, tools: Toolchain, tmp_path: Path) -> None:
    program = tmp_path / "program.c"
    program.write_text('#include <stdio.h>\nint main(void) { printf("%s", TEXT); return 0; }\n')
    blob = gobuild.compile_c(program, ["-static", '-DTEXT="hello"'], tools.arch, cache)
    assert subprocess.run([blob.path], check=True, capture_output=True).stdout == b"hello"
    assert gobuild.compile_c(program, ["-static", '-DTEXT="hello"'], tools.arch, cache) == blob
    assert gobuild.compile_c(program, ["-static", '-DTEXT="other"'], tools.arch, cache) != blob
