"""Jobs side by side, and what they leave."""

from __future__ import annotations

import threading

import pytest

from kubeproof.core.errors import KubeproofError
from kubeproof.core.parallel import run_all


def failing(error: Exception) -> int:
    raise error


def test_results_are_in_the_jobs_order_and_jobs_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)
    assert run_all([lambda: both.wait() * 0 + 1, lambda: both.wait() * 0 + 2]) == [1, 2]


def test_all_problems_are_in_one_error_and_each_hint_is_there_once() -> None:
    done: list[int] = []

    def third() -> int:
        done.append(3)
        return 3

    jobs = [
        lambda: failing(KubeproofError("one is gone", hint="look there")),
        lambda: failing(KubeproofError("two is gone", hint="look there")),
        third,
    ]
    with pytest.raises(KubeproofError) as raised:
        run_all(jobs)
    assert str(raised.value).count("look there") == 1
    assert raised.value.args[0] == "one is gone\ntwo is gone"
    assert done == [3], "a job that fails keeps no other from its end"


def test_what_nobody_expects_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        run_all([lambda: failing(KubeproofError("known")), lambda: failing(ZeroDivisionError())])
