"""Quantities of Kubernetes, and dictionaries of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kubeproof.settings import quantities, resolve

DICTIONARIES = ("kubelet_eviction_hard", "kubelet_kube_reserved", "kubelet_system_reserved")


@pytest.mark.parametrize(
    ("given", "amount"),
    [
        ("100m", "0.1"),
        ("1.5Gi", "1610612736"),
        (2, "2"),
        (0.5, "0.5"),
        ("1e3", "1000"),
        ("12E", "12e18"),
        (".5", "0.5"),
        ("5.", "5"),
        ("3k", "3000"),
        ("0", "0"),
    ],
)
def test_quantities_are_as_the_api_takes_them(given: Any, amount: str) -> None:
    assert quantities.amount(given) == Decimal(amount)


@pytest.mark.parametrize(
    "given", ["", "1 Gi", "1GB", "100M i", "Gi", "1K", "-1", chr(0x661), True, None, [], {}, "1e", "nan"]
)
def test_what_the_api_would_refuse_is_none(given: Any) -> None:
    assert quantities.amount(given) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kubelet_kube_reserved": {"cpus": "1"}}, "'cpus' cannot be reserved"),
        ({"kubelet_kube_reserved": {"memory": "1GB"}}, "memory: '1GB' is not a quantity"),
        ({"kubelet_system_reserved": {"memory": "10%"}}, "memory: '10%' is not a quantity"),
        ({"kubelet_system_reserved": {"pid": {"max": 1}}}, "pid: {'max': 1} is not a quantity"),
        ({"kubelet_eviction_hard": {"memory.free": "100Mi"}}, "'memory.free' is not a signal"),
        ({"kubelet_eviction_hard": {"memory.available": "100MB"}}, "'100MB' is neither a quantity nor a percentage"),
        ({"kubelet_eviction_hard": {"memory.available": "0"}}, "'0' is neither a quantity nor a percentage"),
        ({"kubelet_eviction_hard": {"pid.available": 100}}, 'write "100"'),
        ({"kubelet_kube_reserved": {"cpu": 1}}, 'write "1"'),
        ({"kubelet_eviction_hard": {"nodefs.available": "110%"}}, "'110%' is neither a quantity nor a percentage"),
    ],
)
def test_what_a_kubelet_would_not_start_with_is_named(settings: dict[str, Any], said: str) -> None:
    [(name, problem)] = quantities.problems(settings)
    assert [name] == list(settings)
    assert said in problem


def test_defaults_and_all_that_kubelets_take_are_sound() -> None:
    known = {name: value for name, value in resolve.defaults().items() if name in DICTIONARIES}
    assert list(quantities.problems(known)) == []
    given = {
        "kubelet_kube_reserved": {"cpu": "60m", "memory": "128Mi", "ephemeral-storage": "1Gi", "pid": "1000"},
        "kubelet_system_reserved": {},
        "kubelet_eviction_hard": {"memory.available": "5%", "nodefs.inodesFree": "5.5%", "pid.available": "100"},
    }
    assert list(quantities.problems(given)) == []
