"""What the controller must have installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubeproof import requirements
from kubeproof.errors import KubeproofError
from kubeproof.requirements import Requirement


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been given to apt-get."""
    calls: list[list[str]] = []
    monkeypatch.setattr(requirements, "_install", calls.append)
    monkeypatch.setattr(requirements, "_is_debian", lambda: True)
    return calls


def test_what_is_there_is_not_installed(tmp_path: Path, installed: list[list[str]]) -> None:
    requirements.ensure([Requirement("sh", "dash"), Requirement(str(tmp_path), "x")], print)
    assert installed == []


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch, installed: list[list[str]]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    missing = [Requirement("no-such-program", "one"), Requirement("/no/such/file", "two")]
    with pytest.raises(KubeproofError) as error:
        requirements.ensure(missing, print)
    assert "no-such-program, /no/such/file" in str(error.value)
    assert "sudo apt-get install one two" in str(error.value)
    assert installed == []


def test_root_on_debian_has_it_installed_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: list[list[str]]
) -> None:
    file = tmp_path / "file"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(requirements, "_install", lambda packages: file.write_text(" ".join(packages)))
    said: list[str] = []
    requirements.ensure([Requirement(str(file), "b"), Requirement(str(file), "a")], said.append)
    assert file.read_text() == "a b"
    assert said == ["installing a, b with apt-get"]


def test_a_package_without_what_was_promised_is_an_error(
    monkeypatch: pytest.MonkeyPatch, installed: list[list[str]]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(KubeproofError, match="no-such-program did not come"):
        requirements.ensure([Requirement("no-such-program", "one")], print)


def test_administrators_programs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/usr/sbin")
    requirements.complete_path()
    requirements.complete_path()
    assert os.environ["PATH"] == "/usr/bin:/usr/sbin:/usr/local/sbin:/sbin"
