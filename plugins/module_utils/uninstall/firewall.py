"""Rules of nftables and iptables that components made: theirs alone, never a flush of what others share.

``iptables`` today is often nftables in disguise, and each of the two can be there beside the other: both are looked at.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import Any, Callable, Dict, List, NamedTuple, Set

from ansible.module_utils.uninstall.account import Account, run

# Of the unit kube-pod-network, which leaves its table there when it is stopped, and of kube-proxy.
PROXY_TABLES = ("ip kube-proxy", "ip6 kube-proxy")
TABLES = ("ip kubeproof", "ip6 kubeproof", *PROXY_TABLES)
# Of the CNI plugin portmap, for all networks of the host: ours to remove only when nobody has a port in it.
PORTMAP_TABLES = ("ip cni_hostport", "ip6 cni_hostport")
PORTMAP_PORTS = ("hostports", "hostip_hostports")
# Of kubelet, kube-proxy and kube-router.
CHAINS = re.compile(r"KUBE-.*")
# Of Calico and Cilium, which are removed on hosts that were installed with them. Calico marks its rules in others'
# chains by a comment.
APPLIED_CHAINS = re.compile(r"cali-.*|(OLD_)?CILIUM_.*")
APPLIED_SETS = re.compile(r"(inet6:)?cali[46]0.*|cilium_node_set_v[46]")
APPLIED_TABLES = ("ip calico", "ip6 calico", "arp calico-arp")
APPLIED_RULE = re.compile(r'--comment "?cali:')
APPLIED_NETWORKS = ("calico", "cilium")
# Of these, kube-router's: all that its controller for network policies makes, and sets of addresses that only rules in
# these chains name. It fills a set under another name, TMP-, and would leave that if it was killed.
POLICY_CHAINS = re.compile(r"KUBE-(ROUTER-(INPUT|FORWARD|OUTPUT)|POD-FW-.*|NWPLCY-.*)")
POLICY_SETS = re.compile(r"(inet6:)?(KUBE-(SRC|DST)-[A-Z2-7]{16}|kube-router-local-pods|TMP-[A-Z2-7]{16})")
# Of these, kube-proxy's (pkg/proxy/iptables/proxier.go); the kubelet has KUBE-FIREWALL, KUBE-IPTABLES-HINT and
# KUBE-KUBELET-CANARY.
PROXY_CHAINS = re.compile(
    r"KUBE-(SERVICES|EXTERNAL-SERVICES|NODEPORTS|POSTROUTING|MARK-MASQ|FORWARD|PROXY-FIREWALL|PROXY-CANARY"
    r"|(SVC|SVL|FW|EXT|SEP)-[A-Z2-7]{16})"
)
PORTMAP_CHAINS = re.compile(r"CNI-HOSTPORT-.*")
PORTMAP_CHAIN = "CNI-HOSTPORT-DNAT"
# What iptables makes of nftables when it is first used.
BUILTIN_TABLES = {"filter", "nat", "mangle", "raw", "security"}
BUILTIN_CHAINS = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
FLAVOURS = ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy")


class Table(NamedTuple):
    """One table of ``iptables-save``: its chains and its rules, ``-A CHAIN …`` each."""

    name: str
    chains: List[str]
    rules: List[str]


def tables(saved: str) -> List[Table]:
    """Read ``iptables-save``."""
    found: List[Table] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            found.append(Table(line[1:], [], []))
        elif line.startswith(":"):
            found[-1].chains.append(line[1:].split()[0])
        elif line.startswith("-A "):
            found[-1].rules.append(line)
    return found


def own_chains(table: Table) -> List[str]:
    """Chains that go: of Kubernetes always, of port mappings if no port is mapped."""
    ports = any(rule.split()[1] == PORTMAP_CHAIN for rule in table.rules)
    going = (CHAINS,) if ports else (CHAINS, PORTMAP_CHAINS)
    return [chain for chain in table.chains if any(pattern.fullmatch(chain) for pattern in going)]


def applied_chains(table: Table) -> List[str]:
    """Chains that are removed on hosts with Calico or Cilium."""
    return [*own_chains(table), *(chain for chain in table.chains if APPLIED_CHAINS.fullmatch(chain))]


def policy_chains(table: Table) -> List[str]:
    """Chains that go where network policies are not to be enforced any more."""
    return [chain for chain in table.chains if POLICY_CHAINS.fullmatch(chain)]


def proxy_chains(table: Table) -> List[str]:
    """Chains that go where something else than kube-proxy serves Services."""
    return [chain for chain in table.chains if PROXY_CHAINS.fullmatch(chain)]


def target(rule: str) -> str:
    """The chain to which a rule jumps; empty if to none. Quoted comments before it may say anything."""
    words = re.sub(r'"(\\.|[^"\\])*"', '""', rule).split()
    return next((words[place + 1] for place, word in enumerate(words[:-1]) if word in ("-j", "-g")), "")


def removal(saved: str, chains: Callable[[Table], List[str]] = own_chains) -> str:
    """What ``iptables-restore --noflush`` needs to remove our chains and the rules that lead to them; empty if none."""
    document: List[str] = []
    for table in tables(saved):
        own = chains(table)
        foreign = [rule for rule in table.rules if rule.split()[1] not in own]
        marked = any(APPLIED_CHAINS.fullmatch(chain) for chain in own)
        leading = [rule for rule in foreign if target(rule) in own or (marked and APPLIED_RULE.search(rule))]
        if own:
            document += ["*" + table.name]
            document += ["-D" + rule[2:] for rule in leading]
            document += ["-F " + chain for chain in own]
            document += ["-X " + chain for chain in own]
            document += ["COMMIT"]
    return "".join(line + "\n" for line in document)


class Ruleset:
    """What ``nft --json list ruleset`` says: chains by table, and which of them have rules."""

    def __init__(self, document: Dict[str, Any]) -> None:
        self.tables: Dict[str, List[str]] = {}
        self.rules: Dict[str, Set[str]] = {}
        self.others: Set[str] = set()
        self.accepting: Set[str] = set()
        for item in document["nftables"]:
            for kind, value in item.items():
                self._add(kind, value)

    def _add(self, kind: str, value: Dict[str, Any]) -> None:
        if kind == "table":
            self.tables.setdefault("%s %s" % (value["family"], value["name"]), [])
        elif kind != "metainfo":
            table = "%s %s" % (value["family"], value["table"])
            if kind == "chain":
                self.tables.setdefault(table, []).append(value["name"])
                if value.get("policy", "accept") == "accept":
                    self.accepting.add("%s %s" % (table, value["name"]))
            elif kind == "rule":
                self.rules.setdefault(table, set()).add(value["chain"])
            else:
                self.others.add(table)

    def ours(self) -> List[str]:
        """Tables that go as they are."""
        unused = [table for table in PORTMAP_TABLES if not self.rules.get(table, set()) & set(PORTMAP_PORTS)]
        return [table for table in (*TABLES, *unused) if table in self.tables]

    def leftovers(self, before: Dict[str, List[str]]) -> List[str]:
        """Chains, and after them tables, that iptables made since ``before`` and in which there is nothing."""
        chains: List[str] = []
        emptied: List[str] = []
        for table, names in self.tables.items():
            if table.split()[0] not in ("ip", "ip6") or table.split()[1] not in BUILTIN_TABLES:
                continue
            unused = [name for name in names if self._unused(table, name) and name not in before.get(table, [])]
            chains += ["chain %s %s" % (table, name) for name in unused]
            if unused == names and table not in before and table not in self.others:
                emptied.append("table " + table)
        return chains + emptied

    def _unused(self, table: str, chain: str) -> bool:
        accepts = "%s %s" % (table, chain) in self.accepting
        return chain in BUILTIN_CHAINS and accepts and chain not in self.rules.get(table, set())


class Firewall:
    """The host's rules."""

    def __init__(self, account: Account, entries: List[Dict[str, Any]]) -> None:
        self.account = account
        self.before = next((entry["before"] for entry in entries if entry["kind"] == "firewall"), None)
        chosen = [entry.get("value") for entry in entries if entry.get("name") == "pod_network_plugin"]
        self.applied = any(name in APPLIED_NETWORKS for name in chosen)

    def undo(self) -> None:
        """Remove our tables and chains, then what only they had made iptables create."""
        if shutil.which("nft"):
            there = ruleset()
            ours = there.ours() + [table for table in APPLIED_TABLES if self.applied and table in there.tables]
            script = "".join("delete table %s\n" % table for table in ours)
            self.account.undo_all(["nft table " + table for table in ours], "removed", lambda: nft(script))
        for flavour in flavours():
            self._iptables(flavour, applied_chains if self.applied else own_chains)
        self._sets()
        if shutil.which("nft") and self.before is not None:
            leftovers = ruleset().leftovers(self.before)
            script = "".join("delete %s\n" % each for each in leftovers)
            self.account.undo_all(["nft " + each for each in leftovers], "removed", lambda: nft(script))

    def undo_policies(self) -> None:
        """Remove what enforces network policies, and nothing else of ours."""
        for flavour in flavours():
            self._iptables(flavour, policy_chains)
        self._sets()

    def undo_services(self) -> None:
        """Remove kube-proxy's rules, and nothing else of ours."""
        if shutil.which("nft"):
            tables = [table for table in PROXY_TABLES if table in ruleset().tables]
            script = "".join("delete table %s\n" % table for table in tables)
            self.account.undo_all(["nft table " + table for table in tables], "removed", lambda: nft(script))
        for flavour in flavours():
            self._iptables(flavour, proxy_chains)

    def _iptables(self, flavour: str, going: Callable[[Table], List[str]]) -> None:
        document = removal(run([flavour + "-save"]), going)
        chains = [line.split()[1] for line in document.splitlines() if line.startswith("-X ")]
        names = ["%s chain %s" % (flavour, chain) for chain in chains]
        self.account.undo_all(names, "removed", lambda: run([flavour + "-restore", "--noflush"], stdin=document))

    def _sets(self) -> None:
        """Remove kube-router's sets of addresses, which no rule names any more."""
        if shutil.which("ipset"):
            patterns = (POLICY_SETS, APPLIED_SETS) if self.applied else (POLICY_SETS,)
            names = run(["ipset", "list", "-name"]).splitlines()
            sets = [name for name in names if any(pattern.fullmatch(name) for pattern in patterns)]
            script = "".join("destroy %s\n" % name for name in sets)
            self.account.undo_all(["ipset " + name for name in sets], "removed", lambda: restore_sets(script))


def flavours() -> List[str]:
    """The iptables that are here. Where there is only one, it has only the plain name."""
    here = [name for name in FLAVOURS if shutil.which(name + "-save")]
    return here or [name for name in ("iptables", "ip6tables") if shutil.which(name + "-save")]


def ruleset() -> Ruleset:
    """Rules of nftables now."""
    return Ruleset(json.loads(run(["nft", "--json", "list", "ruleset"])))


def restore_sets(script: str) -> None:
    """Apply commands of ipset, one after the other."""
    run(["ipset", "restore"], stdin=script)


def nft(script: str) -> None:
    """Apply a script in one transaction."""
    run(["nft", "--file", "-"], stdin=script)
