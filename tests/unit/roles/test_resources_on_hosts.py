"""What components may use of a host: which processes go first when memory is short, and what is kept from pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.preflight.builders import MEBIBYTE, interface, report
from tests.unit.roles.test_extra_config import rendered

from kubeproof.settings import specs

CONTAINER: dict[str, Any] = {"container": "podman", "capabilities": {"init": ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]}}
# By unit. The kubelet gives itself -999, and its pods from -997 to 1000 by what they asked for.
SCORES = {
    "containerd.service": -999,
    "cri-docker.service": -999,
    "crio.service": -999,
    "docker.service": -999,
    "etcd-backup-copy.service": -900,
    "etcd-backup-drill.service": 1000,
    "etcd-backup.service": -900,
    "etcd-defragment.service": -900,
    "etcd.service": -999,
    "kube-apiserver.service": -998,
    "kube-balancer.service": -900,
    "kube-controller-manager.service": -900,
    "kube-flannel.service": -900,
    "kube-network-policy.service": -900,
    "kube-pod-network.service": -900,
    "kube-proxy.service": -999,
    "kube-scheduler.service": -900,
    "kube-virtual-address.service": -900,
    "kubelet.service": None,
    "kubeproof-put-back.service": None,
}
UNITS = {path.name.removesuffix(".j2"): path for path in sorted(specs.ROLES.glob("*/templates/**/*.service.j2"))}


def on(role: str, path: str, directory: Path, facts: dict[str, Any] | None = None, **given: object) -> str:
    """A template of a role, rendered for a host with these facts."""
    known = {"kubeproof_host": report(**(facts or {})), "kubeproof_components": {"images": {"pause": "pause:1"}}}
    return rendered(role, path, directory, ansible_facts=known, **given)


def unit(name: str, directory: Path, facts: dict[str, Any]) -> list[str]:
    role, _, *path = UNITS[name].relative_to(specs.ROLES).parts
    return on(role, "/".join(path).removesuffix(".j2"), directory, facts).splitlines()


def score(lines: list[str]) -> int | None:
    [found] = [line for line in lines if line.startswith("OOMScoreAdjust=")] or [""]
    return int(found.partition("=")[2]) if found else None


def test_every_service_is_known_here() -> None:
    assert UNITS.keys() == SCORES.keys()


@pytest.mark.parametrize("name", sorted(SCORES))
def test_pods_go_before_what_runs_the_cluster(name: str, tmp_path: Path) -> None:
    assert score(unit(name, tmp_path, {})) == SCORES[name]


@pytest.mark.parametrize("name", sorted(SCORES))
def test_a_unit_starts_where_scores_may_not_be_lowered(name: str, tmp_path: Path) -> None:
    """systemd would not start it: to lower a score takes CAP_SYS_RESOURCE."""
    expected = SCORES[name]
    assert score(unit(name, tmp_path, CONTAINER)) == (expected if expected is None or expected > 0 else None)


def kubelet(directory: Path, facts: dict[str, Any] | None = None, **given: object) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(
        on("kubelet", "etc/kubernetes/kubelet/config.yaml", directory, facts, **given)
    )
    return found


def test_resources_are_kept_from_pods_by_the_hosts_size(tmp_path: Path) -> None:
    small = kubelet(tmp_path, {"cpus": 1, "memory": {"total": 1024 * MEBIBYTE}})
    assert small["kubeReserved"] == small["systemReserved"] == {"cpu": "30m", "memory": "128Mi"}
    assert small["enforceNodeAllocatable"] == ["pods"]
    large = kubelet(tmp_path, {"cpus": 8, "memory": {"total": 16384 * MEBIBYTE}})
    assert large["kubeReserved"] == {"cpu": "45m", "memory": "1331Mi"}


def test_reserved_resources_are_settings_and_always_texts(tmp_path: Path) -> None:
    given = {"kubelet_kube_reserved": {"cpu": 1, "memory": "2Gi"}, "kubelet_system_reserved": {}}
    found = kubelet(tmp_path, **given)
    assert found["kubeReserved"] == {"cpu": "1", "memory": "2Gi"}
    assert found["systemReserved"] == {}


@pytest.mark.parametrize("limit", [100, 0, -1])
def test_processes_of_a_pod_are_limited(limit: int, tmp_path: Path) -> None:
    assert kubelet(tmp_path)["podPidsLimit"] == 4096
    assert kubelet(tmp_path, kubelet_pod_pids_limit=limit)["podPidsLimit"] == limit


def test_pulls_are_parallel_but_not_all_at_once(tmp_path: Path) -> None:
    found = kubelet(tmp_path)
    assert (found["serializeImagePulls"], found["maxParallelImagePulls"]) == (False, 4)
    # The kubelet refuses 0.
    assert "maxParallelImagePulls" not in kubelet(tmp_path, kubelet_max_parallel_image_pulls=0)


# Those of clouds, of a link with jumbo frames, and none where the address is on no interface and there is no route.
@pytest.mark.parametrize("mtu", [1450, 1500, 9001])
def test_pods_have_the_mtu_of_the_nodes_interface(mtu: int, tmp_path: Path) -> None:
    other = interface("198.51.100.7/24", mtu=1280)
    facts = {"interfaces": {"eth0": interface("192.0.2.1/24", mtu=mtu), "eth1": other}}
    assert pod_network_mtu(tmp_path, facts) == (mtu, mtu)
    assert pod_network_mtu(tmp_path, facts, pod_network_mtu=1300) == (1300, 1300)
    assert pod_network_mtu(tmp_path, facts, pod_network_mtu="1300") == (1300, 1300)


@pytest.mark.parametrize(("backend", "less"), [("vxlan", 50), ("host-gw", 0)])
def test_packets_of_pods_leave_room_for_what_flannel_puts_around_them(backend: str, less: int, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"interfaces": {"eth0": interface("192.0.2.1/24", mtu=1500)}}
    flannel: dict[str, Any] = {"pod_network_plugin": "flannel", "pod_network_flannel_backend": backend}
    assert pod_network_mtu(tmp_path, facts, **flannel) == (1500 - less, 1500 - less)
    assert pod_network_mtu(tmp_path, facts, **flannel, pod_network_mtu=1300) == (1300, 1300)
    assert pod_network_mtu(tmp_path, {"interfaces": {}, "default_route": None}, **flannel) == (None, 0)


def test_behind_nat_it_is_that_of_the_default_route_if_there_is_one(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"interfaces": {"eth0": interface("10.0.0.1/24", mtu=1430)}}
    assert pod_network_mtu(tmp_path, facts) == (1430, 1430)
    assert pod_network_mtu(tmp_path, {**facts, "default_route": None}) == (None, 0)


def pod_network_mtu(directory: Path, facts: dict[str, Any], **given: object) -> tuple[int | None, int]:
    """In the CNI network's configuration, and in that of the program that keeps the bridge."""
    given = {"__pod_network_of": {"/api/v1/nodes/one": "10.244.0.0/24"}, "cluster_host_address": "192.0.2.1", **given}
    [bridge, _] = json.loads(on("pod_network", "etc/cni/net.d/10-kubeproof.conflist", directory, facts, **given))[
        "plugins"
    ]
    kept = json.loads(on("pod_network", "etc/kubernetes/pod-network/network.json", directory, facts, **given))
    assert (bridge["bridge"], kept["bridge"]) == ("cni0", "cni0")
    return bridge.get("mtu"), kept["mtu"]
