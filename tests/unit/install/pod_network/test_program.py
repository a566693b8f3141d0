"""The program against a kernel: what is taken away comes back, and nothing else is touched."""

from __future__ import annotations

import ast
import base64
import contextlib
import ctypes
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.install.pod_network.conftest import GATEWAYS, Node

from kubeproof.core import waiting
from kubeproof.install.pod_network import host_ports, kube_proxy, watch
from kubeproof.install.pod_network.attachments import Attachments
from kubeproof.install.pod_network.errors import PodNetworkError
from kubeproof.install.pod_network.former_pods import FormerPods, told
from kubeproof.install.pod_network.host_ports import HostPorts
from kubeproof.install.pod_network.ruleset import Rule, Ruleset

# On a busy machine; sooner than it would look without being notified.
_SOON = 8.0

TAKEN_AWAY = {
    "a route": "ip route delete 10.244.1.0/24",
    "all routes": "ip route flush proto 86",
    "routes, by a link that goes": "ip link set eth0 down; sleep 0.2; ip link set eth0 up",
    "a route, by another one": "ip route replace 10.244.1.0/24 via 10.9.0.99",
    "all rules": "nft flush ruleset",
    "the table": "nft delete table ip kubeproof",
    "its rules": "nft flush table ip kubeproof",
    "an address that is not translated": "nft delete element ip kubeproof cluster '{ 10.96.0.0/16 }'",
    "what its rules do": "nft insert rule ip kubeproof postrouting accept",
    "forwarding": "sysctl -qw net.ipv4.ip_forward=0; ip route delete 10.244.1.0/24",
}


def test_it_is_silent_about_nothing(node: Node) -> None:
    assert node.check() == [
        *(f"there is no route to {network} via {gateway}" for network, gateway in GATEWAYS.items()),
        f"table ip kubeproof is not as {node.directory}/rules.nft has it",
        "net.ipv4.ip_forward is 0, and not 1",
    ]


@pytest.mark.parametrize("lost", TAKEN_AWAY)
def test_what_is_taken_away_comes_back(watched: Node, lost: str) -> None:
    before = watched.run("ip route; nft list ruleset")
    watched.run(TAKEN_AWAY[lost])
    took = watched.healed()
    assert watched.run("ip route; nft list ruleset") == before
    assert took < _SOON, f"{took:.1f} s"
    assert "put back: " in watched.log.read_text()


# With a second IP family.
IPV6_GATEWAYS = {"fd00:10:244:1::/64": "fd00:9::2", "fd00:10:244:2:0::/64": "fd00:9:0::3"}
IPV6_RULES = """
table ip6 kubeproof
delete table ip6 kubeproof
table ip6 kubeproof {
  set cluster {
    type ipv6_addr
    flags interval
    auto-merge
    elements = { fd00:10:244::/56, fd00:10:96::/112, fd00:9::1 }
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip6 saddr fd00:10:244::/56 ip6 daddr != @cluster ip6 daddr != ff00::/8 masquerade
  }
}
"""
IPV6_TAKEN_AWAY = {
    "a route": "ip -6 route delete fd00:10:244:1::/64",
    "all routes": "ip -6 route flush proto 86",
    "a route, by another one": "ip -6 route replace fd00:10:244:1::/64 via fd00:9::99",
    "the table": "nft delete table ip6 kubeproof",
    "its rules": "nft flush table ip6 kubeproof",
    "an address that is not translated": "nft delete element ip6 kubeproof cluster '{ fd00:10:96::/112 }'",
    "forwarding": "sysctl -qw net.ipv6.conf.all.forwarding=0; ip -6 route delete fd00:10:244:1::/64",
}


@pytest.fixture
def dual(node: Node) -> Node:
    """A node with addresses, routes and rules of both IP families."""
    node.run("ip address add fd00:9::1/64 dev eth0 nodad")
    rules = node.directory / "rules.nft"
    rules.write_text(rules.read_text() + IPV6_RULES)
    sysctls = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
    node.configure(ipv6=True, routes={**GATEWAYS, **IPV6_GATEWAYS}, sysctls=sysctls)
    return node


