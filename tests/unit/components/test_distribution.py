"""What each host is given of what was fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubeproof.components import distribution, pins
from kubeproof.components.cache import Cache
from kubeproof.components.lock import Lock
from kubeproof.components.pins import Pins
from kubeproof.core.errors import KubeproofError

DIRECTORIES = {"bin": "/usr/local/bin", "cni": "/opt/cni/bin"}


@pytest.fixture(scope="module")
def real() -> Pins:
    return pins.load()


@pytest.fixture
def lock(real: Pins, tmp_path: Path) -> Lock:
    """A lock as source ``go`` leaves it; the digests are names."""
    made = Lock(tmp_path)
    for component in real.components.values():
        binaries = {name: {"sha256": f"sha256 of {name}", "size": 1} for name in component.binaries}
        made.record_component("amd64", component.name, {"version": component.version, "binaries": binaries})
    for image in real.images.values():
        made.record_image("amd64", image.name, image_entry(image.version, image.local_reference))
    return made


def image_entry(version: str, reference: str, *, local: bool = True) -> dict[str, Any]:
    archive = {"sha256": f"sha256 of {reference}", "size": 1} if local else None
    return {"version": version, "reference": reference, "digest": "sha256:1" if local else "", "archive": archive}


def plan(real: Pins, lock: Lock, *groups: str) -> distribution.Distribution:
    return distribution.plan(real, lock, groups, "amd64", DIRECTORIES)


def test_a_worker_has_no_control_plane(real: Pins, lock: Lock) -> None:
    paths = {file.path for file in plan(real, lock, "workers", "containerd").files}
    assert paths == {
        *(f"/usr/local/bin/{name}" for name in ("kubectl", "kubelet", "kube-proxy", "runc")),
        *(f"/usr/local/bin/{name}" for name in ("containerd", "containerd-shim-runc-v2", "crictl", "ctr")),
        *(f"/opt/cni/bin/{name}" for name in ("bridge", "firewall", "host-local", "loopback", "portmap")),
        *(f"/var/lib/kubeproof/images/{name}.tar" for name in ("pause", "coredns", "agnhost")),
    }


def test_what_was_fetched_without_a_hosts_programs_was_not_fetched_for_it(real: Pins, lock: Lock) -> None:
    """As for a controller of an architecture that no host had."""
    kubernetes = real.components["kubernetes"].version
    kubectl = {"version": kubernetes, "binaries": {"kubectl": {"sha256": "sha256 of kubectl", "size": 1}}}
    lock.record_component("amd64", "kubernetes", kubectl)
    with pytest.raises(KubeproofError, match=f"kubernetes {kubernetes} was not fetched for amd64"):
        plan(real, lock, "workers", "containerd")
    ahead = distribution.plan(real, lock, ["workers"], "amd64", DIRECTORIES, may_lack=True)
    assert ahead.expected["/usr/local/bin/kubelet"] == f"kubernetes {kubernetes}"


def test_a_node_has_its_runtime_and_no_other(real: Pins, lock: Lock) -> None:
    of = {
        runtime: {file.path.removeprefix("/usr/local/bin/") for file in plan(real, lock, "workers", runtime).files}
        for runtime in ("containerd", "crio", "docker")
    }
    assert of["containerd"] - of["crio"] == {"containerd", "containerd-shim-runc-v2", "ctr"}
    assert of["crio"] - of["containerd"] == {"crio", "conmon", "pinns"}
    assert of["docker"] - of["containerd"] == {"docker", "dockerd", "cri-dockerd"}
    assert all({"runc", "crictl", "kubelet"} <= programs for programs in of.values())


def test_docker_brings_a_containerd_and_a_runc_of_its_own(real: Pins, lock: Lock) -> None:
    given = {file.name: file.component for file in plan(real, lock, "workers", "docker").files}
    assert [given[name] for name in ("containerd", "containerd-shim-runc-v2", "runc", "ctr") if name in given] == [
        "docker"
    ] * 3


def test_an_etcd_host_has_etcd_alone(real: Pins, lock: Lock) -> None:
    given = plan(real, lock, "etcd")
    assert {file.path.rpartition("/")[2] for file in given.files} == {"etcd", "etcdctl", "etcdutl"}
    assert given.facts["versions"] == {"etcd": "3.7.3"}
    assert given.facts["images"] == {}


def test_facts_for_the_roles(real: Pins, lock: Lock) -> None:
    facts = plan(real, lock, "control_plane", "etcd", "containerd").facts
    assert facts["binaries"]["kube-apiserver"] == {
        "path": "/usr/local/bin/kube-apiserver",
        "sha256": "sha256 of kube-apiserver",
    }
    assert facts["images"]["pause"] == "localhost/kubeproof/pause:3.10.2"
    assert facts["image_archives"][0] == {
        "reference": "localhost/kubeproof/pause:3.10.2",
        "archive": "/var/lib/kubeproof/images/pause.tar",
        "digest": "sha256:1",
    }
    assert {"kubernetes", "etcd", "containerd", "pause", "coredns"} <= set(facts["versions"])


def test_programs_can_be_run_and_archives_not(real: Pins, lock: Lock) -> None:
    modes = {file.path: file.mode for file in plan(real, lock, "workers").files}
    assert (modes["/usr/local/bin/kubelet"], modes["/var/lib/kubeproof/images/pause.tar"]) == ("0755", "0644")


def test_images_of_a_registry_are_not_sent(real: Pins, lock: Lock) -> None:
    for image in real.images.values():
        # Some are in no registry that is known here.
        entry = image_entry(image.version, image.reference("registry.k8s.io"), local=False)
        lock.record_image("amd64", image.name, entry)
    given = plan(real, lock, "workers")
    assert given.facts["image_archives"] == []
    assert given.facts["images"]["pause"] == "registry.k8s.io/pause:3.10.2"
    assert not [file for file in given.files if file.path.endswith(".tar")]


def test_what_was_not_fetched_is_said(real: Pins, lock: Lock) -> None:
    with pytest.raises(KubeproofError, match=r"etcd 3\.7\.3 was not fetched for arm64\n.*cluster\.yml"):
        distribution.plan(real, lock, ["etcd"], "arm64", DIRECTORIES)


def test_another_version_than_was_fetched_is_said(real: Pins, lock: Lock) -> None:
    with pytest.raises(KubeproofError, match=r"etcd 3\.7\.3 was fetched, 3\.7\.4 is wanted now"):
        plan(real.with_versions({"etcd": "3.7.4"}), lock, "etcd")


def test_a_file_that_left_the_cache_is_said(cache: Cache) -> None:
    with pytest.raises(KubeproofError, match="abc is no longer in the cache"):
        distribution.blob("abc", cache)


def test_a_look_ahead_expects_what_is_not_fetched_yet(real: Pins, lock: Lock, tmp_path: Path) -> None:
    nothing = Lock(tmp_path / "new")
    with pytest.raises(KubeproofError, match=r"etcd 3\.7\.3 was not fetched for amd64"):
        distribution.plan(real, nothing, ("etcd",), "amd64", DIRECTORIES)
    ahead = distribution.plan(real, nothing, ("etcd",), "amd64", DIRECTORIES, may_lack=True)
    assert ahead.files == ()
    assert ahead.expected == {f"/usr/local/bin/{name}": "etcd 3.7.3" for name in ("etcd", "etcdctl", "etcdutl")}
    assert ahead.facts["versions"] == {"etcd": "3.7.3"}
    # Of a component whose version is another one now, and of its image, nothing is taken from the lock.
    other = real.with_versions({"coredns": "9.9.9", "runc": "9.9.9"})
    ahead = distribution.plan(other, lock, ("workers", "containerd"), "amd64", DIRECTORIES, may_lack=True)
    assert set(ahead.expected.values()) == {"runc 9.9.9", "the image coredns 9.9.9"}
    assert ahead.facts["images"]["coredns"] == "localhost/kubeproof/coredns:9.9.9"
    known = distribution.plan(real, lock, ("workers",), "amd64", DIRECTORIES, may_lack=True)
    assert known == distribution.plan(real, lock, ("workers",), "amd64", DIRECTORIES)
