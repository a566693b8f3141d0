"""Runtimes that are downloaded only: a mirror on loopback has their official paths; what of them goes where."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.unit.components.release_host import Page, ReleaseHost, archive, sha256

from kubeproof.components import distribution, fetch, pins
from kubeproof.components.cache import Cache
from kubeproof.components.download import Downloader
from kubeproof.components.fetch import Outcome, Request
from kubeproof.components.lock import Lock
from kubeproof.components.pins import Pins
from kubeproof.core.errors import KubeproofError

DIRECTORIES = {"bin": "/usr/local/bin", "cni": "/opt/cni/bin"}
# The layout of the bundle by CRI-O's own build of it (cri-o/packaging, scripts/bundle/build), as far as it matters.
CRIO = {
    "cri-o/bin/conmon": b"conmon's bytes",
    "cri-o/bin/conmonrs": b"another monitor",
    "cri-o/bin/crictl": b"another crictl",
    "cri-o/bin/crio": b"the daemon's bytes" * 1000,
    "cri-o/bin/crun": b"another runtime",
    "cri-o/bin/pinns": b"pinns' bytes",
    "cri-o/bin/runc": b"another runc",
    "cri-o/cni-plugins/bridge": b"another plugin",
    "cri-o/contrib/crio.service": b"another unit",
    "cri-o/etc/10-crio.conf": b"another configuration",
}


@dataclasses.dataclass
class Mirror:
    """A mirror, a state directory and a cache. ``pins`` has one runtime and nothing else."""

    server: ReleaseHost
    pins: Pins
    directory: Path

    def serve(self, path: str, files: dict[str, bytes], suffix: str) -> None:
        """An archive, and its checksum as ``sha256sum`` writes it, in a file of its own."""
        content = archive(files)
        name = path.rpartition("/")[2]
        self.server.pages[path] = Page(content)
        self.server.pages[path + suffix] = Page(f"{sha256(content)}  {name}\n".encode())

    def fetch(self, runtime: str, **more: str) -> Outcome:
        request = Request(**{"source": "mirror", "mirror": self.server.url, "groups": ("workers", runtime), **more})  # type: ignore[arg-type]
        client = Downloader(attempts=1, timeout=0.5, probe=0.5)
        return fetch.fetch(
            request, self.pins, self.directory / "state", cache_directory=self.directory / "cache", downloader=client
        )

    def on_a_node(self, runtime: str) -> dict[str, bytes]:
        """The files that a node gets: contents by path."""
        groups = ("workers", runtime)
        planned = distribution.plan(self.pins, Lock(self.directory / "state"), groups, "amd64", DIRECTORIES)
        with Cache(self.directory / "cache") as cache:
            return {file.path: distribution.blob(file.sha256, cache).path.read_bytes() for file in planned.files}


def mirror_of(name: str, server: ReleaseHost, directory: Path) -> Mirror:
    real = pins.load()
    return Mirror(
        server,
        dataclasses.replace(real, components={name: real.components[name]}, images={}, sets={}, published={}),
        directory,
    )


@pytest.fixture
def crio(server: ReleaseHost, tmp_path: Path) -> Mirror:
    server.pages.clear()
    made = mirror_of("crio", server, tmp_path)
    version = made.pins.components["crio"].version
    made.serve(f"/storage.googleapis.com/cri-o/artifacts/cri-o.amd64.v{version}.tar.gz", CRIO, ".sha256sum")
    return made


def test_of_cri_os_bundle_a_node_gets_the_daemon_and_its_helpers(crio: Mirror) -> None:
    outcome = crio.fetch("crio")
    version = crio.pins.components["crio"].version
    [fetched] = outcome.fetched
    assert (fetched.name, fetched.version, fetched.fresh) == ("crio", version, True)
    assert fetched.verified.endswith(f"cri-o.amd64.v{version}.tar.gz.sha256sum")
    assert crio.on_a_node("crio") == {
        f"/usr/local/bin/{name}": CRIO[f"cri-o/bin/{name}"] for name in ("crio", "conmon", "pinns")
    }
    assert not crio.fetch("crio").changed


def test_a_bundle_that_is_not_what_its_checksum_says_is_refused(crio: Mirror) -> None:
    [path] = [path for path in crio.server.pages if path.endswith(".tar.gz")]
    crio.server.pages[path] = Page(archive({**CRIO, "cri-o/bin/crio": b"another daemon"}))
    with pytest.raises(KubeproofError, match="wrong checksum, refused"):
        crio.fetch("crio")
    assert not (crio.directory / "state" / "components.lock.json").exists()


def test_a_bundle_that_lacks_a_helper_is_refused(crio: Mirror) -> None:
    [path] = [path for path in crio.server.pages if path.endswith(".tar.gz")]
    crio.serve(path, {name: content for name, content in CRIO.items() if "pinns" not in name}, ".sha256sum")
    with pytest.raises(KubeproofError, match="does not contain pinns"):
        crio.fetch("crio")


def test_from_go_it_is_refused_before_anything_is_built(crio: Mirror) -> None:
    with pytest.raises(KubeproofError, match="crio comes as an official download, and is not built from source"):
        crio.fetch("crio", source="go")


def test_where_no_host_answers_there_is_no_way_by_go(crio: Mirror) -> None:
    crio.server.stop()
    with pytest.raises(KubeproofError, match=r"can't be reached, and crio cannot be built here\n.*component_mirror"):
        crio.fetch("crio", source="auto")