@pytest.mark.parametrize("lost", IPV6_TAKEN_AWAY)
def test_what_is_taken_away_of_a_second_ip_family_comes_back(dual: Node, lost: str) -> None:
    with dual.watched():
        dual.healed()
        before = dual.run("ip -6 route; ip route; nft list ruleset")
        dual.run(IPV6_TAKEN_AWAY[lost])
        assert dual.healed() < _SOON
        assert dual.run("ip -6 route; ip route; nft list ruleset") == before


def test_routes_of_a_second_ip_family_that_nobody_has_any_more_go(dual: Node) -> None:
    with dual.watched():
        dual.healed()
        dual.configure(ipv6=True, routes=GATEWAYS)
        dual.until(lambda: "proto 86" not in dual.run("ip -6 route"))
    assert "no route to fd00:10:244:1::/64 any more" in dual.log.read_text()


def test_without_it_nothing_comes_back(node: Node) -> None:
    with node.watched():
        node.healed()
    assert node.check() == [], "it takes nothing with it when it ends"
    node.run("ip route flush proto 86; nft flush ruleset")
    time.sleep(2)
    assert len(node.check()) == 3
    with node.watched():
        assert node.healed() < _SOON


def test_forwarding_alone_makes_no_noise_and_is_seen_all_the_same(watched: Node) -> None:
    watched.run("sysctl -qw net.ipv4.ip_forward=0")
    watched.healed()


def test_an_interface_that_comes_late(node: Node) -> None:
    node.run("ip link set eth0 down; ip address flush dev eth0")
    with node.watched():
        node.until(lambda: "Nexthop has invalid gateway" in node.log.read_text())
        assert "set: table ip kubeproof" in node.log.read_text(), "what can be there is there at once"
        time.sleep(2)
        node.run("ip address add 10.9.0.1/24 dev eth0; ip link set eth0 up")
        assert node.healed() < _SOON
    assert node.log.read_text().count("Nexthop has invalid gateway") == len(GATEWAYS), "said once, not each second"
    assert "all is well again" in node.log.read_text()


def test_a_bridge_has_the_mtu_of_the_configuration(watched: Node) -> None:
    """Also with a pod that has another one, which the bridge would take over by default, and after that pod is gone."""
    for size in (1500, 1300):
        watched.run(f"ip link add cni0 type bridge; ip link set cni0 up mtu {size}")
        watched.until(lambda: "mtu 1400 " in watched.run("ip link show cni0"))
        watched.run("ip link add veth0 mtu 1200 type veth peer name pod0; ip link set veth0 master cni0")
        time.sleep(1.5)
        assert "mtu 1400 " in watched.run("ip link show cni0")
        watched.run("ip link delete veth0")
        assert watched.healed() < _SOON
        assert "mtu 1400 " in watched.run("ip link show cni0")
        watched.run("ip link delete cni0")
    assert "put back: MTU of cni0: 1500 -> 1400" in watched.log.read_text()
    assert "MTU of eth0" not in watched.log.read_text()
    assert "mtu 1500 " in watched.run("ip link show eth0")


@pytest.mark.parametrize("changes", [{"mtu": 0}, {"bridge": ""}, {"bridge": "not-there"}])
def test_without_one_it_leaves_bridges_as_they_are(node: Node, changes: dict[str, object]) -> None:
    node.run("ip link add cni0 type bridge; ip link set cni0 up mtu 1300")
    assert "the MTU of cni0 is 1300, and not 1400" in node.check()
    node.configure(**changes)
    with node.watched():
        node.healed()
    assert "mtu 1300 " in node.run("ip link show cni0")


def test_others_routes_and_rules_are_left_alone(watched: Node) -> None:
    watched.run("ip route add 10.250.0.0/16 via 10.9.0.7 proto 99; ip route add 10.251.0.0/16 via 10.9.0.7")
    watched.run("nft add table ip house; nft add chain ip house c; nft add rule ip house c accept")
    before = watched.run("ip route; nft list table ip house")
    watched.run("ip route delete 10.244.1.0/24; nft delete table ip kubeproof")
    watched.healed()
    after = watched.run("ip route; nft list table ip house")
    assert sorted(after.splitlines()) == sorted(before.splitlines())


