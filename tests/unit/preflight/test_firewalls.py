"""Firewalls, and the commands that open them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.preflight.builders import RULES, VALUES, host

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.firewalls import check_firewall
from kubeproof.preflight.model import Host, Rules

PODS = "10.244.0.0/16"
ADDRESSES = ("10.0.0.1", "", "10.0.0.2")
INSTALLED = {"manifest": True, "units": ["kubelet.service"]}
WORKER_PORTS = "10250,10256"


def findings(entry: Host) -> list[Finding]:
    return list(check_firewall(entry, RULES, PODS, ADDRESSES))


def only(entry: Host) -> Finding:
    (finding,) = findings(entry)
    return finding


def chain(
    hook: str, program: str = "nft", family: str = "ip", table: str = "filter", name: str = "", by: str = "policy"
) -> dict[str, str]:
    """A chain with policy drop, named as iptables names it."""
    return {"program": program, "family": family, "table": table, "name": name or hook.upper(), "hook": hook, "by": by}


def worker(*chains: dict[str, str], groups: Sequence[str] = ("workers",), **more: Any) -> Host:
    return host(groups=tuple(groups), firewall={"ufw": more.pop("ufw", False), "chains": list(chains)}, **more)


FIREWALLD = [{"pid": 7, "name": "firewalld", "unit": "firewalld.service"}]


def test_a_host_without_one() -> None:
    assert findings(worker()) == []
    silent = Host("w9", frozenset(["workers"]), "10.0.0.9", problem="timed out", unreachable=True)
    assert findings(silent) == []
    assert findings(worker(ufw=True, user={"id": 1000, "name": "ubuntu"})) == []


@pytest.mark.parametrize(
    "changes", [{"ufw": True}, {"processes": FIREWALLD}, {"chains": chain("forward")}, {"chains": chain("input")}]
)
def test_an_error_before_the_installation_and_a_warning_after(changes: dict[str, Any]) -> None:
    chains = [changes.pop("chains")] if "chains" in changes else []
    assert (only(worker(*chains, **changes)).id, only(worker(*chains, **changes)).severity) == ("firewall", "error")
    assert only(worker(*chains, installed=INSTALLED, **changes)).severity == "warning"


def test_table_chain_policy_and_what_has_to_pass_are_said() -> None:
    finding = only(worker(chain("forward"), chain("input", "iptables-legacy")))
    assert finding.problem == (
        "it may drop what the cluster needs, which cannot be judged by its rules: policy drop of chain FORWARD (hook "
        "forward) in table ip filter, policy drop of chain INPUT (hook input) in table iptables-legacy filter"
    )
    assert finding.remediation.startswith(
        "Let it accept TCP 10250, 10256 from the cluster's hosts and pods, and forward what is from or to pods "
        f"({PODS}): "
    )
    assert "preflight_ignore" in finding.remediation


def test_a_rule_that_drops_the_rest_is_said_as_one() -> None:
    finding = only(worker(chain("forward", by="rule")))
    assert finding.problem.endswith(
        ": a rule of chain FORWARD (hook forward) in table ip filter, which drops or rejects all that no other accepts"
    )
    # Before the rule, as before the policy.
    assert f"iptables -I FORWARD -s {PODS} -j ACCEPT" in finding.remediation
    kept = chain("forward", family="inet", table="firewalld", name="filter_FORWARD", by="rule")
    finding = only(worker(kept, processes=FIREWALLD))
    assert "firewalld is on, a rule of chain filter_FORWARD (hook forward) in table inet firewalld" in finding.problem
    assert "nft insert" not in finding.remediation


def test_each_program_has_its_commands() -> None:
    said = only(worker(chain("forward"), chain("input", "iptables-legacy"))).remediation
    assert f"iptables -I FORWARD -s {PODS} -j ACCEPT; iptables -I FORWARD -d {PODS} -j ACCEPT; " in said
    assert (
        f"; iptables-legacy -I INPUT -s 10.0.0.1,10.0.0.2,{PODS} -p tcp -m multiport --dports {WORKER_PORTS} -j ACCEPT."
        in said
    )
    said = only(worker(chain("forward", family="inet", name="fw"), chain("input", table="own", name="in"))).remediation
    assert f"nft insert rule inet filter fw ip saddr {PODS} accept; nft insert rule inet filter fw ip daddr" in said
    assert (
        f"nft insert rule ip own in ip saddr '{{10.0.0.1,10.0.0.2,{PODS}}}' tcp dport '{{{WORKER_PORTS}}}' accept"
        in said
    )


def test_programs_that_keep_rules_of_their_own_are_told_these() -> None:
    finding = only(worker(chain("input"), chain("forward"), ufw=True))
    assert "ufw is on, policy drop of chain INPUT" in finding.problem
    assert f"ufw allow proto tcp from 10.0.0.2 to any port {WORKER_PORTS}; " in finding.remediation
    assert f"ufw route allow from {PODS}; ufw route allow to {PODS}." in finding.remediation
    assert "iptables -I" not in finding.remediation
    finding = only(worker(chain("input", table="firewalld", family="inet"), processes=FIREWALLD))
    assert "firewalld is on" in finding.problem
    assert (
        "firewall-cmd --permanent --zone=trusted --add-source=10.0.0.1 --add-source=10.0.0.2 "
        f"--add-source={PODS}; firewall-cmd --reload." in finding.remediation
    )
    assert "nft insert" not in finding.remediation


def test_others_chains_are_opened_besides() -> None:
    assert "nft insert rule inet own" in only(worker(chain("input", family="inet", table="own"), ufw=True)).remediation


def test_where_no_pods_are_nothing_is_forwarded() -> None:
    assert findings(worker(chain("forward"), groups=["etcd"])) == []
    finding = only(worker(chain("input"), ufw=True, groups=["etcd"]))
    assert "Let it accept TCP 2379, 2380 from the cluster's hosts and pods: " in finding.remediation
    assert "route" not in finding.remediation


FLANNEL = Rules.parse({**VALUES, "pod_network_plugin": "flannel", "pod_network_flannel_port": 4789})


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (worker(chain("input", "iptables")), "-p udp -m multiport --dports 4789 -j ACCEPT"),
        (worker(chain("input", table="own", name="in")), "udp dport '{4789}' accept"),
        (worker(ufw=True), "ufw allow proto udp from 10.0.0.2 to any port 4789; "),
        (worker(processes=FIREWALLD), "--add-source=10.0.0.2"),
    ],
)
def test_packets_of_pods_in_udp_have_to_pass_as_well(entry: Host, said: str) -> None:
    [finding] = check_firewall(entry, FLANNEL, PODS, ADDRESSES)
    assert "UDP 4789 from the cluster's hosts" in finding.remediation
    assert said in finding.remediation
    assert "udp" not in only(entry).remediation.lower()


def test_hosts_without_pods_need_no_udp() -> None:
    [finding] = check_firewall(worker(chain("input"), groups=["etcd"]), FLANNEL, PODS, ADDRESSES)
    assert "udp" not in finding.remediation.lower()


IPV6 = ("fd00:10:244::/56", ("fd00::1", "", "fd00::2"))


def dual(entry: Host) -> list[Finding]:
    return list(check_firewall(entry, RULES, PODS, ADDRESSES, IPV6))


def test_chains_of_ipv6_matter_with_a_second_family() -> None:
    entry = worker(chain("forward", family="ip6"), chain("input", family="ip6", table="mine", name="in"))
    assert findings(entry) == []
    (finding,) = dual(entry)
    assert "chain FORWARD (hook forward) in table ip6 filter" in finding.problem
    assert f"from or to pods ({PODS}, {IPV6[0]})" in finding.remediation
    assert f": ip6tables -I FORWARD -s {IPV6[0]} -j ACCEPT; ip6tables -I FORWARD -d {IPV6[0]} -j ACCEPT; " in (
        finding.remediation
    )
    insert = "nft insert rule ip6 mine in"
    assert (
        f"; {insert} meta l4proto ipv6-icmp accept; {insert} ip6 saddr '{{fd00::1,fd00::2,{IPV6[0]}}}' tcp dport "
        f"'{{{WORKER_PORTS}}}' accept."
    ) in finding.remediation


def test_each_chain_is_opened_for_the_families_that_it_sees() -> None:
    (finding,) = dual(worker(chain("forward"), chain("forward", family="inet", table="mine", name="on")))
    assert "ip6tables" not in finding.remediation
    for ip, pods in (("ip", PODS), ("ip6", IPV6[0])):
        assert f"nft insert rule inet mine on {ip} saddr {pods} accept" in finding.remediation
    (finding,) = dual(worker(chain("input", "ip6tables-legacy", family="ip6"), ufw=True))
    assert f"ufw route allow to {IPV6[0]}" in finding.remediation
    assert "-I INPUT" not in finding.remediation


def test_chains_of_ipv4_do_not_matter_without_it() -> None:
    pods, addresses = IPV6
    entry = worker(chain("forward", family="ip"), chain("input", family="ip"))
    assert list(check_firewall(entry, RULES, pods, addresses)) == []
    (finding,) = check_firewall(worker(chain("forward", family="ip6")), RULES, pods, addresses)
    assert f": ip6tables -I FORWARD -s {pods} -j ACCEPT; ip6tables -I FORWARD -d {pods} -j ACCEPT." in (
        finding.remediation
    )
