"""What the controller must have installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubeproof.core import controller_packages
from kubeproof.core.controller_packages import Requirement
from kubeproof.core.errors import KubeproofError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been given to apt-get."""
    calls: list[list[str]] = []
    monkeypatch.setattr(controller_packages, "_install", calls.append)
    monkeypatch.setattr(controller_packages, "_is_debian", lambda: True)
    return calls


def test_what_is_there_is_not_installed(tmp_path: Path, installed: list[list[str]]) -> None:
    controller_packages.ensure([Requirement("sh", "dash"), Requirement(str(tmp_path), "x")], print)
    assert installed == []


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch, installed: list[list[str]]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    missing = [Requirement("no-such-program", "one"), Requirement("/no/such/file", "two")]
    with pytest.raises(KubeproofError) as error:
        controller_packages.ensure(missing, print)
    assert "no-such-program, /no/such/file" in str(error.value)
    assert "sudo apt-get install one two" in str(error.value)
    assert installed == []


def test_root_on_debian_has_it_installed_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: list[list[str]]
) -> None:
    file = tmp_path / "file"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(controller_packages, "_install", lambda packages: file.write_text(" ".join(packages)))
    said: list[str] = []
    controller_packages.ensure([Requirement(str(file), "b"), Requirement(str(file), "a")], said.append)
    assert file.read_text() == "a b"
    assert said == ["installing a, b with apt-get"]


def test_a_package_without_what_was_promised_is_an_error(
    monkeypatch: pytest.MonkeyPatch, installed: list[list[str]]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(KubeproofError, match="no-such-program did not come"):
        controller_packages.ensure([Requirement("no-such-program", "one")], print)


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would be installed as root on a Debian 12 that has no QEMU, with apt-get's options before it."""
    calls: list[list[str]] = []
    found = [(), (10, 0)]
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(controller_packages, "_is_debian", lambda: True)
    monkeypatch.setattr(controller_packages, "VIRTUAL_MACHINES", ())
    monkeypatch.setattr(controller_packages, "_qemu_version", lambda: found.pop(0))
    monkeypatch.setattr(controller_packages, "_candidate", lambda _: (7, 2))
    monkeypatch.setattr(controller_packages, "_codename", lambda: "bookworm")
    monkeypatch.setattr(
        controller_packages, "_install", lambda packages, options=(): calls.append([*options, *packages])
    )
    monkeypatch.setattr("kubeproof.core.debian.mirror", lambda: "http://mirror.example/debian")
    return calls


def test_an_old_releases_qemu_comes_from_its_backports_and_nothing_else_does(qemu: list[list[str]]) -> None:
    controller_packages.ensure_qemu(print)
    (call,) = qemu
    assert call[-2:] == ["--target-release=bookworm-backports", "qemu-system-x86"]
    sources = next(option.partition("SourceParts=")[2] for option in call if "SourceParts" in option)
    assert not Path(sources).exists(), "the list of sources is for one call"


def test_a_release_that_has_a_new_qemu_gives_its_own(qemu: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller_packages, "_candidate", lambda _: (10, 0))
    controller_packages.ensure_qemu(print)
    assert qemu == [["qemu-system-x86"]]


def test_a_qemu_that_is_too_old_is_named_with_what_to_do(
    qemu: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(KubeproofError, match=r"lacks QEMU 8\.0 or newer"):
        controller_packages.ensure_qemu(print)
    assert qemu == []


@pytest.mark.parametrize(
    ("text", "version"),
    [("  Candidate: 1:10.0.2+ds-2", (10, 0)), ("QEMU emulator version 7.2.22 (Debian 1:7.2)", (7, 2)), ("(none)", ())],
)
def test_versions_are_read(text: str, version: tuple[int, ...]) -> None:
    assert controller_packages._version(text) == version


def test_administrators_programs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/usr/sbin")
    controller_packages.complete_path()
    controller_packages.complete_path()
    assert os.environ["PATH"] == "/usr/bin:/usr/sbin:/usr/local/sbin:/sbin"