def test_another_configuration_holds_from_the_moment_of_a_reload_on(node: Node) -> None:
    with node.watched() as process:
        node.healed()
        node.configure(routes={"10.244.2.0/24": "10.9.0.3", "10.244.5.0/24": "10.9.0.5"})
        rules = node.directory / "rules.nft"
        rules.write_text(rules.read_text().replace("10.9.0.2", "10.9.0.5"))
        process.send_signal(signal.SIGHUP)
        assert node.healed() < _SOON
    assert node.run("ip route show proto 86").split("\n")[:2] == [
        "10.244.2.0/24 via 10.9.0.3 dev eth0 ",
        "10.244.5.0/24 via 10.9.0.5 dev eth0 ",
    ]
    assert "10.9.0.5" in node.run("nft list set ip kubeproof cluster")


def test_a_broken_configuration_is_said_and_borne(node: Node) -> None:
    with node.watched():
        node.healed()
        (node.directory / "network.json").write_text("{")
        node.until(lambda: "network.json is not JSON" in node.log.read_text())
        node.configure()
        node.healed()


def test_it_starts_again_without_making_rules_anew(node: Node) -> None:
    with node.watched():
        node.healed()
    before = node.run("nft --handle list ruleset")
    with node.watched():
        assert node.check() == []
    assert node.run("nft --handle list ruleset") == before


