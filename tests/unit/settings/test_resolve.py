"""A host's settings, resolved: defaults below the inventory, rendered, typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import inventory, resolve, specs
from kubeproof.settings.resolve import Settings

HOSTS = """
all:
  vars:
    base: /srv
    etcd_data_directory: "{{ base }}/etcd/{{ inventory_hostname }}"
    cluster_service_network: 10.32.0.0/16
    cluster_api_port: "8443"
    cluster_rolling: "no"
    kubelet_max_pods: many
    etcd_peer_port: "{{ nowhere }}"
  children:
    etcd: {hosts: {one: {ansible_host: 192.0.2.1}, two: {cluster_api_port: 9443}}}
"""


@pytest.fixture
def hosts(tmp_path: Path) -> inventory.Inventory:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    return inventory.load(tmp_path / "hosts.yml")


def test_what_the_inventory_does_not_say_is_the_roles_default(hosts: inventory.Inventory) -> None:
    one = Settings(hosts.host("one"))
    assert one["containerd_root_directory"] == "/var/lib/containerd"
    assert one["backup_targets"] == []
    assert one["cluster_host_address"] == "192.0.2.1"
    # A default that follows from another setting.
    assert one["cluster_dns_address"] == "10.32.0.10"


def test_templates_and_types_are_what_they_are_in_a_run(hosts: inventory.Inventory) -> None:
    one, two = Settings(hosts.host("one")), Settings(hosts.host("two"))
    assert one["etcd_data_directory"] == "/srv/etcd/one"
    assert (one["cluster_api_port"], two["cluster_api_port"]) == (8443, 9443)
    assert one["cluster_rolling"] is False


def test_what_is_wrong_is_said_with_host_and_setting(hosts: inventory.Inventory) -> None:
    one = Settings(hosts.host("one"))
    with pytest.raises(KubeproofError, match=r"host one: kubelet_max_pods is 'many', which is no int"):
        one["kubelet_max_pods"]
    with pytest.raises(KubeproofError, match=r"host one: etcd_peer_port cannot be rendered: .*nowhere"):
        one["etcd_peer_port"]
    with pytest.raises(KeyError):
        one["kublet_max_pods"]


def test_all_settings_are_known(hosts: inventory.Inventory) -> None:
    one = Settings(hosts.host("one"))
    assert set(one) == set(specs.load().options)
    assert len(one) == len(specs.load().options)
    required = {name for name, option in specs.load().options.items() if "default" not in option}
    assert set(one) - set(resolve.defaults()) <= required
