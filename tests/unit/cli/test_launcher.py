"""The launcher: a virtual environment that is made once, again when the lock changes, and completed when half made."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from kubeproof.core import paths

_HANDED_OVER = """\
import os, sys
print(os.getcwd(), *sys.argv[1:], *(name for name in os.environ if name.startswith("KUBEPROOF_")))
"""

# A Python that the one that made an environment was not.
_OTHER_PYTHON = """\
#!/bin/sh
case $* in
    *base_prefix*) echo another ;;
    *) exec python3 "$@" ;;
esac
"""

# As far as the launcher uses it, and quick: `uv venv` makes an environment, `uv pip sync` fails if asked to.
_UV = """\
#!/bin/sh
case $1 in
    venv) exec "$4" -m venv --without-pip "$5" ;;
    pip) echo sync >>"$UV_CALLS"; exit "${UV_STATUS:-0}" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of the project, as far as the launcher can tell."""
    for name in ("KUBEPROOF_PYTHON", "KUBEPROOF_VENV"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "clone"
    (project / "src" / "kubeproof").mkdir(parents=True)
    (project / "src" / "kubeproof" / "__main__.py").write_text(_HANDED_OVER)
    (project / "requirements.lock").write_text("")
    shutil.copy(paths.PROJECT / "kubeproof", project)
    return project


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for uv on the PATH; returns the file that gets a line for each installation."""
    program = tmp_path / "bin" / "uv"
    program.parent.mkdir()
    program.write_text(_UV)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    calls = tmp_path / "calls"
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("UV_CALLS", str(calls))
    return calls


def launch(program: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def installations(calls: Path) -> int:
    return len(calls.read_text().splitlines()) if calls.exists() else 0


def test_arguments_and_directory_are_handed_over(clone: Path, uv: Path, tmp_path: Path) -> None:
    done = launch(clone / "kubeproof", "kubectl", "get", "--", "a b", cwd=tmp_path)
    assert done.stdout == f"{tmp_path} kubectl get -- a b\n"
    assert "once" in done.stderr
    assert installations(uv) == 1


def test_the_environment_is_made_once(clone: Path, uv: Path) -> None:
    launch(clone / "kubeproof")
    again = launch(clone / "kubeproof")
    assert again.stderr == ""
    assert installations(uv) == 1


def test_a_changed_lock_makes_another_environment(clone: Path, uv: Path) -> None:
    launch(clone / "kubeproof")
    (clone / "requirements.lock").write_text("# another\n")
    assert launch(clone / "kubeproof").returncode == 0
    assert installations(uv) == 2


def test_an_installation_that_failed_is_done_again(clone: Path, uv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_STATUS", "1")
    assert launch(clone / "kubeproof").returncode != 0
    monkeypatch.delenv("UV_STATUS")
    assert launch(clone / "kubeproof").returncode == 0
    assert installations(uv) == 2


def test_another_python_makes_another_environment(
    clone: Path, uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(clone / "kubeproof")
    monkeypatch.setenv("KUBEPROOF_PYTHON", "python3")
    launch(clone / "kubeproof")
    assert installations(uv) == 1, "it is the same Python"
    other = tmp_path / "python-of-ours"
    other.write_text(_OTHER_PYTHON)
    other.chmod(0o755)
    monkeypatch.setenv("KUBEPROOF_PYTHON", str(other))
    assert launch(clone / "kubeproof").returncode == 0
    assert installations(uv) == 2


def test_environments_can_be_side_by_side(
    clone: Path, uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(clone / "kubeproof")
    monkeypatch.setenv("KUBEPROOF_VENV", str(tmp_path / "new" / "venv"))
    done = launch(clone / "kubeproof")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "venv" / "requirements.lock").is_file()
    assert "KUBEPROOF_VENV" not in done.stdout
    monkeypatch.delenv("KUBEPROOF_VENV")
    assert launch(clone / "kubeproof").stderr == ""
    assert installations(uv) == 2


def test_a_python_that_is_none_is_named(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEPROOF_PYTHON", "/bin/false")
    done = launch(clone / "kubeproof")
    assert done.returncode == 1
    assert "KUBEPROOF_PYTHON: /bin/false is no Python 3.11 or newer" in done.stderr


def test_it_finds_its_project_through_links(clone: Path, uv: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.symlink_to("clone/kubeproof")
    second.symlink_to(first)
    assert launch(second, cwd=tmp_path).returncode == 0
    assert (clone / ".venv" / "requirements.lock").is_file()


def test_without_uv_it_is_pip(clone: Path) -> None:
    assert launch(clone / "kubeproof").returncode == 0


def test_a_python_that_is_too_old_is_named(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("dirname", "id", "cmp", "flock"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    (programs / "python3").write_text("#!/bin/sh\nexit 1\n")
    (programs / "python3").chmod(0o755)
    (programs / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(programs))
    done = launch(clone / "kubeproof")
    assert done.returncode == 1
    assert "sudo apt-get install python3 python3-venv" in done.stderr