def test_at_rest_it_costs_next_to_nothing(node: Node) -> None:
    with node.watched() as process:
        node.healed()
        before, start = _cpu(process.pid), time.monotonic()
        time.sleep(12)
        used = (_cpu(process.pid) - before) / (time.monotonic() - start)
        resident = int(re.findall(r"^VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)[0])
    assert used < 0.005, f"{100 * used:.2f} % of a CPU"
    assert resident < 32_000, f"{resident} KiB"


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Proxy:
    """What kube-proxy says of itself, on a port of the namespace."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.mode, self.synced = "nftables", 0.0
        self.asked: list[str] = []
        self.ready = threading.Event()

    def serve(self) -> None:
        """Answer, for as long as the test lasts."""
        with Path(f"/run/netns/{self.node.name}").open("rb") as namespace:
            # Of this thread alone.
            assert ctypes.CDLL(None).setns(namespace.fileno(), 0x40000000) == 0
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.asked.append(self.path)
                name = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"
                metrics = f'# HELP x\n{name}{{ip_family="IPv4"}} {proxy.synced}\n{name}{{ip_family="IPv6"}} 1.7e+09\n'
                body = {"/proxyMode": proxy.mode, "/metrics": f"{metrics}other 1\n"}[self.path].encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with http.server.HTTPServer(("127.0.0.1", 10249), Handler) as self.server:
            self.ready.set()
            self.server.serve_forever(poll_interval=0.05)


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    """A node with a kube-proxy, and a systemctl that writes down its arguments."""
    node.kube_proxy.write_text(json.dumps({"metrics": "127.0.0.1:10249"}))
    _systemctl(node)
    made = Proxy(node)
    thread = threading.Thread(target=made.serve)
    thread.start()
    assert made.ready.wait(10)
    yield made
    made.server.shutdown()
    thread.join()


def _systemctl(node: Node) -> None:
    """Have a systemctl on the node that writes down its arguments."""
    (node.directory / "bin").mkdir()
    systemctl = node.directory / "bin" / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {node.directory}/told\n')
    systemctl.chmod(0o755)


def _told(node: Node) -> list[str]:
    path = node.directory / "told"
    return path.read_text().splitlines() if path.exists() else []


_RESTARTED = ["is-active --quiet kube-proxy.service", "--no-block try-restart kube-proxy.service"]
_FLANNEL = ["is-active --quiet kube-flannel.service", "--no-block try-restart kube-flannel.service"]
_TUNNEL = """
ip link add flannel.1 type vxlan id 1 dstport 8472 dev eth0; ip link set flannel.1 up
ip route add 10.244.5.0/24 via 10.244.5.0 dev flannel.1 onlink
ip route add 10.244.6.0/24 via 10.244.6.0 dev flannel.1 onlink
"""


@pytest.mark.parametrize(
    "lost", ["ip route flush dev flannel.1", "ip route delete 10.244.5.0/24", "ip link delete flannel.1"]
)
def test_a_flannel_that_has_lost_its_routes_is_restarted_once(node: Node, lost: str) -> None:
    _systemctl(node)
    node.configure(routes={}, tunnel="flannel.1")
    node.run(_TUNNEL)
    with node.watched():
        node.healed()
        # One more than there were is no loss.
        node.run("ip route add 10.244.7.0/24 via 10.244.7.0 dev flannel.1 onlink; ip route add 10.244.8.0/24 dev eth0")
        time.sleep(1.5)
        assert _told(node) == []
        start = time.monotonic()
        node.run(lost)
        node.until(lambda: bool(_told(node)))
        assert time.monotonic() - start < _SOON
        # What it has not written yet, and what is not its own, is not waited for.
        node.run("ip route delete 10.244.8.0/24 dev eth0")
        time.sleep(1.5)
    assert _told(node) == _FLANNEL
    assert "put back: flannel's routes, by its restart" in node.log.read_text()


def test_without_flannel_no_routes_are_anybodys_loss(node: Node) -> None:
    _systemctl(node)
    node.run(_TUNNEL)
    with node.watched():
        node.healed()
        node.run("ip route flush dev flannel.1")
        time.sleep(1.5)
    assert _told(node) == []


_OWN = "echo 'table ip kube-proxy { chain nat-prerouting { accept; }; }' | nft -f -"
_JUMPS = "; ".join(
    f"iptables -t {table} -N {target}; iptables -t {table} -A {chain} -m comment --comment x -j {target}"
    for table, chain, target in (
        ("nat", "PREROUTING", "KUBE-SERVICES"),
        ("nat", "POSTROUTING", "KUBE-POSTROUTING"),
        ("filter", "FORWARD", "KUBE-FORWARD"),
    )
)


@pytest.mark.parametrize(
    ("mode", "rules", "lost"),
    [
        ("nftables", _OWN, "nft flush ruleset"),
        ("nftables", _OWN, "nft flush table ip kube-proxy"),
        ("iptables", _JUMPS, "nft flush ruleset"),
        ("iptables", _JUMPS, "iptables -t filter -F"),
    ],
)
def test_a_kube_proxy_that_has_lost_its_rules_is_restarted_once(proxy: Proxy, mode: str, rules: str, lost: str) -> None:
    node = proxy.node
    proxy.mode, proxy.synced = mode, 1.7e9
    node.run(rules)
    with node.watched():
        node.healed()
        assert _told(node) == []
        start = time.monotonic()
        node.run(lost)
        node.until(lambda: bool(_told(node)))
        assert time.monotonic() - start < _SOON
        # What is started anew has not written anything yet.
        proxy.synced = 0.0
        time.sleep(1.5)
    assert _told(node) == _RESTARTED
    assert "put back: kube-proxy's rules, by its restart" in node.log.read_text()


def test_a_kube_proxy_that_has_not_written_its_rules_yet_is_left_alone(proxy: Proxy) -> None:
    with proxy.node.watched():
        proxy.node.healed()
        time.sleep(1.5)
    assert _told(proxy.node) == []
    assert "/metrics" in proxy.asked


def test_as_long_as_its_rules_are_there_it_is_not_asked(proxy: Proxy) -> None:
    proxy.synced = 1.7e9
    proxy.node.run(_OWN)
    with proxy.node.watched():
        proxy.node.healed()
    assert proxy.asked == []


def test_who_does_not_answer_says_nothing(proxy: Proxy) -> None:
    proxy.node.kube_proxy.write_text(json.dumps({"metrics": "127.0.0.1:1"}))
    with proxy.node.watched():
        proxy.node.healed()
    assert _told(proxy.node) == []


def test_a_process_that_only_has_the_name_is_none_of_its_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "kube-proxy"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([str(program), "60"]) as other:
        while Path(f"/proc/{other.pid}/comm").read_text().strip() != "kube-proxy":
            time.sleep(0.01)
        assert not kube_proxy._is_pods(other.pid)
        read = kube_proxy._read
        # As the kubelet's control groups would have it.
        pods = {f"/proc/{other.pid}/cgroup": "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-2.scope\n"}
        monkeypatch.setattr(kube_proxy, "_read", lambda path: pods.get(str(path)) or read(path))
        assert kube_proxy._is_pods(other.pid)
        other.send_signal(signal.SIGSTOP)
        os.waitpid(other.pid, os.WUNTRACED)
        assert not kube_proxy._is_pods(other.pid), "who stopped it wants it so"
        other.kill()
    assert not kube_proxy._is_pods(other.pid)


# As containerd writes it: the plugin takes either case.
_PORTS = [{"HostPort": 80, "ContainerPort": 8080, "Protocol": "tcp", "HostIP": ""}]


def _attachment(node: Node, number: int, **changes: object) -> None:
    """What libcni keeps of a pod with a port."""
    configuration = {
        "cniVersion": "1.0.0",
        "name": "kubeproof",
        "plugins": [{"type": "bridge"}, {"type": "portmap", "capabilities": {"portMappings": True}, "snat": False}],
    }
    document = {
        "kind": "cniCacheV1",
        "containerId": f"c{number}",
        "config": base64.b64encode(json.dumps(configuration).encode()).decode(),
        "ifName": "eth0",
        "networkName": "kubeproof",
        "netns": f"/run/netns/{node.name}",
        "cniArgs": [["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", f"web-{number}"]],
        "capabilityArgs": {"portMappings": _PORTS},
        "result": {"cniVersion": "1.0.0", "ips": [{"address": f"10.244.0.{number}/24"}]},
    }
    results = node.directory / "results"
    results.mkdir(exist_ok=True)
    (results / f"kubeproof-c{number}-eth0").write_text(json.dumps({**document, **changes}))


def test_ports_of_pods_are_given_to_the_plugin_once_more(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a plugin that writes down what it is given: the real one has its place in tests/local."""
    plugin = node.directory / "portmap"
    plugin.write_text(f'#!/bin/sh\necho "$CNI_COMMAND $CNI_CONTAINERID $(cat)" >> {node.directory}/plugin\n')
    plugin.chmod(0o755)
    _attachment(node, 1)
    _attachment(node, 2, capabilityArgs=None)
    _attachment(node, 3, networkName="other")
    _attachment(node, 4, netns="/run/netns/of-before-the-reboot")
    (node.directory / "results" / "broken").write_text("{")
    ruleset = Ruleset()
    monkeypatch.setattr(ruleset, "rules", lambda *_: [])
    ports = HostPorts(Attachments("kubeproof", node.directory / "results"), node.directory, [ruleset])
    [lost] = ports.lost()
    assert ports.put_back(lost) == "ports of pod default/web-1"
    calls = [line.split(" ", 2) for line in (node.directory / "plugin").read_text().splitlines()]
    assert [(verb, container) for verb, container, _ in calls] == [("DEL", "c1"), ("ADD", "c1")]
    assert json.loads(calls[1][2]) == {
        "cniVersion": "1.0.0",
        "name": "kubeproof",
        "type": "portmap",
        "snat": False,
        "runtimeConfig": {"portMappings": _PORTS},
        "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.244.0.1/24"}]},
    }
    jumps = {"PREROUTING": "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-DNAT": host_ports.chain(lost)}
    made = {name: [Rule(name, target.encode() + b"\0")] for name, target in jumps.items()}
    monkeypatch.setattr(ruleset, "rules", lambda table, name: made[name] if table == "nat" else [])
    assert ports.lost() == []


