"""Manifests and charts of pod networks, from a server on loopback to the objects that are applied."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.unit.components.release_host import Page, ReleaseHost, archive, component, sha256

from kubeproof.components import fetch, published, release, selection
from kubeproof.components.cache import Cache
from kubeproof.components.download import Downloader
from kubeproof.components.fetch import Request
from kubeproof.components.lock import Lock
from kubeproof.components.pins import Pins, Published, Release, load
from kubeproof.core.errors import KubeproofError

CALICO, CHART = b"kind: ConfigMap\n", b"a chart"
CALICO_PATH = "/manifests.example.org/v3.32.4/calico.yaml"
CHART_PATH = "/charts.example.org/cilium-1.20.2.tgz"
HELM = b"#!/bin/sh\n"
HELM_PATH = "/get.example.org/helm-v4.3.1-linux-amd64.tar.gz"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.fixture
def secure(secure_server: ReleaseHost) -> ReleaseHost:
    """A mirror of these manifests that proves by TLS who it is."""
    secure_server.pages = PAGES.copy()
    return secure_server


PAGES = {
    CALICO_PATH: Page(CALICO),
    CHART_PATH: Page(CHART),
    HELM_PATH: Page(archive({"linux-amd64/helm": HELM})),
    f"{HELM_PATH}.sha256sum": Page(sha256(archive({"linux-amd64/helm": HELM})).encode()),
}


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    helm = component(
        "helm",
        "4.3.1",
        {"helm": "workers"},
        Release(
            url="https://get.example.org/helm-v{version}-linux-{arch}.tar.gz",
            checksums="https://get.example.org/helm-v{version}-linux-{arch}.tar.gz.sha256sum",
            member="linux-{arch}/{binary}",
            sha256={},
        ),
    )
    # No host needs it.
    binary = dataclasses.replace(helm.binaries["helm"], groups=frozenset())
    helm = dataclasses.replace(helm, binaries={"helm": binary})
    calico = Published(
        "calico", "3.32.4", "https://manifests.example.org/v{version}/calico.yaml", "", ("pod_network_calico",)
    )
    cilium = Published(
        "cilium", "1.20.2", "https://charts.example.org/cilium-{version}.tgz", "", ("pod_network_cilium",)
    )
    return Pins(tmp_path, {"helm": helm}, {}, published={"calico": calico, "cilium": cilium})


def get(pins: Pins, mirror: str, directory: Path, network: str = "calico", **asked: object) -> fetch.Outcome:
    request = Request(source="mirror", mirror=mirror, groups=(f"pod_network_{network}",), **asked)  # type: ignore[arg-type]
    with Downloader(attempts=2, pause=0.01, timeout=5, probe=1) as downloader:
        return fetch.fetch(
            request, pins, directory / "state", cache_directory=directory / "cache", downloader=downloader
        )


def kept(pins: Pins, directory: Path, name: str) -> bytes | None:
    with Cache(directory / "cache") as cache:
        blob = published.cached(pins.published[name], Lock(directory / "state"), cache)
        return blob.path.read_bytes() if blob else None


def test_the_first_download_is_recorded_and_later_ones_are_held_to_it(
    secure: ReleaseHost, pins: Pins, tmp_path: Path
) -> None:
    assert kept(pins, tmp_path, "calico") is None
    first = get(pins, secure.url, tmp_path)
    [got] = first.fetched
    assert (got.name, got.version, got.fresh, got.verified) == ("calico manifest", "3.32.4", True, release.FIRST)
    assert first.changed
    record = Lock(tmp_path / "state").download("https://manifests.example.org/v3.32.4/calico.yaml")
    assert record == {"sha256": sha256(CALICO), "verified": release.FIRST}
    assert kept(pins, tmp_path, "calico") == CALICO
    # No component of the cluster: asking for versions finds none of it.
    assert Lock(tmp_path / "state").versions("target") == {}

    assert secure.asked[CALICO_PATH] == 1
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "state").mkdir(parents=True)
    (elsewhere / "state" / "components.lock.json").write_text((tmp_path / "state" / "components.lock.json").read_text())
    secure.pages[CALICO_PATH] = Page(b"kind: Secret\n")
    with pytest.raises(KubeproofError, match=r"components\.lock\.json records"):
        get(pins, secure.url, elsewhere)
    assert kept(pins, elsewhere, "calico") is None
    get(pins, secure.url, elsewhere, accept_changed=True)
    assert kept(pins, elsewhere, "calico") == b"kind: Secret\n"


def test_a_second_fetch_downloads_nothing(secure: ReleaseHost, pins: Pins, tmp_path: Path) -> None:
    get(pins, secure.url, tmp_path)
    again = get(pins, secure.url, tmp_path)
    assert not again.changed
    assert secure.asked[CALICO_PATH] == 1


def test_a_mirror_without_tls_is_taken_with_a_checksum_only(server: ReleaseHost, pins: Pins, tmp_path: Path) -> None:
    server.pages = PAGES.copy()
    with pytest.raises(KubeproofError, match="cannot be verified") as refused:
        get(pins, server.url, tmp_path)
    assert "pod_network_manifest_sha256" in str(refused.value.hint)
    assert not server.asked[CALICO_PATH]
    with pytest.raises(KubeproofError, match="wrong checksum"):
        get(pins, server.url, tmp_path, manifest_sha256=sha256(b"another"))
    assert kept(pins, tmp_path, "calico") is None
    [got] = get(pins, server.url, tmp_path, manifest_sha256=sha256(CALICO)).fetched
    assert got.fresh
    assert kept(pins, tmp_path, "calico") == CALICO


def test_a_chart_comes_with_the_helm_that_reads_it(secure: ReleaseHost, pins: Pins, tmp_path: Path) -> None:
    names = {item.name for item in get(pins, secure.url, tmp_path, "cilium").fetched}
    assert names == {"cilium manifest", "helm"}
    assert kept(pins, tmp_path, "cilium") == CHART
    with Cache(tmp_path / "cache") as cache:
        helm = published.helm(pins, Lock(tmp_path / "state"), cache)
        assert helm is not None
        assert helm.path.read_bytes() == HELM


def test_what_is_missing_and_what_is_empty(secure: ReleaseHost, pins: Pins, tmp_path: Path) -> None:
    secure.pages = {CALICO_PATH: Page(b"")}
    with pytest.raises(KubeproofError, match="is empty"):
        get(pins, secure.url, tmp_path)
    secure.pages = {}
    with pytest.raises(KubeproofError, match="404"):
        get(pins, secure.url, tmp_path)
    assert not (tmp_path / "state" / "components.lock.json").exists()


def test_there_is_no_build(pins: Pins, tmp_path: Path) -> None:
    with pytest.raises(KubeproofError, match="not built from source") as refused:
        fetch.fetch(
            Request(source="go", groups=("pod_network_calico",)), pins, tmp_path / "state", cache_directory=tmp_path
        )
    assert "component_source to release" in str(refused.value.hint)


def test_whether_all_is_there(secure: ReleaseHost, pins: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubeproof.components.cache.cache_directory", lambda: tmp_path)
    request = Request(source="mirror", mirror=secure.url, groups=("pod_network_cilium",))
    assert not fetch.complete(request, pins, tmp_path / "state")
    with Downloader() as downloader:
        fetch.fetch(request, pins, tmp_path / "state", downloader=downloader)
    assert fetch.complete(request, pins, tmp_path / "state")


def test_our_pins_and_other_versions_of_them() -> None:
    found = load()
    assert {each.name for each in selection.published(found, ["workers", "pod_network_calico"])} == {"calico"}
    assert not found.published["calico"].is_chart
    assert found.published["cilium"].is_chart
    other = found.with_versions({"cilium": "1.20.3"})
    assert other.published["cilium"].location.endswith("/cilium-1.20.3.tgz")
    with pytest.raises(KubeproofError, match="is not a version"):
        found.with_versions({"calico": "v3"})
    for plugin in ("calico", "cilium"):
        assert {*found.published[plugin].groups} & {*selection.uses(["workers"], [], "none", plugin)}
