"""Pod networks, forms of kube-proxy, IP families, segments, etcd apart: installed, again, verified, reset.

A few minutes each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.local.snapshots import Snapshot, left_by_reset
from tests.vm.machines import new_hosts, ready

from kubeproof.api import kubectl
from kubeproof.core import paths, process, waiting
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle, podman
from kubeproof.local_hosts.plan import plan
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.remote import ssh_command
from kubeproof.verify.engine import run as verify
from kubeproof.verify.engine.run import Options

pytestmark = [pytest.mark.local, pytest.mark.cluster]

_SEGMENT = {"name": "kubeproof-cells", "subnet": "10.213.26.0/24"}
# Of the segment, besides its IPv4 subnet; hosts are numbered as there.
_SUBNET_IPV6 = "fd00:10:213:26::/64"
_DUAL: dict[str, Any] = {
    "cluster_pod_network": ["10.244.0.0/16", "fd00:10:244::/56"],
    "cluster_service_network": ["10.96.0.0/16", "fd00:10:96::/112"],
    "cluster_host_address_ipv6": "fd00:10:213:26::{{ ansible_host.split('.')[3] }}",
}
# Nothing but IPv6, on hosts that have no other addresses on their segment.
_IPV6: dict[str, Any] = {
    "cluster_pod_network": "fd00:10:244::/56",
    "cluster_service_network": "fd00:10:96::/112",
}
CELLS: dict[str, dict[str, Any]] = {
    "bridge": {"kube_proxy_form": "daemonset"},
    "bridge-isolated": {"network_policy_new_pods": "isolated"},
    "bridge-without-policies": {"network_policy_engine": "none"},
    "vxlan": {"pod_network_plugin": "flannel"},
    "vxlan-daemonset": {"pod_network_plugin": "flannel", "kube_proxy_form": "daemonset"},
    "host-gw": {"pod_network_plugin": "flannel", "pod_network_flannel_backend": "host-gw"},
    "none": {"pod_network_plugin": "none"},
    "dual": {**_DUAL},
    "dual-iptables-daemonset": {**_DUAL, "kube_proxy_mode": "iptables", "kube_proxy_form": "daemonset"},
    "dual-vxlan": {**_DUAL, "pod_network_plugin": "flannel"},
    "dual-host-gw": {**_DUAL, "pod_network_plugin": "flannel", "pod_network_flannel_backend": "host-gw"},
    "ipv6": {**_IPV6},
    "ipv6-iptables-daemonset": {**_IPV6, "kube_proxy_mode": "iptables", "kube_proxy_form": "daemonset"},
    "ipv6-vxlan": {**_IPV6, "pod_network_plugin": "flannel"},
    "ipv6-host-gw": {**_IPV6, "pod_network_plugin": "flannel", "pod_network_flannel_backend": "host-gw"},
}
# A network of the user's own, as simple as can be: a bridge on each host, and a route to that of the other.
_OWN = r"""
set -eu
cat > /etc/cni/net.d/10-own.conflist <<'END'
{"cniVersion": "1.0.0", "name": "own", "plugins": [
  {"type": "bridge", "bridge": "own0", "isDefaultGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "%(network)s"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
END
ip route add %(peer_network)s via %(peer)s
nft -f - <<'END'
table ip own {
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr 10.244.0.0/16 ip daddr != { 10.244.0.0/16, 10.213.26.0/24 } masquerade
  }
}
END
"""
_OWN_REMOVED = r"""
nft delete table ip own
ip route del %(peer_network)s
ip link del own0
rm -rf /etc/cni /var/lib/cni
"""
# What looks at what kubeproof would have installed, or at what puts it back.
_OURS = {"pod-routes", "pod-network-heals"}
_REPORT = "networks.json"
# Until the API says of a node that its host was lost, or is back.
_NOTICED_SECONDS = 120.0


def describe(
    worker: str = "10.213.26.21", first: str = "10.213.26.11", etcd: str = "", **settings: Any
) -> dict[str, Any]:
    """An inventory of a control plane and a worker, by their addresses. ``settings``: of the cluster and its segment.

    ``etcd``: the address of a third host, which has etcd; without one the control plane has.
    """
    document: dict[str, Any] = yaml.safe_load((paths.PROJECT / "inventory" / "test" / "hosts.yml").read_text())
    document["all"]["vars"] |= settings
    document["all"]["children"] = {
        "control_plane": {"hosts": {"cp1": {"ansible_host": first}}},
        "etcd": {"hosts": {"e1": {"ansible_host": etcd}} if etcd else {"cp1": {}}},
        "workers": {"hosts": {"w1": {"ansible_host": worker}}},
    }
    return document


def describe_cell(name: str) -> dict[str, Any]:
    """The inventory of a cell."""
    settings, segment, addresses = CELLS[name], dict(_SEGMENT), {}
    if {**_DUAL, **_IPV6}.keys() & settings.keys():
        segment["subnet_ipv6"] = _SUBNET_IPV6
    if _IPV6.items() <= settings.items():
        del segment["subnet"]
        addresses = {"first": "fd00:10:213:26::11", "worker": "fd00:10:213:26::21"}
    return describe(**addresses, local_host_network=segment, **settings)


def describe_apart() -> dict[str, Any]:
    """The inventory of hosts on two segments."""
    segments = {**_SEGMENT, "further_subnets": ["10.213.27.0/24"]}
    return describe("10.213.27.21", local_host_network=segments, pod_network_plugin="flannel")


def describe_etcd_apart() -> dict[str, Any]:
    """The inventory of hosts of which one has etcd and nothing else."""
    return describe(etcd="10.213.26.31", local_host_network=_SEGMENT)


@contextmanager
def _made(directory: Path, document: dict[str, Any]) -> Iterator[Inventory]:
    """New hosts as an inventory describes them."""
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump(document))
    with new_hosts(inventory.load(path)) as made:
        yield made


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """Two hosts on one segment, and the settings of a cell."""
    with _made(tmp_path_factory.mktemp("cell"), describe_cell(request.param)) as made:
        yield made


@pytest.fixture
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """Two hosts, each on a segment of its own, with a router between them."""
    with _made(tmp_path_factory.mktemp("apart"), describe_apart()) as made:
        yield made


@pytest.fixture
def etcd_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """Three hosts, of which one has etcd and nothing else."""
    with _made(tmp_path_factory.mktemp("etcd-apart"), describe_etcd_apart()) as made:
        yield made


def test_it_is_installed_proven_and_reset(cell: Inventory) -> None:
    before = _look(cell)
    _install_twice(cell)

    own = any(host.variables.get("pod_network_plugin") == "none" for host in cell.hosts.values())
    networks = _pod_networks(cell) if own else {}
    if own:
        _on_all(cell, _OWN, networks)
        _await_pods(cell)
    assert _wrong(cell) <= (_OURS if own else set())

    assert _play(cell, "reset", "--extra-vars", "reset_confirmed=true").ok
    if own:
        _on_all(cell, _OWN_REMOVED, networks)
    _is_as_it_was(cell, before)


def test_nodes_on_two_segments(apart: Inventory, capfd: pytest.CaptureFixture[str]) -> None:
    before = _look(apart)
    for refused in ("pod_network_plugin=bridge", "pod_network_flannel_backend=host-gw"):
        assert not _play(apart, "cluster", "--extra-vars", refused).ok
        assert "it shares no network segment with w1 (10.213.27.21)" in capfd.readouterr().out
    _is_as_it_was(apart, before)

    with capfd.disabled():
        _install_twice(apart)
        assert _wrong(apart) == set()

        worker = next(host for host in plan(apart).hosts if host.name == "w1")
        podman.stop(worker.unique_name)
        assert waiting.until(lambda: not ready(apart, "w1"), _NOTICED_SECONDS, pause=1.0)
        lifecycle.create(plan(apart), print)
        assert waiting.until(lambda: ready(apart, "w1"), _NOTICED_SECONDS, pause=1.0)
        assert _wrong(apart) == set()

        assert _play(apart, "reset", "--extra-vars", "reset_confirmed=true").ok
        _is_as_it_was(apart, before)


def test_etcd_on_a_host_of_its_own(etcd_apart: Inventory) -> None:
    before = _look(etcd_apart)
    _install_twice(etcd_apart)
    assert _wrong(etcd_apart) == set()
    assert "etcd-separate" in _verdicts(etcd_apart, "proven")

    assert _play(etcd_apart, "reset", "--extra-vars", "reset_confirmed=true").ok
    _is_as_it_was(etcd_apart, before)


def _install_twice(made: Inventory) -> None:
    assert _play(made, "cluster").ok
    again = _play(made, "cluster")
    assert again.ok
    assert again.count("changed") == 0


def _wrong(made: Inventory) -> set[str]:
    """Claims that a verification did not find to be true; what it said of them is printed."""
    verify.verify(made.sources, Options(level="standard", report=str(made.state / _REPORT)))
    wrong = _verdicts(made, "refuted", "blocked")
    print("\n".join(f"{name}: {reason}" for name, reason in wrong.items()))
    assert _verdicts(made, "proven")
    return set(wrong)


def _verdicts(made: Inventory, *wanted: str) -> dict[str, str]:
    """The claims of which the last verification said one of these, and what else it said of them."""
    components = json.loads((made.state / _REPORT).read_text())["components"]
    claims = [claim for component in components for claim in component["claims"]]
    return {claim["id"]: claim["reason"] for claim in claims if claim["verdict"] in wanted}


def _is_as_it_was(made: Inventory, before: dict[str, Snapshot]) -> None:
    left = left_by_reset(before, _look(made))
    print("\n".join(left))
    assert left == []


def _play(cell: Inventory, name: str, *arguments: str) -> playbook.Run:
    return playbook.run(name, cell.sources, cell.state, arguments)


def _look(cell: Inventory) -> dict[str, Snapshot]:
    return {name: Snapshot.take(host) for name, host in cell.hosts.items()}


def _pod_networks(cell: Inventory) -> dict[str, str]:
    """By host, what the controller manager has given it for pods."""
    path = "{range .items[*]}{.metadata.name}={.spec.podCIDR} {end}"
    answer = process.run([*kubectl.command(cell.state), "get", "nodes", f"--output=jsonpath={path}"], timeout=60)
    return dict(item.split("=") for item in answer.split())


def _await_pods(cell: Inventory) -> None:
    """Until nodes have seen that there is a network now, and what has waited for one has started."""
    waits = [["nodes", "Ready"], ["deployments", "Available", "--namespace=kube-system"], ["apiservices", "Available"]]
    for kind, condition, *rest in waits:
        asked = ["wait", kind, "--all", f"--for=condition={condition}", f"--timeout={_NOTICED_SECONDS:.0f}s", *rest]
        process.run([*kubectl.command(cell.state), *asked], timeout=_NOTICED_SECONDS + 60)


def _on_all(cell: Inventory, script: str, networks: Mapping[str, str]) -> None:
    """Run a script on each host with its pod network, and that and the address of the other host."""
    for name, other in (("cp1", "w1"), ("w1", "cp1")):
        values = {
            "network": networks[name],
            "peer_network": networks[other],
            "peer": cell.hosts[other].variables["ansible_host"],
        }
        process.run([*ssh_command(cell.hosts[name]), "bash", "-s"], stdin=script % values, timeout=60)
