"""A program for this machine: from the cluster's source, once, and never among the cluster's components."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.unit.components.release_host import ETCD_FILES, ETCD_PATH, Page, ReleaseHost, archive

from kubeproof.components import controller_program
from kubeproof.components.download import Downloader
from kubeproof.components.fetch import Request
from kubeproof.components.lock import Lock, LockError
from kubeproof.components.pins import Pins
from kubeproof.core.errors import KubeproofError

_FROM_RELEASE = Request(source="release", architectures=("amd64",))


def _obtain(pins: Pins, tmp_path: Path, request: Request = _FROM_RELEASE) -> Path:
    client = Downloader(attempts=1, pause=0.01, timeout=0.5, probe=0.5)
    return controller_program.obtain(
        "etcd", request, pins, tmp_path / "state", cache_directory=tmp_path / "cache", downloader=client
    )


def _cached(pins: Pins, tmp_path: Path, **changes: Any) -> Path | None:
    request = dataclasses.replace(_FROM_RELEASE, **changes)
    return controller_program.cached("etcd", request, pins, tmp_path / "state", cache_directory=tmp_path / "cache")


def _installed(tmp_path: Path, source: str) -> None:
    lock = Lock(tmp_path / "state")
    lock.record_component("amd64", "kubernetes", {"version": "1.36.3", "source": source, "binaries": {}})
    lock.settle()
    lock.save()


def test_downloaded_once_and_then_cached(pins: Pins, server: ReleaseHost, tmp_path: Path) -> None:
    assert _cached(pins, tmp_path) is None
    program = _obtain(pins, tmp_path)
    assert program.read_bytes() == ETCD_FILES["etcd-v3.7.3-linux-amd64/etcd"]
    server.pages.clear()
    assert _cached(pins, tmp_path) == program
    assert _obtain(pins, tmp_path) == program


def test_no_change_of_the_clusters_components(pins: Pins, tmp_path: Path) -> None:
    _installed(tmp_path, "release")
    _obtain(pins, tmp_path)
    lock = Lock(tmp_path / "state")
    assert lock.versions("current") == {"kubernetes": "1.36.3"}
    assert not lock.versions("target")


def test_other_bytes_than_before_are_refused(pins: Pins, server: ReleaseHost, tmp_path: Path) -> None:
    _obtain(pins, tmp_path)
    server.pages[ETCD_PATH] = Page(archive({**ETCD_FILES, "etcd-v3.7.3-linux-amd64/etcd": b"others"}))
    for path in (tmp_path / "cache").glob("*/*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(LockError, match="is not what this inventory was installed with"):
        _obtain(pins, tmp_path)


def test_what_the_user_has_verified_counts(pins: Pins, tmp_path: Path) -> None:
    request = dataclasses.replace(_FROM_RELEASE, sha256={"etcd": {"amd64": "0" * 64}})
    with pytest.raises(KubeproofError, match=r"wrong checksum.*says component_sha256"):
        _obtain(pins, tmp_path, request)


@pytest.mark.parametrize("source", ["go", "release", "mirror"])
def test_auto_is_what_the_cluster_was_installed_from(tmp_path: Path, source: str) -> None:
    _installed(tmp_path, source)
    request = Request(source="auto", architectures=("amd64",))
    assert controller_program.source(request, tmp_path / "state") == source
    assert controller_program.source(_FROM_RELEASE, tmp_path / "state") == "release"


def test_auto_is_that_of_hosts_of_another_architecture(tmp_path: Path) -> None:
    _installed(tmp_path, "go")
    assert controller_program.source(Request(source="auto", architectures=("arm64",)), tmp_path / "state") == "go"


def test_auto_without_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(KubeproofError, match="nothing is recorded as installed"):
        controller_program.source(Request(architectures=("amd64",)), tmp_path / "state")


def test_what_go_has_not_built_is_not_cached(pins: Pins, tmp_path: Path) -> None:
    assert _cached(pins, tmp_path, source="go") is None
