"""Compressed copies of cached files, for the way to hosts: a Go program shrinks to less than a third.

The compressor is the ``zstd`` program: it is fast enough not to slow a gigabit network, and hosts commonly have it
because their package manager or initramfs needs it. Where it is missing on either side, files go as they are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from kubeproof.components import cache as caching
from kubeproof.core.process import run

_PROGRAM = "zstd"


def compressed(blob: caching.Blob, cache: caching.Cache) -> Path | None:
    """The zstd-compressed copy of a cached file, made once for all hosts; None if this machine has no zstd."""
    if not shutil.which(_PROGRAM):
        return None
    key = caching.key_of(_PROGRAM, blob.sha256)
    with cache.lock(key):
        result = cache.result(key) or _compress(blob, key, cache)
    return result.blobs["compressed"].path


def _compress(blob: caching.Blob, key: str, cache: caching.Cache) -> caching.Result:
    with cache.work() as directory:
        target = directory / "compressed"
        run([_PROGRAM, "--quiet", "--threads=0", "-o", str(target), str(blob.path)])
        return cache.store(key, {"compressed": target}, {"of": blob.sha256})
