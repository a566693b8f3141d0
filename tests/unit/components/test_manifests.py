"""Files of Go modules that are applied into the cluster, with a module of a few files in place of the real ones."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from tests.unit.components.test_gomodule import publish

from kubeproof.components import fetch, gobuild, manifests, survey
from kubeproof.components import pins as real_pins
from kubeproof.components.cache import Cache
from kubeproof.components.pins import Component, GoBuild, Manifests, Pins
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import run

MODULE = "module example.org/hello\n\ngo 1.24.0\n"
DEFINITION = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}"
OURS = "module kubeproof.invalid/components/hello\n\ngo 1.24.0\n\nrequire example.org/hello v1.2.3\n"
FILES = ("example.org/hello/crd/*.yaml",)

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go toolchain here")


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pins:
    files = {"go.mod": MODULE, "hello.go": "package hello\n", "crd/b.yaml": DEFINITION % "b"}
    files |= {"crd/a.yaml": DEFINITION % "a" + "\n\n", "crd/a.txt": "no manifest"}
    publish(tmp_path / "proxy", "example.org/hello", "v1.2.3", files)
    monkeypatch.setenv("GOPROXY", (tmp_path / "proxy").as_uri())
    monkeypatch.setenv("GOSUMDB", "off")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("GOFLAGS", "-modcacherw")
    ours = tmp_path / "components/go/hello/1.2.3"
    ours.mkdir(parents=True)
    (ours / "go.mod").write_text(OURS)
    if shutil.which("go"):
        environment = gobuild.environment(GOFLAGS="-mod=mod -modcacherw")
        run(["go", "-C", str(ours), "mod", "download", "example.org/hello"], env=environment)
    build = GoBuild("hello", {}, (), {}, cgo=False, cold_seconds=1, of="example.org/hello")
    component = Component("hello", "1.2.3", "bin", {}, None, build, Manifests(frozenset(["metallb"]), FILES))
    return Pins(tmp_path / "components", {"hello": component}, {})


def names(pins: Pins, cache: Cache) -> list[str]:
    return [each["metadata"]["name"] for each in manifests.objects(pins, pins.components["hello"], cache)]


@needs_go
def test_all_files_of_a_pattern_in_order_and_once(pins: Pins, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    hello = pins.components["hello"]
    assert not manifests.cached(pins, hello, cache)
    assert names(pins, cache) == ["a", "b"]
    assert manifests.cached(pins, hello, cache)
    # Without Go, too, now.
    monkeypatch.setenv("PATH", "")
    assert names(pins, cache) == ["a", "b"]


@needs_go
def test_other_files_are_another_piece_of_work(pins: Pins, cache: Cache) -> None:
    names(pins, cache)
    hello = pins.components["hello"]
    none = dataclasses.replace(hello, manifests=Manifests(frozenset(["metallb"]), ("example.org/hello/crd/*.json",)))
    with pytest.raises(KubeproofError, match=r"example.org/hello@v1.2.3 has no file example.org/hello/crd/\*.json"):
        manifests.objects(pins, none, cache)


@needs_go
def test_a_module_that_go_sum_does_not_know_is_refused(pins: Pins, cache: Cache) -> None:
    sums = pins.root / "go/hello/1.2.3/go.sum"
    sums.write_text(sums.read_text().replace("h1:", "h1:x"))
    with pytest.raises(KubeproofError, match="mod download"):
        names(pins, cache)


def test_without_go_it_is_said_what_is_missing(pins: Pins, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        gobuild.NoToolchain, match=r"hello's manifests.*no Go.*\n.*install Go.*switch hello off"
    ) as told:
        names(pins, cache)
    assert "release" not in str(told.value)


def test_without_a_module_it_is_said_that_no_source_helps(pins: Pins, cache: Cache) -> None:
    other = dataclasses.replace(pins.components["hello"], version="1.2.4")
    with pytest.raises(KubeproofError, match=r"no Go module of hello 1.2.4.*\n.*switch off what needs it") as told:
        manifests.cached(pins, other, cache)
    assert "component_source" not in str(told.value)


@needs_go
def test_a_fetch_brings_them_whatever_the_source(pins: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    request = fetch.Request(source="release", groups=["metallb"])
    assert not fetch.complete(request, pins, tmp_path)
    [row] = survey.survey(request, "release", pins, tmp_path)
    assert (row.name, row.state) == ("hello manifests", "to be taken with Go")
    [fetched] = fetch.fetch(request, pins, tmp_path).fetched
    assert (fetched.name, fetched.origin, fetched.fresh) == ("hello manifests", "example.org/hello@v1.2.3", True)
    assert fetch.complete(request, pins, tmp_path)
    [fetched] = fetch.fetch(request, pins, tmp_path).fetched
    assert not fetched.fresh
    assert fetch.fetch(fetch.Request(source="release", groups=["workers"]), pins, tmp_path).fetched == []


@needs_go
def test_those_of_our_components_are_objects(cache: Cache) -> None:
    """Of what this machine has of Go's modules, or gets from where it gets others."""
    pinned = real_pins.load()
    for component in manifests.needed(pinned, real_pins.ADDONS):
        found = manifests.objects(pinned, component, cache)
        policies = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
        assert {each["kind"] for each in found} - policies == {"CustomResourceDefinition"}
        # As they cross to the host.
        json.dumps(found)
