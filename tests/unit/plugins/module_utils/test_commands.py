"""Programs that must succeed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.module_utils.commands import CommandFailed, run


def test_what_a_program_prints_is_returned() -> None:
    assert run(["sh", "-c", "cat; echo $LC_ALL $MORE; echo ignored >&2"], "text ", {"MORE": "more"}) == "text C more\n"


def test_without_input_it_does_not_read_the_modules(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("the module's")
    saved = os.dup(0)
    with (tmp_path / "input").open() as stream:
        os.dup2(stream.fileno(), 0)
    try:
        assert run(["cat"]) == ""
    finally:
        os.dup2(saved, 0)
        os.close(saved)


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo no >&2; exit 3", "no"), ("echo neither", "neither"), ("echo neither; echo no >&2", "no")],
)
def test_a_program_that_fails_is_named_with_what_it_complained_of(script: str, said: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        run(["sh", "-c", f"{script}; exit 3"])
    assert str(failed.value) == f"`sh -c '{script}; exit 3'` ended with 3: {said}"


def test_a_program_that_is_missing_or_hangs_is_named() -> None:
    with pytest.raises(CommandFailed, match=r"^nonexistent is not installed on this host$"):
        run(["nonexistent"])
    with pytest.raises(CommandFailed, match=r"^`sleep 60` did not end in 1 s$"):
        run(["sleep", "60"], timeout=1)
