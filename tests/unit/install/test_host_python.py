"""What takes a Python to a host, in a real shell, with a place of the test's own for the host's."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kubeproof.core.errors import KubeproofError
from kubeproof.install import host_python
from kubeproof.settings.portable_python import DIRECTORY, OURS


def archive(start: str = "#!/bin/sh\necho works\n") -> bytes:
    """Instead of a Python."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as made:
        entry = tarfile.TarInfo("bin/python3")
        entry.size, entry.mode = len(start), 0o755
        made.addfile(entry, io.BytesIO(start.encode()))
    return gzip.compress(written.getvalue(), mtime=0)


class Shell:
    """A host whose /opt is a directory of the test's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ours = root / OURS[1:]
        self.python = root / DIRECTORY[1:]

    def run(self, program: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        program = program.replace("/opt", f"{self.root}/opt").replace("/var/lib", f"{self.root}/var/lib")
        return subprocess.run(["sh", "-c", program], input=data, capture_output=True, check=False)

    def asked(self) -> host_python.Found:
        return host_python.answered(self.run(host_python.ask()).stdout.decode())

    def given(self, data: bytes, digest: str = "") -> subprocess.CompletedProcess[bytes]:
        return self.run(host_python.receive(digest or hashlib.sha256(data).hexdigest()), data)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_it_is_brought_found_and_removed_with_what_had_to_be_made(shell: Shell) -> None:
    assert (shell.asked().digest, shell.asked().installed) == ("", False)
    done = shell.given(archive())
    assert done.stdout == b"placed\n", done.stderr
    assert shell.asked().digest == hashlib.sha256(archive()).hexdigest()
    assert sorted(path.name for path in shell.ours.iterdir()) == ["python"]

    assert shell.run(host_python.remove()).stdout == b"removed\n"
    assert list(shell.root.iterdir()) == [], "there was no /opt before"


def test_a_directory_that_was_there_stays_and_so_does_what_others_have_put_into_ours(shell: Shell) -> None:
    (shell.root / "opt").mkdir()
    shell.given(archive())
    shell.run(host_python.remove())
    assert [path.name for path in shell.root.iterdir()] == ["opt"]
    shell.given(archive())
    (shell.ours / "bin").mkdir()
    shell.run(host_python.remove())
    assert [path.name for path in shell.ours.iterdir()] == ["bin"]


def test_what_was_cut_off_or_altered_is_not_used(shell: Shell) -> None:
    whole = archive()
    shell.given(whole)
    done = shell.given(whole[:-4], hashlib.sha256(whole).hexdigest())
    assert done.returncode != 0
    assert b"damaged on its way" in done.stderr
    assert shell.asked().digest == hashlib.sha256(whole).hexdigest(), "the one before is still there"
    assert sorted(path.name for path in shell.ours.iterdir()) == ["python"]


def test_one_that_does_not_work_takes_nobodys_place(shell: Shell) -> None:
    works, fails = archive(), archive("#!/bin/sh\nexit 1\n")
    shell.given(works)
    assert shell.given(fails).returncode != 0
    assert shell.asked().digest == hashlib.sha256(works).hexdigest()
    assert shell.asked().partial, "which a reset removes, too"
    assert shell.given(works).stdout == b"placed\n"
    assert not shell.asked().partial


def test_that_opt_was_made_for_it_is_remembered_when_it_is_replaced(shell: Shell) -> None:
    shell.given(archive())
    shell.given(archive("#!/bin/sh\necho newer\n"))
    shell.run(host_python.remove())
    assert list(shell.root.iterdir()) == []


def test_a_host_where_something_was_installed_says_so(shell: Shell) -> None:
    manifest = shell.root / "var/lib/kubeproof/manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    assert shell.asked().installed


def test_what_a_host_lacks_is_named() -> None:
    found = host_python.answered("machine aarch64\nlacks tar\nlacks gzip\n")
    assert (found.arch, found.python) == ("arm64", False)
    with pytest.raises(KubeproofError, match="it lacks tar, gzip"):
        host_python.check(found)
    host_python.check(host_python.answered("machine x86_64\n"))
    with pytest.raises(KubeproofError, match="uname"):
        host_python.answered("")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"rc": 127, "module_stderr": "/bin/sh: 1: /usr/bin/python3: not found"}, "it has no Python"),
        ({"rc": 127, "module_stderr": "bash: line 1: /usr/bin/python3: No such file or directory"}, "it has no Python"),
        ({"rc": 127, "module_stdout": "/bin/sh: /usr/bin/python3: not found\r\n"}, "it has no Python"),
        ({"rc": 127, "msg": "The module interpreter '/usr/bin/python3' was not found."}, "it has no Python"),
        (
            {"rc": 1, "msg": "ansible-core requires a minimum of Python version 3.9. Current version: 3.6.8 (default)"},
            "its Python is 3.6.8, and ansible-core needs 3.9 or newer",
        ),
        ({"rc": 1, "module_stderr": "sudo: a password is required"}, ""),
        ({"rc": 127, "module_stderr": "sudo: not found"}, ""),
        ({"rc": 1, "module_stderr": "python3: No such file or directory: '/etc/x'"}, ""),
        ({}, ""),
    ],
)
def test_what_is_wrong_with_a_hosts_python(answer: dict[str, Any], expected: str) -> None:
    assert host_python.lacking(answer) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ""),
        ("auto_silent", ""),
        ("/opt/kubeproof/python/bin/python3", ""),
        ("/usr/bin/python3", "/usr/bin/python3"),
    ],
)
def test_an_interpreter_that_the_inventory_names_is_not_replaced(given: object, expected: str) -> None:
    assert host_python.named(given) == expected
