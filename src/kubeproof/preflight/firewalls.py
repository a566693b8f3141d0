"""Whether a firewall may drop what the cluster needs: firewalld, ufw, or chains that drop what no rule accepts.

Rules with conditions are not read: which packets they accept cannot be judged from here, so the finding says what has
to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kubeproof.preflight.findings import Finding, Severity
from kubeproof.preflight.model import Host, Rules
from kubeproof.settings.host_report import Chain, HostReport

_FIREWALLD, _UFW = "firewalld", "ufw"
# Families of chains that see packets of one IP family only.
_IPV4, _IPV6 = "ip", "ip6"


@dataclass(frozen=True)
class Needs:
    """What has to pass: TCP to some ports from the cluster's hosts and pods, and, on nodes, what pods send and get.

    ``udp``: ports for packets of pods, from the cluster's hosts.
    """

    ports: tuple[str, ...]
    sources: tuple[str, ...]
    pods: str
    forward: bool
    udp: tuple[str, ...] = ()

    @property
    def ipv6(self) -> bool:
        """Whether they are packets of IPv6."""
        return ":" in self.pods

    def __str__(self) -> str:
        """In words."""
        forward = f", and forward what is from or to pods ({self.pods})" if self.forward else ""
        udp = f", UDP {', '.join(self.udp)} from the cluster's hosts" if self.udp else ""
        return f"TCP {', '.join(self.ports)} from the cluster's hosts and pods{udp}{forward}"


def check_firewall(
    host: Host, rules: Rules, pods: str, addresses: Sequence[str], ipv6: tuple[str, Sequence[str]] = ("", ())
) -> Iterator[Finding]:
    """One finding on all that a host has of these. ``pods``: their network; ``addresses``: the cluster's hosts'.

    ``ipv6``: both of a second IP family. Chains of a family that the cluster does not have do not matter.
    """
    # Without root what is there is not known, and that is said.
    if host.report is None or host.report["user"]["id"] != 0:
        return
    ports = tuple(str(rule.port) for rule in rules.ports if rule.listen == "all" and host.within(rule.groups))
    udp = tuple(map(str, rules.udp_ports)) if host.node else ()
    given = [(pods, addresses), *([ipv6] if ipv6[0] else [])]
    needs = [Needs(ports, (*filter(None, known), own), own, host.node, udp) for own, known in given]
    programs = _programs(host.report)
    without = {_IPV4, _IPV6} - {_IPV6 if each.ipv6 else _IPV4 for each in needs}
    # Pods' packets are forwarded on nodes only.
    chains = [
        chain
        for chain in host.report["firewall"]["chains"]
        if (host.node or chain["hook"] == "input") and chain["family"] not in without
    ]
    named = [*(f"{program} is on" for program in programs), *map(_named, chains)]
    if not named:
        return
    problem = f"it may drop what the cluster needs, which cannot be judged by its rules: {', '.join(named)}"
    commands = [_COMMANDS[program](family) for program in programs for family in needs]
    commands += [
        _chain(chain, family)
        for chain in chains
        if not _kept_by(programs, chain)
        for family in needs
        if chain["family"] not in (_IPV4, _IPV6) or (chain["family"] == _IPV6) == family.ipv6
    ]
    said = replace(needs[0], pods=", ".join(family.pods for family in needs))
    remediation = (
        f"Let it accept {said}: {'; '.join(commands)}. Rules of nft and iptables end with a reboot, unless they are "
        "put where this host keeps its own. If all of that is accepted, add firewall to preflight_ignore."
    )
    # Where kubeproof is installed, the cluster shows what passes.
    severity: Severity = "warning" if host.report["installed"]["manifest"] else "error"
    yield Finding("firewall", problem, remediation, host=host.name, severity=severity)


def _programs(report: HostReport) -> list[str]:
    """Firewalls that have commands of their own."""
    running = [_FIREWALLD] if any(process["name"] == _FIREWALLD for process in report["processes"]) else []
    return running + ([_UFW] if report["firewall"]["ufw"] else [])


def _kept_by(programs: Sequence[str], chain: Chain) -> bool:
    """Whether a chain is one of these programs', which would not keep what others put there."""
    return (_FIREWALLD in programs and chain["table"] == _FIREWALLD) or (_UFW in programs and _of_iptables(chain))


def _of_iptables(chain: Chain) -> bool:
    """Whether it is a chain of iptables, which misreads rules that nft puts there."""
    named = chain["family"] in (_IPV4, _IPV6) and chain["table"] == "filter"
    return named and chain["name"] in {"FORWARD", "INPUT"}


def _named(chain: Chain) -> str:
    table = f"{chain['program'] if chain['program'] != 'nft' else chain['family']} {chain['table']}"
    named = f"chain {chain['name']} (hook {chain['hook']}) in table {table}"
    if chain["by"] == "policy":
        return f"policy drop of {named}"
    return f"a rule of {named}, which drops or rejects all that no other accepts"


def _chain(chain: Chain, needs: Needs) -> str:
    """Commands that put rules before those of a chain."""
    ports, sources = ",".join(needs.ports), ",".join(needs.sources)
    ip = _IPV6 if needs.ipv6 else _IPV4
    if _of_iptables(chain):
        program = f"{ip}tables" if chain["program"] == "nft" else chain["program"]
        if chain["hook"] == "input":
            # Without it, IPv6 finds no neighbours.
            icmp = f"{program} -I INPUT -p ipv6-icmp -j ACCEPT; " if needs.ipv6 else ""
            udp = f"; {program} -I INPUT -s {sources} -p udp -m multiport --dports {','.join(needs.udp)} -j ACCEPT"
            tcp = f"{program} -I INPUT -s {sources} -p tcp -m multiport --dports {ports} -j ACCEPT"
            return icmp + tcp + (udp if needs.udp else "")
        return f"{program} -I FORWARD -s {needs.pods} -j ACCEPT; {program} -I FORWARD -d {needs.pods} -j ACCEPT"
    insert = f"nft insert rule {chain['family']} {chain['table']} {chain['name']}"
    if chain["hook"] == "input":
        icmp = f"{insert} meta l4proto ipv6-icmp accept; " if needs.ipv6 else ""
        udp = f"; {insert} {ip} saddr '{{{sources}}}' udp dport '{{{','.join(needs.udp)}}}' accept" if needs.udp else ""
        return f"{icmp}{insert} {ip} saddr '{{{sources}}}' tcp dport '{{{ports}}}' accept{udp}"
    return f"{insert} {ip} saddr {needs.pods} accept; {insert} {ip} daddr {needs.pods} accept"


def _firewalld(needs: Needs) -> str:
    sources = " ".join(f"--add-source={source}" for source in needs.sources)
    return f"firewall-cmd --permanent --zone=trusted {sources}; firewall-cmd --reload"


def _ufw(needs: Needs) -> str:
    ports = ",".join(needs.ports)
    commands = [f"ufw allow proto tcp from {source} to any port {ports}" for source in needs.sources]
    if needs.udp:
        commands += [f"ufw allow proto udp from {source} to any port {','.join(needs.udp)}" for source in needs.sources]
    if needs.forward:
        commands += [f"ufw route allow from {needs.pods}", f"ufw route allow to {needs.pods}"]
    return "; ".join(commands)


_COMMANDS: Mapping[str, Callable[[Needs], str]] = {_FIREWALLD: _firewalld, _UFW: _ufw}
