"""Pod networks, forms of kube-proxy, IP families, segments, etcd apart: installed, again, verified, reset.

A few minutes each.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping

import pytest
from tests.local.snapshots import Snapshot, left_by_reset
from tests.networks.cells import CELLS, describe_apart, describe_cell, describe_etcd_apart, made
from tests.vm.machines import ready

from kubeproof.api import kubectl
from kubeproof.core import process, waiting
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle, podman
from kubeproof.local_hosts.plan import plan
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.remote import ssh_command
from kubeproof.verify.engine import run as verify
from kubeproof.verify.engine.run import Options

pytestmark = [pytest.mark.local, pytest.mark.cluster]

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


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """Two hosts on one segment, and the settings of a cell."""
    with made(tmp_path_factory.mktemp("cell"), describe_cell(request.param)) as hosts:
        yield hosts


@pytest.fixture
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """Two hosts, each on a segment of its own, with a router between them."""
    with made(tmp_path_factory.mktemp("apart"), describe_apart()) as hosts:
        yield hosts


@pytest.fixture
def etcd_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """Three hosts, of which one has etcd and nothing else."""
    with made(tmp_path_factory.mktemp("etcd-apart"), describe_etcd_apart()) as hosts:
        yield hosts


def test_it_is_installed_proven_and_reset(
    cell: Inventory, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _look(cell)
    first, again = _install_twice(cell)

    own = any(host.variables.get("pod_network_plugin") == "none" for host in cell.hosts.values())
    networks = _pod_networks(cell) if own else {}
    if own:
        _on_all(cell, _OWN, networks)
        _await_pods(cell)
    begun = time.monotonic()
    wrong = _wrong(cell)
    with capsys.disabled():
        print(
            f"\n{request.node.callspec.id}: installed in {first:.0f} s, again in {again:.0f} s, "
            f"{len(_verdicts(cell, 'proven'))} claims proven in {time.monotonic() - begun:.0f} s"
        )
    assert wrong <= (_OURS if own else set())

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


def _install_twice(made: Inventory) -> tuple[float, float]:
    """Install, and run again, which changes nothing; the seconds that both took."""
    first = _play(made, "cluster")
    assert first.ok
    again = _play(made, "cluster")
    assert again.ok
    assert again.count("changed") == 0
    return float(first.profile["seconds"]), float(again.profile["seconds"])


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
