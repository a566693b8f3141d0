"""Several jobs at the same time, and all that went wrong in one error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kubeproof.core.errors import KubeproofError

Result = TypeVar("Result")


def run_all(jobs: Sequence[Callable[[], Result]], at_once: int | None = None) -> list[Result]:
    """Run each job to its end, and return their results. Raises a KubeproofError with all problems, each hint once.

    ``at_once``: how many run at the same time (default: that of ThreadPoolExecutor). Other exceptions are raised as
    they are.
    """
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(job) for job in jobs]
    errors = [error for future in futures if (error := future.exception())]
    known = [error for error in errors if isinstance(error, KubeproofError)]
    for error in errors:
        if error not in known:
            raise error
    if known:
        problems = dict.fromkeys(str(error.args[0]) for error in known)
        hints = dict.fromkeys(error.hint for error in known if error.hint)
        raise KubeproofError("\n".join(problems), hint="\n  ".join(hints))
    return [future.result() for future in futures]
