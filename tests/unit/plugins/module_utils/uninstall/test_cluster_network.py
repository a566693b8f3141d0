"""What Calico and Cilium leave goes, and nothing of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.uninstall import cluster_network, firewall
from ansible.module_utils.uninstall.account import Account
from ansible.module_utils.uninstall.cluster_network import TRACES, ClusterNetwork
from ansible.module_utils.uninstall.network import Network

Answers = dict[str, Any]


def entries(plugin: str, pods: str = "10.244.0.0/16") -> list[dict[str, Any]]:
    return [
        {"kind": "setting", "name": "cluster_pod_network", "value": pods},
        {"kind": "setting", "name": "pod_network_plugin", "value": plugin},
    ]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], list[str]]:
    """A host that answers commands which begin so; returns the other commands, which it was given."""

    def made(answers: Answers) -> list[str]:
        ran: list[str] = []

        def run(command: list[str], *_: object, **__: object) -> str:
            words = " ".join(command)
            for begin, answer in answers.items():
                if words.startswith(begin):
                    return json.dumps(answer)
            if " show" not in words:
                ran.append(words)
            return ""

        monkeypatch.setattr(cluster_network, "run", run)
        monkeypatch.setattr(cluster_network, "remove_device", lambda name: ran.append(f"remove {name}"))
        monkeypatch.setattr(cluster_network.shutil, "which", lambda name: f"/usr/sbin/{name}")
        return ran

    return made


def links(*names: str) -> list[dict[str, str]]:
    return [{"ifname": name} for name in names]


def test_calicos_devices_and_routes_go(host: Callable[[Answers], list[str]], tmp_path: Path) -> None:
    routes = [
        {"dst": "10.244.1.0/26", "gateway": "192.0.2.2", "dev": "eth0", "protocol": "bird"},
        {"type": "blackhole", "dst": "10.244.0.0/26", "protocol": "80"},
        {"dst": "10.244.9.0/24", "gateway": "192.0.2.9", "dev": "eth0", "protocol": "static"},
        {"dst": "10.244.0.5", "dev": "cali0123456789a", "scope": "link"},
    ]
    ran = host(
        {
            "ip -json link show": links("lo", "eth0", "cali0123456789a", "vxlan.calico", "tunl0", "calibrate0"),
            "ip -json address show dev tunl0": [{"addr_info": [{"local": "10.244.0.1"}]}],
            "ip -4 -json route show root 10.244.0.0/16": routes,
        }
    )
    ClusterNetwork(Account(), entries("calico"), str(tmp_path)).undo()
    assert ran == [
        "ip -4 route delete 10.244.1.0/26 via 192.0.2.2 dev eth0 proto bird",
        "ip -4 route delete blackhole 10.244.0.0/26 proto 80",
        "remove cali0123456789a",
        "remove vxlan.calico",
        "ip address flush dev tunl0",
        "ip link set dev tunl0 down",
    ]


def test_ciliums_filters_rules_devices_and_files_go(host: Callable[[Answers], list[str]], tmp_path: Path) -> None:
    files = ["etc/cni/net.d/05-cilium.conflist", "etc/sysctl.d/99-zzz-override_cilium.conf", "var/lib/cilium/x"]
    others = ["etc/sysctl.d/99-mine.conf", "etc/cni/net.d/87-podman.conflist.cilium_bak"]
    for name in (*files, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rules = [
        {"priority": 9, "src": "all", "fwmark": "0x200", "table": "2004"},
        {"priority": 100, "src": "all", "table": "local"},
        {"priority": 32766, "src": "all", "table": "main"},
    ]
    filters = [{"pref": 1, "kind": "bpf", "options": {"bpf_name": "cil_from_netdev-eth0"}}, {"pref": 9, "kind": "u32"}]
    ran = host(
        {
            "ip -json link show": links("lo", "eth0", "cilium_host", "cilium_vxlan", "lxc0123456789ab", "lxcbr0"),
            "ip -4 -json rule show": rules,
            "ip -6 -json rule show": [{"priority": 0, "table": "local"}],
            "tc -json filter show dev eth0 ingress": filters,
        }
    )
    ClusterNetwork(Account(), entries("cilium"), str(tmp_path)).undo()
    assert ran == [
        "tc filter delete dev eth0 ingress pref 1",
        "ip -4 rule delete priority 9 table 2004",
        "ip -4 rule add priority 0 table local",
        "ip -4 rule delete priority 100 table local",
        "remove cilium_host",
        "remove cilium_vxlan",
        "remove lxc0123456789ab",
    ]
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["etc/cni/net.d/87-podman.conflist", "etc/sysctl.d/99-mine.conf"]


@pytest.mark.parametrize("plugin", ["bridge", "flannel", "none", ""])
def test_with_other_networks_nothing_is_looked_at(plugin: str, host: Callable[[Answers], list[str]]) -> None:
    account = Account()
    ran = host({})
    ClusterNetwork(account, entries(plugin)).undo()
    assert (ran, account.changes, account.problems) == ([], [], [])


@pytest.mark.parametrize("plugin", sorted(TRACES))
def test_check_mode_only_tells(plugin: str, host: Callable[[Answers], list[str]], tmp_path: Path) -> None:
    (tmp_path / "opt/cni/bin").mkdir(parents=True)
    for name in ("calico", "cilium-cni", "bridge"):
        (tmp_path / "opt/cni/bin" / name).touch()
    account = Account(check_mode=True)
    ran = host({"ip -json link show": links("vxlan.calico", "cilium_host")})
    ClusterNetwork(account, entries(plugin), str(tmp_path)).undo()
    assert ran == []
    assert len(account.changes) == 2
    assert len(list((tmp_path / "opt/cni/bin").iterdir())) == 3


def test_what_cni_has_attached_is_known_by_the_networks_name(tmp_path: Path) -> None:
    assert Network(Account(), entries("calico"), str(tmp_path)).applied == {"k8s-pod-network"}
    assert Network(Account(), entries("cilium"), str(tmp_path)).applied == {"cilium", "portmap"}
    assert Network(Account(), entries("bridge"), str(tmp_path)).applied == set()


SAVED = """*filter
:FORWARD ACCEPT [0:0]
:cali-FORWARD - [0:0]
:CILIUM_FORWARD - [0:0]
:CILIUMOTHER - [0:0]
:house - [0:0]
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -m comment --comment "calibration" -j ACCEPT
-A FORWARD -m comment --comment "cilium-feeder: CILIUM_FORWARD" -j CILIUM_FORWARD
-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -j RETURN
COMMIT
"""


def test_their_chains_go_with_what_they_have_put_into_others() -> None:
    assert firewall.removal(SAVED) == ""
    lines = firewall.removal(SAVED, firewall.applied_chains).splitlines()
    assert [line for line in lines if line.startswith("-D")] == [
        '-D FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD',
        '-D FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m mark --mark 0x10000/0x10000 -j ACCEPT',
        '-D FORWARD -m comment --comment "cilium-feeder: CILIUM_FORWARD" -j CILIUM_FORWARD',
    ]
    assert [line for line in lines if line.startswith("-X")] == ["-X cali-FORWARD", "-X CILIUM_FORWARD"]
    for name in ("cali40masq-ipam-pools", "cali60s:abc", "cilium_node_set_v4"):
        assert firewall.APPLIED_SETS.fullmatch(name)
    assert not firewall.APPLIED_SETS.fullmatch("calibration")


@pytest.mark.parametrize(("plugin", "gone"), [("calico", True), ("bridge", False)])
def test_calicos_own_tables_go_in_each_family(plugin: str, gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [("ip", "calico"), ("ip6", "calico"), ("arp", "calico-arp"), ("inet", "calico")]
    document = {"nftables": [{"table": {"family": family, "name": name}} for family, name in tables]}
    scripts: list[str] = []
    monkeypatch.setattr(firewall.shutil, "which", lambda name: "/usr/sbin/nft" if name == "nft" else None)
    monkeypatch.setattr(firewall, "ruleset", lambda: firewall.Ruleset(document))
    monkeypatch.setattr(firewall, "nft", scripts.append)
    firewall.Firewall(Account(), entries(plugin)).undo()
    # In its mode nftables the first two; that of ARP in each mode.
    wanted = ["delete table ip calico", "delete table ip6 calico", "delete table arp calico-arp"]
    assert "".join(scripts).splitlines() == (wanted if gone else [])
