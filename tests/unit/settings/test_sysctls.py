"""Which kernel parameters are refused before any host is touched, and in which words."""

from __future__ import annotations

import pytest

from kubeproof.settings.sysctls import of_a_module, problems


def test_parameters_are_taken() -> None:
    given = {"vm.max_map_count": 262144, "net.ipv4.conf.eth0/100.rp_filter": "0", "net.ipv4.tcp_rmem": "4096 87380 1"}
    assert list(problems(given)) == []


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("vm", 1, "'vm' is not the name of a kernel parameter"),
        ("net/ipv4/ip_forward", 1, "'net/ipv4/ip_forward' is not the name"),
        ("vm.swappiness = 1", 1, "is not the name"),
        ("net.ipv4.../x", 1, "is not the name"),
        ("vm.swappiness", [1], "vm.swappiness takes a number or a text, not [1]"),
        ("vm.swappiness", True, "not True"),
        ("vm.swappiness", None, "not None"),
        ("vm.swappiness", "", "is empty"),
        ("vm.swappiness", "1\nkernel.panic = 1", "characters that do not show"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: object, problem: str) -> None:
    (found,) = problems({name: value})
    assert problem in found


def test_parameters_of_modules_may_not_exist_yet() -> None:
    assert of_a_module("net.netfilter.nf_conntrack_max")
    assert not of_a_module("vm.max_map_count")
