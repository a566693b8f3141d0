"""Locks between processes, by files and by directories."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kubeproof.core.locking import locked, locked_directory


def is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@pytest.mark.parametrize(("lock", "name"), [(locked, "lock"), (locked_directory, "")])
def test_it_is_held_until_the_end_however_that_comes(
    lock: Callable[[Path], AbstractContextManager[None]], name: str, tmp_path: Path
) -> None:
    path = tmp_path / name

    def fails() -> None:
        with lock(path):
            assert not is_free(path)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fails()
    assert is_free(path)
    assert [each.name for each in tmp_path.iterdir()] == [name] * bool(name)
