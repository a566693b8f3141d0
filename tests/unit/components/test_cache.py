"""The cache by content: what it promises to several processes, and to one that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kubeproof.components.cache import Cache, key_of
from kubeproof.core.errors import KubeproofError

KEY = key_of("test")


def store(cache: Cache, content: bytes, key: str = KEY) -> str:
    with cache.work() as directory:
        (directory / "file").write_bytes(content)
        return cache.store(key, {"file": directory / "file"}, {"how": "by hand"}).blobs["file"].sha256


def test_a_result_is_found_again_by_its_key(cache: Cache) -> None:
    digest = store(cache, b"content")
    result = cache.result(KEY)
    assert result is not None
    assert result.blobs["file"].path.read_bytes() == b"content"
    assert (result.blobs["file"].sha256, result.note["how"]) == (digest, "by hand")
    assert cache.result(key_of("another")) is None


def test_the_same_content_is_kept_once(cache: Cache) -> None:
    assert store(cache, b"content") == store(cache, b"content", key_of("another"))
    assert len(list((cache.directory / "blobs").iterdir())) == 1


def test_a_result_without_its_blob_is_none(cache: Cache) -> None:
    digest = store(cache, b"content")
    (cache.directory / "blobs" / digest).unlink()
    assert cache.result(KEY) is None


def test_a_damaged_result_is_none(cache: Cache) -> None:
    store(cache, b"content")
    (cache.directory / "results" / f"{KEY}.json").write_text("{")
    assert cache.result(KEY) is None


def test_keys_tell_their_parts_apart() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")


def test_work_is_removed_after_an_error(cache: Cache) -> None:
    def work() -> None:
        with cache.work() as directory:
            (directory / "half").write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert not list(cache.directory.glob("work/*/*/half"))


def test_one_does_a_piece_of_work_while_others_wait(cache: Cache) -> None:
    doing, most = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal doing, most
        with cache.lock(KEY):
            with guard:
                doing += 1
                most = max(most, doing)
            time.sleep(0.01)
            with guard:
                doing -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


HOLDER = """
import sys, time
from pathlib import Path
from kubeproof.components.cache import Cache
cache = Cache(Path(sys.argv[1]))
with cache.lock("k"), cache.work() as directory:
    (directory / "half").write_bytes(b"half")
    print("holding", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_and_its_lock_is_free(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        with Cache(tmp_path):
            assert list(tmp_path.glob("work/*/*/half")), "a living process's work is left alone"
        process.send_signal(signal.SIGKILL)
    with Cache(tmp_path) as cache, cache.lock("k"):
        assert not list(tmp_path.glob("work/*/*/half"))
        assert list(tmp_path.glob("blobs/*")) == []


def test_an_unusable_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KubeproofError, match=r"cannot be used.*\n.*XDG_CACHE_HOME"):
        Cache(tmp_path / "file")
