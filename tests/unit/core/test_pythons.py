"""Which other Python is for which version of ansible-core, and where Pythons are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kubeproof.core import paths, pythons

LOCK = """\
ansible-compat==26.1.0 \\
    --hash=sha256:00
ansible-core==2.19.14 ; python_full_version < '3.12' \\
    --hash=sha256:01
ansible-core==2.21.5 ; python_full_version >= '3.12' \\
    --hash=sha256:02
"""


def fake_python(path: Path, answer: str, status: int = 0) -> Path:
    """A program that gives an answer when it is asked which Python it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {answer}\nexit {status}\n")
    path.chmod(0o755)
    return path


def test_the_newest_python_is_taken_for_each_other_core() -> None:
    here = {version: Path(f"/python{version}") for version in ("3.13", "3.12", "3.11")}
    newer = pythons.Core("2.21.5", ["3.14", "3.13", "3.12"], Path("/python3.13"))
    older = pythons.Core("2.19.14", ["3.11"], Path("/python3.11"))
    assert pythons.other_cores(LOCK, here, own="3.11") == [newer]
    assert pythons.other_cores(LOCK, here, own="3.14") == [older]


def test_a_core_without_a_python_here_is_named() -> None:
    assert pythons.other_cores(LOCK, {}, own="3.12") == [pythons.Core("2.19.14", ["3.11"], None)]


def test_a_lock_with_one_core_has_no_other() -> None:
    assert pythons.other_cores("ansible-core==2.21.5 \\\n", {}, own="3.12") == []


def test_every_python_has_a_core_by_the_projects_lock() -> None:
    lock = (paths.PROJECT / "requirements.lock").read_text()
    for own in pythons.VERSIONS:
        others = pythons.other_cores(lock, {}, own)
        assert not any(own in core.takes for core in others)
        assert {version for core in others for version in core.takes} < set(pythons.VERSIONS)


def test_pythons_are_found_on_the_path_and_among_pyenvs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path, pyenv = tmp_path / "bin", tmp_path / "pyenv"
    monkeypatch.setenv("PATH", f"{on_path}:/bin:/usr/bin")
    wanted = {"3.14": fake_python(on_path / "python3.14", "3.14.2")}
    # pyenv's own, on the PATH, for a Python that is not chosen.
    fake_python(on_path / "python3.13", "", status=127)
    for release in ("3.13.2", "3.13.9", "3.13.10", "3.13-dev"):
        fake_python(pyenv / "versions" / release / "bin" / "python3.13", release)
    wanted["3.13"] = pyenv / "versions" / "3.13.10" / "bin" / "python3.13"
    # One without the module venv, and one that is another than its name says.
    fake_python(on_path / "python3.12", "3.12.1", status=1)
    fake_python(on_path / "python3.11", "3.10.4")
    assert pythons.find(pyenv) == wanted


def test_this_python_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (tmp_path / name).symlink_to(Path(sys.base_prefix) / "bin" / name)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pythons.find(tmp_path)[name.removeprefix("python")] == tmp_path / name
