"""The module that imports images, against a stand-in for containerd's client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import runtime_images

# Keeps images in a file beside itself; an archive is a text: reference and digest.
CTR = """#!/usr/bin/env python3
import fcntl, json, pathlib, sys
state = pathlib.Path(__file__).with_name("images.json")
arguments = sys.argv[6:]
lock = open(__file__)
fcntl.flock(lock, fcntl.LOCK_EX)
images = json.loads(state.read_text())
if arguments[0] == "list":
    print("REF TYPE DIGEST SIZE PLATFORMS LABELS")
    for reference, (digest, labels) in images.items():
        print(reference, "application/vnd.oci.image.manifest.v1+json", digest, "60.8 MiB", "linux/amd64", labels)
elif arguments[0] == "import":
    text = pathlib.Path(arguments[-1]).read_text().split()
    if len(text) != 2:
        sys.exit("ctr: unrecognized image format")
    label = arguments[arguments.index("--label") + 1] if "--label" in arguments else "io.cri-containerd.image=managed"
    images[text[0]] = (text[1], label)
elif arguments[0] == "label":
    digest, labels = images[arguments[1]]
    key, _, value = arguments[2].partition("=")
    kept = [each for each in labels.split(",") if not each.startswith(key + "=")]
    images[arguments[1]] = (digest, ",".join(kept + [arguments[2]] * bool(value)))
state.write_text(json.dumps(images))
"""


class Containerd:
    """The stand-in, and archives for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ctr = directory / "ctr"
        self.ctr.write_text(CTR)
        self.ctr.chmod(0o755)
        self.store({})
        self.runtime = runtime_images.Runtime(str(self.ctr), "/run/containerd.sock")

    def store(self, images: dict[str, tuple[str, str]]) -> None:
        (self.directory / "images.json").write_text(json.dumps(images))

    def images(self) -> dict[str, list[str]]:
        images: dict[str, list[str]] = json.loads((self.directory / "images.json").read_text())
        return images

    def archive(self, name: str, digest: str, tag: str = "1") -> dict[str, Any]:
        path = self.directory / f"{name}.tar"
        path.write_text(f"localhost/{name}:{tag} {digest}")
        return {"reference": f"localhost/{name}:{tag}", "archive": str(path), "digest": digest}

    def converge(self, wanted: list[dict[str, Any]], *, releases: bool = True, check: bool = False) -> list[str]:
        changes = runtime_images.converge(self.runtime, wanted, releases, check_mode=check)
        return [f"{change['path']} {change['what']}" for change in changes]


@pytest.fixture
def containerd(tmp_path: Path) -> Containerd:
    return Containerd(tmp_path)


def test_missing_images_are_imported_once(containerd: Containerd) -> None:
    wanted = [containerd.archive("pause", "sha256:1"), containerd.archive("coredns", "sha256:2")]
    assert containerd.converge(wanted) == ["localhost/pause:1 imported", "localhost/coredns:1 imported"]
    # Nothing brings back what the kubelet would remove.
    for reference, digest in (("localhost/pause:1", "sha256:1"), ("localhost/coredns:1", "sha256:2")):
        assert containerd.images()[reference] == [digest, runtime_images.PINNED]
    assert containerd.converge(wanted) == []


def test_an_image_with_another_digest_is_imported_again(containerd: Containerd) -> None:
    containerd.converge([containerd.archive("coredns", "sha256:1")])
    assert containerd.converge([containerd.archive("coredns", "sha256:2")]) == ["localhost/coredns:1 imported"]
    assert containerd.images()["localhost/coredns:1"][0] == "sha256:2"


def test_an_image_that_lost_its_pin_is_pinned_again(containerd: Containerd) -> None:
    wanted = [containerd.archive("pause", "sha256:1")]
    containerd.store({"localhost/pause:1": ("sha256:1", "io.cri-containerd.image=managed")})
    assert containerd.converge(wanted) == ["localhost/pause:1 pinned"]
    assert containerd.converge(wanted) == []


def test_former_versions_may_be_removed_once_no_upgrade_needs_them(containerd: Containerd) -> None:
    other = ("localhost/mine:1", ("sha256:9", runtime_images.PINNED))
    containerd.store(dict([other]))
    containerd.converge([containerd.archive("coredns", "sha256:1", "1.14.0")])
    wanted = [containerd.archive("coredns", "sha256:2", "1.15.0")]
    assert containerd.converge(wanted, releases=False) == ["localhost/coredns:1.15.0 imported"]
    assert containerd.images()["localhost/coredns:1.14.0"][1] == runtime_images.PINNED
    assert containerd.converge(wanted, check=True) == ["localhost/coredns:1.14.0 unpinned"]
    assert containerd.converge(wanted) == ["localhost/coredns:1.14.0 unpinned"]
    assert containerd.converge(wanted) == []
    assert containerd.images() == {
        "localhost/mine:1": [*other[1]],
        "localhost/coredns:1.14.0": ["sha256:1", ""],
        "localhost/coredns:1.15.0": ["sha256:2", runtime_images.PINNED],
    }


def test_check_mode_says_the_same_and_imports_nothing(containerd: Containerd) -> None:
    assert containerd.converge([containerd.archive("pause", "sha256:1")], check=True) == ["localhost/pause:1 imported"]
    assert containerd.images() == {}


@pytest.mark.parametrize(("before", "told"), [("never", True), ("otherwise", True), ("same", False)])
def test_a_plan_for_a_runtime_that_is_not_there_yet(containerd: Containerd, before: str, told: bool) -> None:
    """It is installed or started by the run, and has what it was given, if it was."""
    wanted = [containerd.archive("pause", "sha256:1")]
    there = runtime_images.planned(containerd.runtime, wanted, True, before)
    containerd.ctr.unlink()
    assert runtime_images.planned(containerd.runtime, wanted, True, before) == (there if told else [])


def test_an_archive_that_holds_something_else_is_said(containerd: Containerd) -> None:
    wanted = containerd.archive("pause", "sha256:1")
    Path(wanted["archive"]).write_text("localhost/pause:1 sha256:2")
    with pytest.raises(RuntimeError, match=r"pause\.tar does not hold localhost/pause:1 with digest sha256:1"):
        containerd.converge([wanted])


def test_what_the_client_complains_of_is_said(containerd: Containerd) -> None:
    wanted = containerd.archive("pause", "sha256:1")
    Path(wanted["archive"]).write_text("")
    with pytest.raises(RuntimeError, match=r"import .*ended with 1: ctr: unrecognized image format"):
        containerd.converge([wanted])
