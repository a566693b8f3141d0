"""What is done to a fresh Debian to make it the image of a host."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import yaml

from kubeproof.core import debian as recipes
from kubeproof.core import paths
from kubeproof.local_hosts import image
from kubeproof.local_hosts.plan import System

RECIPE = image.recipe(System.DEBIAN_12)


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """As much of a Debian as matters here."""
    for name in ("etc/ssh", "etc/systemd/system", "var/lib/dbus", "var/cache/apt/archives", "usr/share/doc/bash"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef\n")
    (tmp_path / "etc/hostname").write_text("builder\n")
    (tmp_path / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    (tmp_path / "etc/ssh/ssh_host_rsa_key").write_text("secret")
    (tmp_path / "etc/ssh/ssh_config").write_text("kept")
    (tmp_path / "usr/share/doc/bash/copyright").write_text("long")
    return tmp_path


def test_hosts_do_not_share_an_identity(debian: Path) -> None:
    RECIPE.finish(debian)
    assert (debian / "etc/machine-id").read_text() == ""
    assert (debian / "etc/hostname").read_text() == ""
    assert not os.path.lexists(debian / "var/lib/dbus/machine-id")
    assert not (debian / "etc/ssh/ssh_host_rsa_key").exists()
    assert (debian / "etc/ssh/ssh_config").read_text() == "kept"


def test_what_packages_switch_on_is_off(debian: Path) -> None:
    wants = debian / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    for unit in ("haproxy.service", "ssh.service"):
        (wants / unit).symlink_to(f"/only/in/the/image/{unit}")
    RECIPE.finish(debian)
    assert [path.name for path in wants.iterdir()] == ["ssh.service"]
    assert "disable haproxy.service\n" in (debian / "etc/systemd/system-preset/10-kubeproof.preset").read_text()


def test_finishing_twice_is_finishing_once(debian: Path) -> None:
    RECIPE.finish(debian)
    RECIPE.finish(debian)
    assert (debian / "etc/systemd/system/getty.target").readlink() == Path("/dev/null")


def test_a_link_does_not_lead_out_of_the_tree(debian: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (debian / "etc/resolv.conf").symlink_to(outside)
    RECIPE.finish(debian)
    assert outside.read_text() == "kept"
    assert (debian / "etc/resolv.conf").read_text() == ""


def test_programs_are_executable(debian: Path) -> None:
    recipe = recipes.Recipe("bookworm", (), files={"usr/lib/own/program": "#!/bin/sh\n", "usr/lib/own/text": "text"})
    recipe.finish(debian)
    assert os.access(debian / "usr/lib/own/program", os.X_OK)
    assert (debian / "usr/lib/own/text").stat().st_mode & 0o111 == 0


def test_another_recipe_is_another_image() -> None:
    with_nano = dataclasses.replace(RECIPE, packages=(*RECIPE.packages, "nano"))
    assert with_nano.digest != RECIPE.digest


def test_the_order_of_packages_is_no_other_recipe() -> None:
    turned = dataclasses.replace(RECIPE, packages=RECIPE.packages[::-1])
    assert turned.digest == RECIPE.digest
    assert len(turned.digest) == 12


def test_no_other_system_is_said_to_have_been_tried() -> None:
    defaults = yaml.safe_load((paths.PROJECT / "roles" / "preflight" / "defaults" / "main.yml").read_text())
    # The other one says of itself that it is a Debian.
    tried = {"debian": [system.removeprefix("debian-") for system in System if system.startswith("debian-")]}
    assert defaults["preflight_operating_systems"] == tried


def test_a_container_os_has_no_python_and_no_packages(debian: Path) -> None:
    recipe = image.recipe(System.CONTAINER_OS)
    assert "python3" not in recipe.packages
    assert set(RECIPE.packages) - set(recipe.packages) == {"python3"}, "what components call is in its image"
    (debian / "usr/bin").mkdir(parents=True)
    for name in ("apt-get", "dpkg", "dpkg-query", "perl", "python3.11", "tar"):
        (debian / "usr/bin" / name).touch()
    recipe.finish(debian)
    assert [path.name for path in (debian / "usr/bin").iterdir()] == ["tar"]
    unit = debian / "etc/systemd/system/local-host-read-only.service"
    assert "ro /usr" in unit.read_text()
    link = debian / "etc/systemd/system/sysinit.target.wants" / unit.name
    assert str(link.readlink()) == f"/{unit.relative_to(debian)}"


def test_what_is_taken_out_makes_another_image_and_nothing_else_does() -> None:
    assert dataclasses.replace(RECIPE, absent=("usr/bin/x",)).digest != RECIPE.digest
    assert dataclasses.replace(RECIPE, absent=()).digest == RECIPE.digest
