"""Fetching from the official layout, served on loopback: what is verified, kept, locked and refused."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.unit.components.release_host import (
    ETCD_FILES,
    ETCD_PATH,
    KUBELET,
    KUBELET_PATH,
    Page,
    ReleaseHost,
    archive,
    sha256,
)

from kubeproof.components import fetch as fetching
from kubeproof.components import gobuild
from kubeproof.components.cache import Cache
from kubeproof.components.download import Downloader
from kubeproof.components.fetch import Outcome, Request
from kubeproof.components.gobuild import Toolchain
from kubeproof.components.lock import Lock
from kubeproof.components.pins import Component, Pins, Release
from kubeproof.components.progress import Event, Phase
from kubeproof.core.errors import KubeproofError

SUMS_PATH = "/etcd-io/v3.7.3/SHA256SUMS"


@dataclasses.dataclass
class Site:
    """An inventory's state directory and a cache, with the release host that they are filled from."""

    server: ReleaseHost
    pins: Pins
    directory: Path

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def cache(self) -> Path:
        return self.directory / "cache"

    def fetch(self, **request: Any) -> Outcome:
        client = Downloader(attempts=2, pause=0.01, timeout=0.5, probe=0.5)
        asked = Request(**{"source": "release", **request})
        return fetching.fetch(asked, self.pins, self.state, cache_directory=self.cache, downloader=client)

    def lock(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.state / "components.lock.json").read_text())
        return document

    def blobs(self) -> set[str]:
        return {path.name for path in self.cache.glob("blobs/*")}

    def leftovers(self) -> list[Path]:
        return list(self.cache.glob("work/*/*"))

    def pin(self, component: str, digest: str) -> None:
        self._change(component, sha256={"amd64": digest})

    def unpublish(self, component: str) -> None:
        self._change(component, checksums="")

    def _change(self, component: str, **fields: Any) -> None:
        release = self.pins.components[component].release
        assert isinstance(release, Release)
        changed = dataclasses.replace(release, **fields)
        components = {**self.pins.components}
        components[component] = dataclasses.replace(components[component], release=changed)
        self.pins = dataclasses.replace(self.pins, components=components)


@pytest.fixture
def site(server: ReleaseHost, pins: Pins, tmp_path: Path) -> Site:
    return Site(server, pins, tmp_path)


def test_binaries_come_out_of_archives_and_files(site: Site) -> None:
    outcome = site.fetch()
    locked = site.lock()["target"]["components"]["amd64"]
    contents = {**{Path(name).name: content for name, content in ETCD_FILES.items()}, "kubelet": KUBELET}
    for name in ("etcd", "kubernetes"):
        for binary, record in locked[name]["binaries"].items():
            blob = site.cache / "blobs" / record["sha256"]
            assert blob.read_bytes() == contents[binary]
            assert os.access(blob, os.X_OK)
    assert set(locked["etcd"]["binaries"]) == {"etcd", "etcdctl"}
    assert outcome.changed
    assert [(item.name, item.fresh) for item in outcome.fetched] == [("etcd", True), ("kubernetes", True)]
    assert outcome.fetched[0].verified == site.server.url + SUMS_PATH
    assert site.leftovers() == []


