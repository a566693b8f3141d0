"""Runtimes that are downloaded only: a mirror on loopback has their official paths; what of them goes where."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.unit.components.release_host import Page, ReleaseHost, archive, sha256

from kubeproof.components import distribution, fetch, pins, release
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
    """A mirror, a state directory and a cache. ``pins`` has a runtime and nothing else."""

    server: ReleaseHost
    pins: Pins
    directory: Path

    def serve(self, path: str, files: dict[str, bytes], suffix: str) -> None:
        """An archive, and its checksum as ``sha256sum`` writes it, in a file of its own."""
        content = archive(files)
        name = path.rpartition("/")[2]
        self.server.pages[path] = Page(content)
        self.server.pages[path + suffix] = Page(f"{sha256(content)}  {name}\n".encode())

    def fetch(self, runtime: str, **more: object) -> Outcome:
        request = Request(**{"source": "mirror", "mirror": self.server.url, "groups": ("workers", runtime), **more})  # type: ignore[arg-type]
        client = Downloader(attempts=1, timeout=5, probe=5)
        return fetch.fetch(
            request, self.pins, self.directory / "state", cache_directory=self.directory / "cache", downloader=client
        )

    def on_a_node(self, runtime: str) -> dict[str, bytes]:
        """The files that a node gets: contents by path."""
        groups = ("workers", runtime)
        planned = distribution.plan(self.pins, Lock(self.directory / "state"), groups, "amd64", DIRECTORIES)
        with Cache(self.directory / "cache") as cache:
            return {file.path: distribution.blob(file.sha256, cache).path.read_bytes() for file in planned.files}


def mirror_of(names: Iterable[str], server: ReleaseHost, directory: Path) -> Mirror:
    real = pins.load()
    components = {name: real.components[name] for name in names}
    return Mirror(server, dataclasses.replace(real, components=components, images={}, sets={}, published={}), directory)


@pytest.fixture
def crio(server: ReleaseHost, tmp_path: Path) -> Mirror:
    server.pages.clear()
    made = mirror_of(["crio"], server, tmp_path)
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


# The layouts of Docker's static archive, and of cri-dockerd's release (packaging/static/Makefile).
DOCKER = {
    "docker/containerd": b"docker's containerd",
    "docker/containerd-shim-runc-v2": b"docker's shim",
    "docker/ctr": b"docker's ctr",
    "docker/docker": b"the client's bytes",
    "docker/docker-init": b"an init",
    "docker/docker-proxy": b"a proxy",
    "docker/dockerd": b"the engine's bytes" * 1000,
    "docker/runc": b"docker's runc",
}
CRI_DOCKERD = {"cri-dockerd/cri-dockerd": b"what the kubelet asks"}
PROGRAMS = {
    **{
        name: DOCKER[f"docker/{name}"]
        for name in ("containerd", "containerd-shim-runc-v2", "docker", "dockerd", "runc")
    },
    "cri-dockerd": CRI_DOCKERD["cri-dockerd/cri-dockerd"],
}


@pytest.fixture
def docker(secure_server: ReleaseHost, tmp_path: Path) -> Mirror:
    """Both downloads, of which no checksums are published, on a mirror that proves by TLS who it is."""
    made = mirror_of(("docker", "cri-dockerd"), secure_server, tmp_path)
    for path, files in zip(docker_archives(made), (DOCKER, CRI_DOCKERD), strict=True):
        secure_server.pages[path] = Page(archive(files))
    return made


def docker_archives(mirror: Mirror) -> tuple[str, str]:
    """The paths of both downloads on a mirror, for amd64."""
    docker, bridge = (mirror.pins.components[name].version for name in ("docker", "cri-dockerd"))
    return (
        f"/download.docker.com/linux/static/stable/x86_64/docker-{docker}.tgz",
        f"/github.com/Mirantis/cri-dockerd/releases/download/v{bridge}/cri-dockerd-{bridge}.amd64.tgz",
    )


def test_docker_is_what_the_first_download_was(docker: Mirror) -> None:
    outcome = docker.fetch("docker")
    assert {(each.name, each.verified, each.fresh) for each in outcome.fetched} == {
        ("docker", release.FIRST, True),
        ("cri-dockerd", release.FIRST, True),
    }
    assert docker.on_a_node("docker") == {f"/usr/local/bin/{name}": content for name, content in PROGRAMS.items()}
    engine, bridge = docker_archives(docker)
    lock = Lock(docker.directory / "state")
    for path in (engine, bridge):
        record = lock.download(f"https:/{path}")
        assert record == {"sha256": sha256(docker.server.pages[path].body), "verified": release.FIRST}
    assert not docker.fetch("docker").changed
    assert docker.server.asked[engine] == docker.server.asked[bridge] == 1


def test_another_machine_with_the_lock_gets_the_same_docker_or_none(docker: Mirror) -> None:
    docker.fetch("docker")
    shutil.rmtree(docker.directory / "cache")
    docker.fetch("docker")
    shutil.rmtree(docker.directory / "cache")
    engine, _ = docker_archives(docker)
    # As it has happened to an archive of Docker's, whose project made it anew.
    docker.server.pages[engine] = Page(archive({**DOCKER, "docker/dockerd": b"another engine"}))
    with pytest.raises(KubeproofError, match=r"components\.lock\.json records"):
        docker.fetch("docker")
    assert docker.fetch("docker", accept_changed=True).changed
    assert docker.on_a_node("docker")["/usr/local/bin/dockerd"] == b"another engine"


def test_a_checksum_that_the_user_has_verified_counts_from_the_first_download(docker: Mirror) -> None:
    digests = [sha256(docker.server.pages[path].body) for path in docker_archives(docker)]
    wrong = {"docker": {"amd64": sha256(b"another")}}
    with pytest.raises(KubeproofError, match="wrong checksum, refused"):
        docker.fetch("docker", sha256=wrong)
    assert Lock(docker.directory / "state").download(f"https:/{docker_archives(docker)[0]}") is None
    right = {name: {"amd64": digest} for name, digest in zip(("docker", "cri-dockerd"), digests, strict=True)}
    assert {each.verified for each in docker.fetch("docker", sha256=right).fetched} == {"component_sha256"}
    with pytest.raises(KubeproofError, match=r"components\.lock\.json records .* component_sha256 now pins"):
        docker.fetch("docker", sha256=wrong)


def test_a_mirror_of_docker_without_tls_is_taken_with_checksums_only(server: ReleaseHost, tmp_path: Path) -> None:
    server.pages.clear()
    made = mirror_of(("docker", "cri-dockerd"), server, tmp_path)
    for path, files in zip(docker_archives(made), (DOCKER, CRI_DOCKERD), strict=True):
        server.pages[path] = Page(archive(files))
    with pytest.raises(KubeproofError, match="cannot be verified") as refused:
        made.fetch("docker")
    assert "component_sha256" in str(refused.value.hint)
    assert not server.asked
    digests = [sha256(server.pages[path].body) for path in docker_archives(made)]
    made.fetch("docker", sha256={"docker": {"amd64": digests[0]}, "cri-dockerd": {"amd64": digests[1]}})
    assert made.on_a_node("docker").keys() == {f"/usr/local/bin/{name}" for name in PROGRAMS}


def test_docker_is_neither_built_nor_installed_without_a_program(docker: Mirror) -> None:
    with pytest.raises(KubeproofError, match="docker comes as an official download, and is not built from source"):
        docker.fetch("docker", source="go")
    engine, _ = docker_archives(docker)
    docker.server.pages[engine] = Page(archive({name: data for name, data in DOCKER.items() if "runc-v2" not in name}))
    with pytest.raises(KubeproofError, match="does not contain containerd-shim-runc-v2"):
        docker.fetch("docker")
    assert Lock(docker.directory / "state").download(f"https:/{engine}") is None
