"""keepalived's configuration, as far as keepalived is particular about it."""

from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from kubeproof.core import paths

TEMPLATE = paths.PROJECT / "roles/keepalived/templates/etc/kubernetes/keepalived/keepalived.conf.j2"


@pytest.mark.parametrize(("others", "peers"), [([], 0), (["192.0.2.2", "192.0.2.3"], 2)])
def test_a_host_without_peers_names_none(others: list[str], peers: int) -> None:
    """keepalived 2.3 refuses an empty list of them, of which 2.2 only warned."""
    variables = {
        "inventory_hostname": "cp1",
        "keepalived_extra_config": "",
        "keepalived_interval": 1,
        "keepalived_router_id": 51,
        "cluster_host_address": "192.0.2.1",
        "__cluster_host": {"python": "/usr/bin/python3"},
        "cluster_virtual_address": "192.0.2.100",
        "__keepalived_interface": "eth0",
        "__keepalived_priority": 200,
        "__keepalived_others": others,
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    rendered = templar.template(trust_as_template(TEMPLATE.read_text()))
    assert rendered.count("192.0.2.2") + rendered.count("192.0.2.3") == peers
    assert ("unicast" in rendered) == bool(peers)
