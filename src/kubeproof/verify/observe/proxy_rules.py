"""What the rules of a node do with packets to a Service, in whichever of its two modes kube-proxy writes them.

https://kubernetes.io/docs/reference/networking/virtual-ips/
"""

from __future__ import annotations

import re

# By whether rules are of IPv6. Whatever mode kube-proxy is in, one of the two lists its rules.
LIST = {
    False: "nft list table ip kube-proxy 2>/dev/null; iptables-save -t nat 2>/dev/null; true",
    True: "nft list table ip6 kube-proxy 2>/dev/null; ip6tables-save -t nat 2>/dev/null; true",
}
# A Service without endpoints has a rule, too, with another end: it rejects.
_LEADS = r"(?:goto (?=service-)|-j (?=KUBE-SVC-))"
_NFTABLES_CHAIN = re.compile(r"^\tchain (\S+) \{\n(.*?)^\t\}", re.MULTILINE | re.DOTALL)
_IPTABLES_RULE = re.compile(r"^-A (\S+) (.*)", re.MULTILINE)
_BETWEEN_WORDS = re.compile(r"[\s,{}]+")


def mentioned(address: str, port: int) -> str:
    """A pattern that finds what there is of a Service's port, whatever it does."""
    return rf"\b{re.escape(address)}\b[^\n]*\b{port}\b"


def leading(address: str, port: int) -> str:
    """A pattern that finds what leads from a Service's port to its endpoints."""
    return rf"{mentioned(address, port)}[^\n]*{_LEADS}"


def of_service(listing: str, address: str, port: int) -> list[str]:
    """The rules, line by line, that lead from a Service's port to its endpoints, of all that ``LIST`` prints.

    Empty if there are none, or only one that rejects.
    """
    chains: dict[str, list[str]] = {}
    for name, body in _NFTABLES_CHAIN.findall(listing):
        chains.setdefault(name, []).extend(line.strip() for line in body.splitlines())
    for name, rule in _IPTABLES_RULE.findall(listing):
        chains.setdefault(name, []).append(rule)
    due = re.findall(rf"{leading(address, port)}([^\s,}}]+)", listing)
    found: dict[str, list[str]] = {}
    while due:
        name = due.pop()
        if name in found or name not in chains:
            continue
        found[name] = chains[name]
        due += [word for rule in chains[name] for word in _BETWEEN_WORDS.split(rule)]
    return [rule for rules in found.values() for rule in rules]
