"""How limits are stretched for slow hosts, and for those only."""

from __future__ import annotations

import ast
import inspect
from typing import Any, cast

import pytest

import host_report
from kubeproof.core.errors import KubeproofError
from kubeproof.verify.engine import patience
from kubeproof.verify.observe.hosts import CommandFailed, Host


class Takes:
    """A host that takes so long for the work."""

    def __init__(self, name: str, seconds: float | None) -> None:
        self.name, self.seconds = name, seconds

    def run(self, _command: str, *_arguments: str) -> str:
        if self.seconds is None:
            raise CommandFailed("no Python")
        return f"{self.seconds}\n"


def measured(**hosts: float | None) -> patience.Patience:
    return patience.measure([cast(Host, Takes(name, seconds)) for name, seconds in hosts.items()])


def test_usual_hosts_are_given_the_usual_time() -> None:
    found = measured(a=0.007, b=0.04)
    assert found.factor == 1
    assert found.notes == []


def test_the_slowest_host_decides_and_is_named() -> None:
    found = measured(a=0.007, b=0.14)
    assert found.factor == pytest.approx(2.8)
    (told,) = found.notes
    assert "2.8 times" in told
    assert "b (20 times)" in told
    assert "a (" not in told


def test_patience_has_an_end() -> None:
    assert measured(a=100.0).factor == 20


def test_a_host_without_python_is_for_others_to_complain_of() -> None:
    assert measured(a=None).factor == 1


@pytest.mark.parametrize("text", ["", "fast", "0.5", "1000", "nan"])
def test_a_factor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(KubeproofError, match="--patience"):
        patience.given(text)


def test_a_factor_may_be_asked_for() -> None:
    found: Any = patience.given("3")
    assert found.factor == 3
    assert found.notes == ["time limits were 3.0 times the usual ones: so asked for"]


def test_a_verification_measures_the_work_that_the_preflight_measures() -> None:
    """Both are held against the same seconds."""

    def loops(source: str) -> str:
        work = next(node for node in ast.walk(ast.parse(source)) if getattr(node, "name", "") == "work")
        return ast.dump(next(node for node in ast.walk(work) if isinstance(node, ast.For)))

    assert loops(patience._WORK) == loops(inspect.getsource(host_report.work))


def decided(asked: str, **settings: Any) -> float:
    return patience.decide(asked, settings, [cast(Host, Takes("a", 0.14))]).factor


def test_the_command_line_goes_first_then_the_inventory() -> None:
    assert decided("3", cluster_verification_patience=20) == 3
    assert decided("", cluster_verification_patience=20) == 20
    assert decided("", cluster_verification_patience=0) == pytest.approx(2.8)


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(KubeproofError, match="cluster_verification_patience"):
        decided("", cluster_verification_patience=0.5)
