"""What a program that failed had to say."""

from __future__ import annotations

import pytest

from kubeproof.backup.agent import running
from kubeproof.core import paths


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (b"", "it said nothing"),
        (b'{"level":"warn","msg":"retrying"}\nError: context deadline exceeded\n', "Error: context deadline exceeded"),
        (b'{"level":"fatal","msg":"restore failed","error":"no such file"}\n', "restore failed: no such file"),
    ],
)
def test_last_words(output: bytes, said: str) -> None:
    assert running.last_words(output) == said


def test_modules_on_the_host_have_the_same() -> None:
    there = paths.PROJECT / "plugins" / "module_utils" / "running.py"
    assert there.resolve().samefile(running.__file__)


def test_a_program_that_is_not_there_hangs_or_fails_is_told() -> None:
    assert running.run(["/bin/echo", "well"], 5, ValueError) == "well\n"
    with pytest.raises(ValueError, match=r"^/no/such cannot be run: No such file"):
        running.run(["/no/such"], 5, ValueError)
    with pytest.raises(ValueError, match=r"^sleep did not finish within 0 s$"):
        running.run(["/bin/sleep", "5"], 0.1, ValueError)
    with pytest.raises(ValueError, match=r"^sh exited with 3: no room$"):
        running.run(["/bin/sh", "-c", "echo no room >&2; exit 3"], 5, ValueError)
