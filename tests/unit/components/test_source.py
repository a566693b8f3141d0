"""Which source ``auto`` takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from tests.unit.components.release_host import ReleaseHost

from kubeproof.components import gobuild, selection, source
from kubeproof.components.download import Downloader
from kubeproof.components.lock import Lock
from kubeproof.components.pins import GROUPS, Pins
from kubeproof.core.errors import KubeproofError


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    return Lock(tmp_path)


def choose(
    pins: Pins, lock: Lock, downloader: Downloader, wanted: str = "auto", mirror: str = "", arch: str = "amd64"
) -> source.Choice:
    needed = selection.on_hosts(pins, GROUPS)
    return source.choose(wanted, mirror, needed, [arch], lock, downloader)


def installed(lock: Lock, pins: Pins, origin: str, names: Collection[str] = ("etcd", "kubernetes")) -> None:
    for name in names:
        lock.record_component("amd64", name, {"version": pins.components[name].version, "source": origin})
    lock.settle()


def toolchain(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    def answer() -> gobuild.Toolchain:
        if version is None:
            raise gobuild.NoToolchain("there is no Go toolchain")
        return gobuild.Toolchain(version, "amd64")

    monkeypatch.setattr(gobuild, "toolchain", answer)


def test_what_is_asked_for_is_taken(pins: Pins, lock: Lock, downloader: Downloader) -> None:
    assert choose(pins, lock, downloader, "go").source == "go"
    assert choose(pins, lock, downloader, "release").source == "release"


def test_release_if_its_hosts_answer(pins: Pins, lock: Lock, downloader: Downloader, server: ReleaseHost) -> None:
    assert choose(pins, lock, downloader).source == "release"
    assert sum(server.asked.values()) == 1, "one host, asked once"


def test_the_mirror_if_there_is_one(pins: Pins, lock: Lock, downloader: Downloader, server: ReleaseHost) -> None:
    assert choose(pins, lock, downloader, mirror=server.url).source == "mirror"


def test_go_if_they_do_not(
    pins: Pins, lock: Lock, downloader: Downloader, server: ReleaseHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    toolchain(monkeypatch, "1.26.8")
    choice = choose(pins, lock, downloader)
    assert choice.source == "go"
    assert "127.0.0.1" in choice.reason
    assert "Go 1.26.8" in choice.reason


def unpublished(pins: Pins, **fields: Any) -> Pins:
    etcd = pins.components["etcd"]
    assert etcd.release is not None
    changed = dataclasses.replace(etcd, release=dataclasses.replace(etcd.release, checksums="", **fields))
    return dataclasses.replace(pins, components={**pins.components, "etcd": changed})


def test_go_if_a_download_could_not_be_verified(
    pins: Pins, lock: Lock, downloader: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchain(monkeypatch, "1.26.8")
    choice = choose(unpublished(pins), lock, downloader)
    assert choice == source.Choice("go", "the release of etcd publishes no checksums; building with Go 1.26.8")
    assert choose(unpublished(pins, sha256={"amd64": "0" * 64}), lock, downloader).source == "release"
    toolchain(monkeypatch, None)
    with pytest.raises(KubeproofError, match=r"publishes no checksums.*no Go toolchain.*\n.*component_sha256"):
        choose(unpublished(pins), lock, downloader)


def test_an_error_that_says_what_to_do_if_there_is_neither(
    pins: Pins, lock: Lock, downloader: Downloader, server: ReleaseHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    toolchain(monkeypatch, None)
    with pytest.raises(KubeproofError, match=r"can't be reached.*no Go toolchain.*\n.*component_mirror, or install Go"):
        choose(pins, lock, downloader)


def test_an_outage_does_not_change_the_source_of_a_cluster(
    pins: Pins, lock: Lock, downloader: Downloader, server: ReleaseHost
) -> None:
    installed(lock, pins, "release")
    server.stop()
    assert choose(pins, lock, downloader).source == "release"


def test_hosts_that_answer_again_do_not_either(
    pins: Pins, lock: Lock, downloader: Downloader, server: ReleaseHost
) -> None:
    installed(lock, pins, "go")
    assert choose(pins, lock, downloader).source == "go"
    assert not server.asked


def test_a_new_version_comes_from_where_the_former_did(
    pins: Pins, lock: Lock, downloader: Downloader, server: ReleaseHost
) -> None:
    installed(lock, pins, "go")
    assert choose(pins.with_versions({"etcd": "3.7.4"}), lock, downloader).source == "go"
    assert not server.asked


def test_so_does_another_component(pins: Pins, lock: Lock, downloader: Downloader, server: ReleaseHost) -> None:
    installed(lock, pins, "release", ["kubernetes"])
    server.stop()
    assert choose(pins, lock, downloader).source == "release"


def test_so_does_another_architecture(pins: Pins, lock: Lock, downloader: Downloader) -> None:
    installed(lock, pins, "go")
    assert choose(pins, lock, downloader, arch="arm64").source == "go"


def test_what_is_left_of_an_architecture_that_no_host_has_counts_for_nothing(
    pins: Pins, lock: Lock, downloader: Downloader
) -> None:
    installed(lock, pins, "release")
    lock.record_component("arm64", "etcd", {"version": "3.7.3", "source": "go"})
    lock.settle()
    assert choose(pins, lock, downloader).source == "release"


def test_what_was_only_fetched_counts_for_nothing_in_an_installed_cluster(
    pins: Pins, lock: Lock, downloader: Downloader
) -> None:
    installed(lock, pins, "release")
    lock.record_component("amd64", "etcd", {"version": "3.7.4", "source": "go"})
    assert choose(pins, lock, downloader).source == "release"


def test_a_first_installation_that_was_not_finished_goes_on_from_the_same_source(
    pins: Pins, lock: Lock, downloader: Downloader
) -> None:
    lock.record_component("amd64", "etcd", {"version": "3.7.3", "source": "go"})
    assert choose(pins, lock, downloader).source == "go"


def test_downloads_are_the_same_from_a_mirror(pins: Pins, lock: Lock, downloader: Downloader) -> None:
    installed(lock, pins, "release", ["etcd"])
    installed(lock, pins, "mirror", ["kubernetes"])
    assert choose(pins, lock, downloader).source == "release"
    assert choose(pins, lock, downloader, mirror="https://mirror.example.org").source == "mirror"


def test_of_several_sources_none_is_chosen(pins: Pins, lock: Lock, downloader: Downloader) -> None:
    installed(lock, pins, "release", ["etcd"])
    installed(lock, pins, "go", ["kubernetes"])
    with pytest.raises(KubeproofError, match=r"etcd from downloads and kubernetes from go\n.*set component_source"):
        choose(pins, lock, downloader)
    assert choose(pins, lock, downloader, "go").source == "go"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"wanted": "docker"}, "must be one of auto, release, mirror, go"),
        ({"wanted": "mirror"}, "component_mirror is empty"),
        ({"wanted": "mirror", "mirror": "mirror.example.org"}, r"component_mirror is no URL.*\n.*https://mirror"),
        ({"wanted": "auto", "mirror": "mirror.example.org"}, "component_mirror is no URL"),
        ({"wanted": "auto", "mirror": "https://mirror:port"}, "component_mirror is no URL"),
    ],
)
def test_wrong_settings(
    pins: Pins, lock: Lock, downloader: Downloader, arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(KubeproofError, match=problem):
        choose(pins, lock, downloader, **arguments)