def _ports(node: Node) -> HostPorts:
    return HostPorts(Attachments("kubeproof", node.directory / "results"), node.directory, [Ruleset()])


def _portmap(node: Node) -> None:
    """A plugin that writes what the real one does with nftables; it fails for containers that are in a file."""
    plugin = node.directory / "portmap"
    plugin.write_text(f"""#!/bin/sh
[ "$CNI_COMMAND" = ADD ] || exit 0
echo "$CNI_CONTAINERID" >> {node.directory}/added
grep -qx "$CNI_CONTAINERID" {node.directory}/failing && exit 1
nft -f - <<EOF
table ip cni_hostport {{
  chain hostports {{
    tcp dport 80 dnat to 10.244.0.1:8080 comment "$CNI_CONTAINERID"
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat
    fib daddr type local jump hostports
  }}
}}
EOF
""")
    plugin.chmod(0o755)
    (node.directory / "failing").write_text("")


def _of(pods: list[dict[str, Any]]) -> list[str]:
    return [pod["containerId"] for pod in pods]


def test_ports_that_could_not_be_put_back_are_tried_again(node: Node) -> None:
    """Those of the pods that could be lead somewhere, so that rules are there."""
    _portmap(node)
    for number in (1, 2, 3):
        _attachment(node, number)
    (node.directory / "failing").write_text("c2\n")
    with node.inside():
        ports = _ports(node)
        pods = ports.due()
        assert _of(pods) == ["c1", "c2", "c3"]
        for pod in pods:
            with contextlib.suppress(PodNetworkError):
                ports.put_back(pod)
        assert _of(ports.lost()) == _of(ports.due()) == ["c2"]
        (node.directory / "failing").write_text("")
        [failed] = ports.due()
        ports.put_back(failed)
        assert ports.lost() == ports.due() == []


