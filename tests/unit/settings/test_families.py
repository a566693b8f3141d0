"""Settings that take the networks of one or two IP families."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.settings import families, fixed

BOTH = ["10.244.0.0/16", "fd00:10:244::/56"]


@pytest.mark.parametrize(
    "given", [BOTH, tuple(BOTH), ",".join(BOTH), ", ".join(BOTH), [",".join(BOTH)], [*BOTH, ""]], ids=str
)
def test_a_list_and_a_text_with_commas_are_the_same(given: Any) -> None:
    assert families.listed(given) == BOTH
    assert families.joined(given) == "10.244.0.0/16,fd00:10:244::/56"


def test_one_is_what_it_was() -> None:
    assert families.listed("10.244.0.0/16") == ["10.244.0.0/16"]
    assert families.joined("10.244.0.0/16") == families.joined(["10.244.0.0/16"]) == "10.244.0.0/16"


@pytest.mark.parametrize("given", ["10.244.0.0/16,fd00:10:244::/56", "10.244.0.0/16, fd00:10:244::/56", BOTH])
def test_hosts_remember_them_alike_however_they_are_written(given: Any) -> None:
    assert fixed.recorded(given, "cluster_pod_network") == "10.244.0.0/16,fd00:10:244::/56"


def test_what_else_is_remembered_stays_as_it_is() -> None:
    assert fixed.recorded("ours, and yours", "cluster_name") == "ours, and yours"
    assert fixed.recorded("/data/", "containerd_root_directory") == "/data"


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("10.244.0.0/255.255.0.0", "10.244.0.0/16"),
        # A hostmask.
        ("10.244.0.0/0.0.255.255", "10.244.0.0/16"),
        ("fd00:10:244::/56,10.244.0.0/255.255.0.0", "10.244.0.0/16"),
    ],
)
def test_a_netmask_is_refused(given: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"has a netmask; write {right}"):
        families.parsed(given)


def test_networks() -> None:
    assert [str(each) for each in families.parsed(BOTH)] == BOTH
    with pytest.raises(ValueError, match="does not appear"):
        families.parsed("here")
    assert families.with_prefix("10.0.0.1") == families.with_prefix("here/8") == ""


def test_those_of_a_family() -> None:
    assert families.of_family(BOTH, 4) == "10.244.0.0/16"
    assert families.of_family(BOTH, 6) == "fd00:10:244::/56"
    assert families.of_family("10.244.0.0/16", 6) == families.of_family("", 4) == families.of_family("here", 4) == ""
