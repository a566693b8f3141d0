"""Whether a firewall may drop what the cluster needs: firewalld, ufw, or chains that drop what no rule accepts.

Rules are not read: which packets they accept cannot be judged from here, so the finding says what has to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kubeproof.preflight.findings import Finding, Severity
from kubeproof.preflight.model import Host, Rules
from kubeproof.settings.host_report import Chain, HostReport

_FIREWALLD, _UFW = "firewalld", "ufw"


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

    def __str__(self) -> str:
        """In words."""
        forward = f", and forward what is from or to pods ({self.pods})" if self.forward else ""
        udp = f", UDP {', '.join(self.udp)} from the cluster's hosts" if self.udp else ""
        return f"TCP {', '.join(self.ports)} from the cluster's hosts and pods{udp}{forward}"


def check_firewall(host: Host, rules: Rules, pods: str, addresses: Sequence[str]) -> Iterator[Finding]:
    """One finding on all that a host has of these. ``pods``: their network; ``addresses``: the cluster's hosts'."""
    # Without root what is there is not known, and that is said.
    if host.report is None or host.report["user"]["id"] != 0:
        return
    ports = tuple(str(rule.port) for rule in rules.ports if rule.listen == "all" and host.within(rule.groups))
    udp = tuple(map(str, rules.udp_ports)) if host.node else ()
    needs = Needs(ports, (*filter(None, addresses), pods), pods, host.node, udp)
    programs = _programs(host.report)
    # Pods' packets are forwarded on nodes only.
    chains = [chain for chain in host.report["firewall"]["chains"] if host.node or chain["hook"] == "input"]
    named = [*(f"{program} is on" for program in programs), *map(_named, chains)]
    if not named:
        return
    problem = f"it may drop what the cluster needs, which cannot be judged by its rules: {', '.join(named)}"
    commands = [_COMMANDS[program](needs) for program in programs]
    commands += [_chain(chain, needs) for chain in chains if not _kept_by(programs, chain)]
    remediation = (
        f"Let it accept {needs}: {'; '.join(commands)}. Rules of nft and iptables end with a reboot, unless they are "
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
    return (chain["family"], chain["table"]) == ("ip", "filter") and chain["name"] in {"FORWARD", "INPUT"}


def _named(chain: Chain) -> str:
    where = chain["program"] if chain["program"] != "nft" else chain["family"]
    return f"policy drop of chain {chain['name']} (hook {chain['hook']}) in table {where} {chain['table']}"


def _chain(chain: Chain, needs: Needs) -> str:
    """Commands that put rules before those of a chain."""
    ports, sources = ",".join(needs.ports), ",".join(needs.sources)
    if _of_iptables(chain):
        program = "iptables" if chain["program"] == "nft" else chain["program"]
        if chain["hook"] == "input":
            udp = f"; {program} -I INPUT -s {sources} -p udp -m multiport --dports {','.join(needs.udp)} -j ACCEPT"
            tcp = f"{program} -I INPUT -s {sources} -p tcp -m multiport --dports {ports} -j ACCEPT"
            return tcp + (udp if needs.udp else "")
        return f"{program} -I FORWARD -s {needs.pods} -j ACCEPT; {program} -I FORWARD -d {needs.pods} -j ACCEPT"
    insert = f"nft insert rule {chain['family']} {chain['table']} {chain['name']}"
    if chain["hook"] == "input":
        udp = f"; {insert} ip saddr '{{{sources}}}' udp dport '{{{','.join(needs.udp)}}}' accept" if needs.udp else ""
        return f"{insert} ip saddr '{{{sources}}}' tcp dport '{{{ports}}}' accept{udp}"
    return f"{insert} ip saddr {needs.pods} accept; {insert} ip daddr {needs.pods} accept"


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