def test_ports_of_one_pod_are_put_back_if_they_stay_lost(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be about to go: its rules do so first."""
    _portmap(node)
    now = [1000.0]
    monkeypatch.setattr(host_ports, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for number in (1, 2):
        _attachment(node, number)
    with node.inside():
        ports = _ports(node)
        ports.put_back(ports.due()[0])
        assert (_of(ports.lost()), ports.due()) == (["c2"], [])
        now[0] += host_ports._PATIENCE
        [pod] = ports.due()
        (node.directory / "portmap").write_text("#!/bin/sh\n")
        ports.put_back(pod)
        assert ports.due() == [], "what does not help is not done at each look"
        now[0] += host_ports._AGAIN
        assert _of(ports.due()) == ["c2"]


def test_what_is_put_back_of_a_pod_that_went_meanwhile_goes_with_it(node: Node) -> None:
    _attachment(node, 1)
    plugin, record = node.directory / "portmap", node.directory / "results" / "kubeproof-c1-eth0"
    plugin.write_text(f'#!/bin/sh\necho "$CNI_COMMAND" >> {node.directory}/called\nrm -f {record}\n')
    plugin.chmod(0o755)
    with node.inside():
        ports = _ports(node)
        ports.put_back(ports.due()[0])
    assert (node.directory / "called").read_text().split() == ["DEL", "ADD", "DEL"]


@pytest.mark.parametrize(
    "changes",
    [
        {"config": "?"},
        {"config": base64.b64encode(b"{}").decode()},
        {"capabilityArgs": {"portMappings": [{"Port": 1}]}},
        {"result": None, "config": base64.b64encode(b'{"plugins": [{"type": "bridge"}]}').decode()},
        {"cniArgs": [["K8S_POD_NAME"]]},
    ],
)
def test_a_record_that_is_not_what_it_should_be_ends_nothing(node: Node, changes: dict[str, object]) -> None:
    _attachment(node, 1, **changes)
    ports = HostPorts(Attachments("kubeproof", node.directory / "results"), node.directory, [Ruleset()])
    for lost in ports.lost():
        with pytest.raises(PodNetworkError, match="ports of pod"):
            ports.put_back(lost)


_REPLACED_SECONDS = 30.0


def _crictl(node: Node) -> Path:
    """A crictl that writes down what it is asked, and stops a sandbox as the runtime does: its namespace is gone."""
    program = node.directory / "crictl"
    program.write_text(f"""#!/bin/sh
echo "$*" >> {node.directory}/asked
case "$*" in
*"ps --quiet"*) echo "container-of-$6" ;;
*stopp*) sed -i s,/run/netns/{node.name},/run/netns/stopped, {node.directory}/results/kubeproof-"$4"-eth0 ;;
esac
""")
    program.chmod(0o755)
    return program


def _former(node: Node, *networks: str) -> FormerPods:
    attachments = Attachments("kubeproof", node.directory / "results")
    return FormerPods(attachments, networks, str(_crictl(node)))


def test_pods_of_a_former_network_get_new_sandboxes(node: Node) -> None:
    """The real runtime has its place in tests/local."""
    _attachment(node, 1)
    _attachment(node, 2, result={"ips": [{"address": "10.244.3.2/24"}]})
    _attachment(node, 3, networkName="other")
    _attachment(node, 4, netns="/run/netns/of-before-the-reboot")
    _attachment(node, 5, result={"ips": [{"address": "10.244.3.5/24"}, {"address": "fd00::5/64"}]})
    former = _former(node, "10.244.3.0/24", "fd01::/64")
    assert [told(each) for each in former.present()] == [
        "pod default/web-1 with 10.244.0.1 of a former pod network",
        "pod default/web-5 with 10.244.3.5 and fd00::5 of a former pod network",
    ]
    assert former.replace() == [
        "pod default/web-1 with 10.244.0.1 of a former pod network, by a new sandbox",
        "pod default/web-5 with 10.244.3.5 and fd00::5 of a former pod network, by a new sandbox",
    ]
    assert former.replace() == [], "it is being done"
    assert waiting.until(lambda: not former.present(), _REPLACED_SECONDS, pause=0.05)
    assert former.replace() == []
    asked = (node.directory / "asked").read_text().splitlines()
    for number in (1, 5):
        mine = [line.split(" ", 2)[2] for line in asked if line.endswith(f"c{number}")]
        assert mine == [f"ps --quiet --pod c{number}", f"stop --timeout 30 container-of-c{number}", f"stopp c{number}"]
    assert not [line for line in asked if line.endswith(("c2", "c3", "c4"))]


def test_without_a_network_of_its_own_no_pod_is_of_a_former_one(node: Node) -> None:
    _attachment(node, 1)
    assert _former(node).present() == []


@pytest.mark.parametrize("result", [None, {}, {"ips": [{}]}, {"ips": ["?"]}, {"ip4": {"ip": "10.1.0.1/24"}}])
def test_a_pod_whose_addresses_are_not_known_is_left_alone(node: Node, result: object) -> None:
    _attachment(node, 1, result=result)
    assert _former(node, "10.244.3.0/24").present() == []


def _replaced(former: FormerPods) -> list[str]:
    """What it begins once it has ended what it began before."""
    begun = waiting.until(former.replace, _REPLACED_SECONDS, pause=0.05)
    assert begun
    return begun


def test_pods_that_cannot_be_stopped_are_tried_again_and_said(node: Node) -> None:
    _attachment(node, 1)
    former = _former(node, "10.244.3.0/24")
    Path(node.directory, "crictl").write_text("#!/bin/sh\nexit 1\n")
    assert former.replace()
    for _ in range(2):
        with pytest.raises(PodNetworkError, match=r"of a former pod network stays: .*crictl failed"):
            _replaced(former)
    Path(node.directory, "crictl").unlink()
    with pytest.raises(PodNetworkError, match=r"there is no .*crictl"):
        _replaced(former)


def test_it_has_no_module_but_its_own_and_pythons(node: Node) -> None:
    with zipfile.ZipFile(node.program) as archive:
        sources = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {"__main__.py", "kubeproof/__init__.py", "kubeproof/install/pod_network/main.py"} <= set(sources)
    for name, source in sources.items():
        # What Python 3.8 has no grammar for fails here.
        for each in ast.walk(ast.parse(source, name, feature_version=(3, 8))):
            modules = [alias.name for alias in each.names] if isinstance(each, ast.Import) else []
            modules += [each.module or ""] if isinstance(each, ast.ImportFrom) else []
            for module in modules:
                ours = module.startswith("kubeproof.install.pod_network")
                assert ours or module.split(".")[0] in sys.stdlib_module_names, f"{name} imports {module}"


def test_without_a_configuration_it_says_what_to_do(node: Node) -> None:
    (node.directory / "network.json").unlink()
    done = subprocess.run(node.command("check"), env=node.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "network.json cannot be read (No such file or directory): run playbooks/cluster.yml" in done.stderr


def test_nobody_who_does_not_read_what_it_says_keeps_it_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setattr(watch, "NOTIFY_SECONDS", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(address)
        # More than the kernel keeps for it (net.unix.max_dgram_qlen).
        for _ in range(600):
            watch.notify("STATUS=well")
        assert deaf.recv(1 << 10) == b"STATUS=well"