def test_a_controller_of_another_architecture_has_kubectl(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    kubernetes = site.pins.components["kubernetes"]
    kubectl = dataclasses.replace(kubernetes.binaries["kubelet"], name="kubectl")
    build = dataclasses.replace(kubernetes.go, packages={**kubernetes.go.packages, "kubectl": "k8s.io/kubectl"})
    both = dataclasses.replace(kubernetes, binaries={**kubernetes.binaries, "kubectl": kubectl}, go=build)
    site.pins = dataclasses.replace(site.pins, components={"kubernetes": both})
    paths = {arch: f"/release/v1.36.3/bin/linux/{arch}/kubectl" for arch in ("amd64", "arm64")}
    for path in paths.values():
        site.server.pages |= {path: Page(path.encode()), f"{path}.sha256": Page(sha256(path.encode()).encode())}
    assert site.fetch().changed
    locked = site.lock()["target"]["components"]
    assert set(locked["amd64"]["kubernetes"]["binaries"]) == {"kubelet", "kubectl"}
    assert locked["arm64"]["kubernetes"]["binaries"]["kubectl"]["sha256"] == sha256(paths["arm64"].encode())
    assert f"{paths['arm64'].removesuffix('kubectl')}kubelet" not in site.server.asked
    asked = site.server.asked.total()
    assert not site.fetch().changed
    assert site.server.asked.total() == asked


def test_a_second_run_asks_nobody(site: Site) -> None:
    site.fetch()
    asked = dict(site.server.asked)
    outcome = site.fetch()
    assert not outcome.changed
    assert dict(site.server.asked) == asked


def test_another_inventory_takes_what_is_cached(site: Site) -> None:
    site.fetch()
    site.directory = site.directory / "another"
    site.directory.mkdir()
    (site.directory / "cache").symlink_to(site.directory.parent / "cache")
    outcome = site.fetch()
    assert outcome.changed, "its lock is new"
    assert not any(item.fresh for item in outcome.fetched)
    assert site.server.asked[KUBELET_PATH] == 1


def test_only_what_the_groups_need_is_fetched(site: Site) -> None:
    site.fetch(groups=("etcd",))
    assert KUBELET_PATH not in site.server.asked


def test_a_wrong_checksum_is_refused_and_leaves_nothing(site: Site) -> None:
    site.server.pages[KUBELET_PATH] = Page(b"not the kubelet")
    with pytest.raises(KubeproofError) as error:
        site.fetch()
    said = str(error.value)
    assert site.server.url + KUBELET_PATH in said
    assert sha256(KUBELET) in said
    assert sha256(b"not the kubelet") in said
    assert sha256(b"not the kubelet") not in site.blobs()
    assert site.leftovers() == []
    assert not (site.state / "components.lock.json").exists()


def test_what_was_had_before_a_failure_is_not_fetched_again(site: Site) -> None:
    site.server.pages[KUBELET_PATH] = Page(b"", status=404)
    with pytest.raises(KubeproofError, match="404"):
        site.fetch()
    site.server.pages[KUBELET_PATH] = Page(KUBELET)
    site.fetch()
    assert site.server.asked[ETCD_PATH] == 1


def test_all_failures_are_said_at_once(site: Site) -> None:
    site.server.pages.clear()
    with pytest.raises(KubeproofError) as error:
        site.fetch()
    assert SUMS_PATH in str(error.value)
    assert f"{KUBELET_PATH}.sha256" in str(error.value)


def test_a_truncated_download_never_gets_a_name(site: Site) -> None:
    site.server.pages[KUBELET_PATH] = Page(KUBELET[:-1], promised=len(KUBELET))
    with pytest.raises(KubeproofError, match="tried 2 times"):
        site.fetch(groups=("workers",))
    assert site.blobs() == set()
    assert site.leftovers() == []


def test_a_server_that_recovers_is_enough(site: Site) -> None:
    site.server.pages[KUBELET_PATH] = Page(KUBELET, failures=1)
    site.server.pages[SUMS_PATH] = dataclasses.replace(site.server.pages[SUMS_PATH], failures=1, failure=503)
    assert site.fetch().changed


def test_a_pinned_checksum_needs_no_published_one(site: Site) -> None:
    site.pin("kubernetes", sha256(KUBELET))
    del site.server.pages[f"{KUBELET_PATH}.sha256"]
    outcome = site.fetch(groups=("workers",))
    assert outcome.fetched[0].verified == "components.yml"


def test_what_has_no_checksum_at_all_is_refused(site: Site) -> None:
    site.unpublish("kubernetes")
    with pytest.raises(KubeproofError, match="its release publishes no checksums, and none is pinned") as error:
        site.fetch(groups=("workers",))
    assert "component_source to go" in str(error.value)
    site.pin("kubernetes", sha256(KUBELET))
    assert site.fetch(groups=("workers",)).fetched[0].verified == "components.yml"


def test_a_pinned_checksum_is_believed_before_the_published_one(site: Site) -> None:
    site.pin("kubernetes", "0" * 64)
    with pytest.raises(KubeproofError, match=r"says components\.yml"):
        site.fetch(groups=("workers",))


def replace_kubelet(site: Site) -> bytes:
    """A release host that has other bytes under an old name, and says that they are right."""
    other = KUBELET + b", rebuilt"
    site.server.pages[KUBELET_PATH] = Page(other)
    site.server.pages[f"{KUBELET_PATH}.sha256"] = Page(sha256(other).encode())
    for path in site.cache.glob("blobs/*"):
        path.unlink()
    return other


def test_bytes_other_than_the_locked_ones_are_refused(site: Site) -> None:
    site.fetch()
    before = site.lock()
    other = replace_kubelet(site)
    with pytest.raises(KubeproofError, match="not what this inventory was installed with") as error:
        site.fetch()
    assert "--accept-changed" in str(error.value)
    assert sha256(other) not in site.blobs()
    assert site.lock() == before


def test_other_bytes_can_be_accepted_on_purpose(site: Site) -> None:
    site.fetch()
    other = replace_kubelet(site)
    site.fetch(accept_changed=True)
    assert site.lock()["target"]["components"]["amd64"]["kubernetes"]["binaries"]["kubelet"]["sha256"] == sha256(other)
    assert not site.fetch().changed


def test_a_pin_that_differs_from_the_lock_is_refused(site: Site) -> None:
    site.fetch()
    site.pin("kubernetes", "1" * 64)
    with pytest.raises(KubeproofError, match=r"components\.yml now pins 1111"):
        site.fetch()


def test_an_archive_that_lacks_a_binary_is_refused(site: Site) -> None:
    incomplete = archive({"etcd-v3.7.3-linux-amd64/etcd": b"etcd"})
    site.server.pages[ETCD_PATH] = Page(incomplete)
    site.pin("etcd", sha256(incomplete))
    with pytest.raises(KubeproofError, match="does not contain etcdctl"):
        site.fetch()


def test_something_else_than_an_archive_is_refused(site: Site) -> None:
    site.server.pages[ETCD_PATH] = Page(b"<html>")
    site.pin("etcd", sha256(b"<html>"))
    with pytest.raises(KubeproofError, match="not a readable archive"):
        site.fetch()


def test_checksums_without_the_file_are_refused(site: Site) -> None:
    site.server.pages[SUMS_PATH] = Page(f"{'0' * 64}  another.tar.gz\n".encode())
    with pytest.raises(KubeproofError, match=r"SHA256SUMS has no SHA-256 for etcd-v3\.7\.3"):
        site.fetch()


def test_another_version_is_fetched_under_its_own_name(site: Site) -> None:
    site.server.pages[KUBELET_PATH.replace("1.36.3", "1.36.1")] = Page(b"older kubelet")
    site.server.pages[KUBELET_PATH.replace("1.36.3", "1.36.1") + ".sha256"] = Page(sha256(b"older kubelet").encode())
    outcome = site.fetch(versions={"kubernetes": "1.36.1"})
    assert [item.version for item in outcome.fetched] == ["3.7.3", "1.36.1"]


def test_a_mirror_has_the_official_paths_under_their_hosts_name(site: Site, server: ReleaseHost) -> None:
    official = urlsplit(server.url).netloc
    pages = {f"/air/gapped/{official}{path}": page for path, page in server.pages.items()}
    server.pages = pages
    outcome = site.fetch(source="mirror", mirror=f"{server.url}/air/gapped/")
    assert set(server.asked) == set(pages)
    assert outcome.fetched[0].origin == f"{server.url}/air/gapped/{official}{ETCD_PATH}"


def test_a_mirrors_password_is_neither_shown_nor_recorded(site: Site, server: ReleaseHost) -> None:
    official, mirror = urlsplit(server.url).netloc, server.url.replace("://", "://reader:pass@word@")
    pages = {f"/{official}{path}": page for path, page in server.pages.items()}
    server.pages = dict(pages)
    shown: list[str] = []
    request = Request(source="mirror", mirror=mirror)
    outcome = fetching.fetch(
        request, site.pins, site.state, cache_directory=site.cache, progress=lambda event: shown.append(repr(event))
    )
    assert outcome.fetched[0].origin == f"{server.url}/{official}{ETCD_PATH}"
    assert "word" not in f"{outcome.fetched}{shown}{site.lock()}"
    told = []
    for page in (Page(b"wrong"), None):
        server.pages = {**pages, f"/{official}{KUBELET_PATH}": page} if page else {}
        for blob in site.cache.glob("*/*"):
            shutil.rmtree(blob) if blob.is_dir() else blob.unlink()
        with pytest.raises(KubeproofError) as caught:
            fetching.fetch(request, site.pins, site.directory / "other", cache_directory=site.cache)
        told.append(str(caught.value))
    assert "wrong checksum" in told[0]
    assert "404" in told[1]
    assert "word" not in f"{told}"


def test_what_was_recorded_with_a_password_is_shown_without(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    lock._document["downloads"]["https://dl.k8s.io/a"] = {"sha256": "1", "verified": "https://u:p@mirror/a.sha256"}
    assert lock.download("https://dl.k8s.io/a") == {"sha256": "1", "verified": "https://mirror/a.sha256"}


def test_a_mirror_is_held_to_what_the_release_gave(site: Site, server: ReleaseHost) -> None:
    site.fetch()
    official = urlsplit(server.url).netloc
    replace_kubelet(site)
    server.pages = {f"/{official}{path}": page for path, page in server.pages.items()}
    with pytest.raises(KubeproofError, match="not what this inventory was installed with"):
        site.fetch(source="mirror", mirror=server.url)


def test_without_a_network_what_is_cached_is_enough(site: Site) -> None:
    site.fetch()
    site.server.stop()
    assert not site.fetch().changed
    assert not site.fetch(source="auto").changed


def test_without_a_network_and_cache_the_hosts_are_named(site: Site) -> None:
    site.server.stop()
    with pytest.raises(KubeproofError, match=r"127\.0\.0\.1.*refused"):
        site.fetch()


def test_an_unknown_architecture_is_said(site: Site) -> None:
    with pytest.raises(KubeproofError, match="no components for riscv64"):
        site.fetch(architectures=("riscv64",))


def test_progress_begins_and_ends_for_each_component(site: Site) -> None:
    events: list[Event] = []
    request = Request(source="release")
    client = Downloader(attempts=1)
    fetching.fetch(
        request, site.pins, site.state, cache_directory=site.cache, downloader=client, progress=events.append
    )
    for name in ("etcd", "kubernetes"):
        phases = [event.phase for event in events if event.component == name]
        assert phases[0] is Phase.DOWNLOAD
        assert phases[-1] is Phase.DONE
    last = [event for event in events if event.component == "kubernetes" and event.phase is Phase.DOWNLOAD][-1]
    assert (last.done, last.total) == (len(KUBELET), len(KUBELET))


KILLED = """
import pickle, sys
from pathlib import Path
from kubeproof.components.fetch import Request, fetch
pins = pickle.loads(Path(sys.argv[1], "pins").read_bytes())
fetch(Request(source="release"), pins, Path(sys.argv[1], "state"), cache_directory=Path(sys.argv[1], "cache"))
"""


def test_a_download_that_was_killed_midway_is_done_again(site: Site) -> None:
    site.server.pages[KUBELET_PATH] = Page(KUBELET, pause=30)
    site.fetch(groups=("etcd",))
    had = site.blobs()
    (site.directory / "pins").write_bytes(pickle.dumps(site.pins))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", KILLED, str(site.directory)], env=environment) as process:
        while not list(site.cache.glob("work/*/*/download")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert site.blobs() == had
    site.server.pages[KUBELET_PATH] = Page(KUBELET)
    assert site.fetch().changed
    assert site.leftovers() == []


def test_two_inventories_at_once_download_once(site: Site, tmp_path: Path) -> None:
    def fetch(number: int) -> Outcome:
        client = Downloader(attempts=1)
        state = tmp_path / f"state{number}"
        return fetching.fetch(
            Request(source="release"), site.pins, state, cache_directory=site.cache, downloader=client
        )

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(fetch, range(4)))
    assert all(outcome.changed for outcome in outcomes)
    assert site.server.asked[ETCD_PATH] == 1
    assert site.server.asked[KUBELET_PATH] == 1


def test_a_full_disk_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/cache/blobs/x")

    monkeypatch.setattr(Cache, "store", full)
    with pytest.raises(KubeproofError, match="/cache/blobs/x: No space left on device"):
        site.fetch()


def with_one_that_is_always_built(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the site a component without a release, and a file in place of its build; the names of what is built."""
    built: list[str] = []

    def build(_pins: Pins, component: Component, _arch: str, _tools: Toolchain, cache: Cache, _: object) -> Any:
        built.append(component.name)
        with cache.work() as directory:
            (directory / "runsc").write_bytes(b"runsc")
            return cache.store(f"of-{component.name}", {"runsc": directory / "runsc"}, {}), True

    like = site.pins.components["kubernetes"]
    binary = dataclasses.replace(next(iter(like.binaries.values())), name="runsc")
    go = dataclasses.replace(like.go, module="gvisor", packages={"runsc": "example.org/runsc"}, always=True)
    made = dataclasses.replace(like, name="gvisor", version="1.0.0", binaries={"runsc": binary}, release=None, go=go)
    site.pins = dataclasses.replace(site.pins, components={**site.pins.components, "gvisor": made})
    monkeypatch.setattr(gobuild, "toolchain", lambda: Toolchain("1.26.8", "amd64"))
    monkeypatch.setattr(gobuild, "check", lambda *_: None)
    monkeypatch.setattr(gobuild, "origin", lambda *_: "example.org/runsc@v1.0.0")
    monkeypatch.setattr(gobuild, "build", build)
    return built


def test_what_has_no_release_is_built_whatever_the_source(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    built = with_one_that_is_always_built(site, monkeypatch)
    outcome = site.fetch(source="auto")
    assert outcome.choice.source == "release", "that there is none of one does not count"
    assert built == ["gvisor"]
    locked = site.lock()["target"]["components"]["amd64"]
    assert {name: entry["source"] for name, entry in locked.items()} == {
        "etcd": "release",
        "kubernetes": "release",
        "gvisor": "go",
    }
    assert (outcome.fetched[0].name, outcome.fetched[0].verified) == ("gvisor", "components/go/gvisor/1.0.0/go.sum")
    # The lock has two sources, of which one counts.
    site.server.stop()
    assert fetching.choose(Request(), site.pins, site.state).source == "release"


def test_without_go_it_is_said_before_anything_is_fetched(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with_one_that_is_always_built(site, monkeypatch)

    def none() -> Toolchain:
        raise gobuild.NoToolchain("there is no Go toolchain on this machine", hint="or set component_source to release")

    monkeypatch.setattr(gobuild, "toolchain", none)
    with pytest.raises(KubeproofError, match="no release of gvisor, which is always built: there is") as error:
        site.fetch()
    assert "component_source" not in error.value.hint
    assert KUBELET_PATH not in site.server.asked
