"""What ``kubeproof components`` shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.components.release_host import ReleaseHost

from kubeproof.components import fetch, pins
from kubeproof.components.download import Downloader
from kubeproof.components.fetch import Request
from kubeproof.components.pins import Pins
from kubeproof.components.survey import Row, survey


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def rows(request: Request, source: str, pinned: Pins, state: Path) -> dict[str, Row]:
    return {row.name: row for row in survey(request, source, pinned, state)}


def test_a_release_before_and_after_it_was_fetched(pins: Pins, server: ReleaseHost, tmp_path: Path) -> None:
    before = rows(Request(), "release", pins, tmp_path)
    assert before["etcd"] == Row(
        name="etcd",
        version="3.7.3",
        arch="amd64",
        origin=f"{server.url}/etcd-io/v3.7.3/etcd-v3.7.3-linux-amd64.tar.gz",
        verified="published SHA256SUMS",
        state="to be downloaded",
    )
    fetch.fetch(Request(source="release"), pins, tmp_path, downloader=Downloader(attempts=1))
    after = rows(Request(), "release", pins, tmp_path)
    assert {row.state for row in after.values()} == {"cached"}
    assert rows(Request(versions={"etcd": "3.7.2"}), "release", pins, tmp_path)["etcd"].state == "to be downloaded"


def test_go_before_it_was_built(tmp_path: Path) -> None:
    shown = rows(Request(), "go", pins.load(), tmp_path)
    assert shown["kubernetes"].origin == "k8s.io/kubernetes@v1.37.2"
    assert shown["kubernetes"].verified == "components/go/kubernetes/1.37.2/go.sum"
    assert shown["kubernetes"].state != "cached"
    assert shown["pause image"].state == "to be made"


def test_go_of_a_version_that_it_can_not_build(tmp_path: Path) -> None:
    shown = rows(Request(versions={"etcd": "3.7.99"}), "go", pins.load(), tmp_path)["etcd"]
    assert (shown.origin, shown.verified) == ("no Go module", "-")
    assert "no Go module of etcd 3.7.99" in shown.state


def test_images_of_a_registry(tmp_path: Path) -> None:
    shown = rows(Request(registry="registry.example.org"), "release", pins.load(), tmp_path)
    assert shown["pause image"].origin == "registry.example.org/pause:3.10.2"
    assert shown["pause image"].state == "pulled by each node"
    assert "coredns" not in shown, "no host has its binary"
