"""Addresses of other hosts, which the preflight has found out once for all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.roles.test_extra_config import rendered

RULES = "etc/kubernetes/pod-network/rules.nft"


def test_no_host_asks_for_the_addresses_of_all_others(tmp_path: Path) -> None:
    nodes = {"groups": {"control_plane": ["m"], "workers": ["w"], "etcd": ["e"]}, "hostvars": {}}
    checked = {"addresses": {"m": "192.0.2.1", "w": "192.0.2.2", "e": "192.0.2.3"}}
    rules = rendered("pod_network", RULES, tmp_path, **nodes, __preflight_checked=checked)
    # Not the one that is no node.
    assert "10.96.0.0/16, 192.0.2.1, 192.0.2.2 }" in rules


@pytest.mark.parametrize("checked", [{}, {"__preflight_checked": {"msg": "preflight: nothing"}}])
def test_they_are_asked_for_where_no_preflight_has_done_so(tmp_path: Path, checked: dict[str, object]) -> None:
    known = {
        "groups": {"control_plane": ["m"], "workers": ["w"], "etcd": ["e"]},
        "hostvars": {"m": {"ansible_host": "192.0.2.1"}, "w": {"cluster_host_address": "192.0.2.9"}},
    }
    assert "192.0.2.1, 192.0.2.9 }" in rendered("pod_network", RULES, tmp_path, **known, **checked)
