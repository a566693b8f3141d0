"""The program that makes and removes directories of volumes, as root on nodes: it touches no others."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kubeproof.components import pins

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go toolchain here")

SOURCES = pins.ROOT / "go" / "local-path"


@pytest.fixture(scope="module", params=sorted(each.name for each in SOURCES.iterdir()))
def helper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("helper") / "local-path-helper"
    command = ["go", "build", "-ldflags", "-X main.VERSION=v1.2.3", "-o", str(built), "./helper"]
    subprocess.run(command, cwd=SOURCES / request.param, env={**os.environ, "GOWORK": "off"}, check=True)
    return built


def called(helper: Path, above: Path | str, path: Path | str, action: str) -> str:
    """What it complains of; nothing, if it has done what it was asked for. As the provisioner calls it."""
    arguments = [str(helper), "-p", str(path), "-s", "1024", "-m", "Filesystem", "-a", action]
    ended = subprocess.run(
        arguments, env={"LOCAL_PATH_DIRECTORY": str(above)}, text=True, capture_output=True, check=False
    )
    assert (ended.returncode == 0) is (ended.stderr == "")
    return ended.stderr


def test_a_directory_is_made_for_any_user_and_removed_with_what_is_in_it(helper: Path, tmp_path: Path) -> None:
    volume = tmp_path / "pvc-1_default_data"
    assert called(helper, tmp_path, volume, "create") == ""
    assert volume.stat().st_mode & 0o7777 == 0o777
    (volume / "kept").write_text("kept")
    assert called(helper, tmp_path, volume, "create") == "", "a call that was interrupted is made again"
    assert (volume / "kept").exists()
    assert called(helper, tmp_path, volume, "delete") == ""
    assert not volume.exists()
    assert called(helper, tmp_path, volume, "delete") == ""


@pytest.mark.parametrize("action", ["create", "delete"])
@pytest.mark.parametrize("path", ["", ".", "..", "../other", "a/b", "a/", "../volumes/../other", "/", "/etc"])
def test_what_is_not_directly_in_the_directory_of_volumes_is_refused(
    helper: Path, tmp_path: Path, path: str, action: str
) -> None:
    above, other = tmp_path / "volumes", tmp_path / "other"
    for each in (above / "a" / "b", other):
        each.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert "is not directly in" in called(helper, above, path if path.startswith("/") else f"{above}/{path}", action)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_directory_of_volumes_that_is_not_said_is_none(helper: Path, tmp_path: Path) -> None:
    assert "is not directly in" in called(helper, "", tmp_path / "volume", "create")
    assert not (tmp_path / "volume").exists()


def test_links_are_not_followed(helper: Path, tmp_path: Path) -> None:
    above, other = tmp_path / "volumes", tmp_path / "other"
    above.mkdir()
    other.mkdir(mode=0o700)
    (above / "link").symlink_to(other)
    assert "is no directory" in called(helper, above, above / "link", "create")
    assert other.stat().st_mode & 0o777 == 0o700
    assert called(helper, above, above / "link", "delete") == ""
    assert other.is_dir()


def test_it_knows_what_it_is_called_for_and_its_version(helper: Path, tmp_path: Path) -> None:
    assert "neither create nor delete" in called(helper, tmp_path, tmp_path / "volume", "replace")
    said = subprocess.run([str(helper), "--version"], text=True, capture_output=True, check=True)
    assert said.stdout.strip().endswith("v1.2.3")
