"""What is in a table of nftables, asked of the kernel itself.

Some versions of `nft` read all tables, kube-proxy's thousands of rules included, to list one.
"""

from __future__ import annotations

import hashlib
import socket
import struct
from typing import Dict, List

from kubeproof.install.pod_network.netlink import (
    NETFILTER,
    Message,
    Netlink,
    NetlinkError,
    attribute,
    attribute_list,
    attributes,
    text,
)

# The group of events (NFNLGRP_NFTABLES is 7).
GROUPS = 1 << 6
_SUBSYSTEM = 10 << 8
_GET_CHAIN, _GET_RULE, _GET_SET, _GET_ELEMENTS = (_SUBSYSTEM | each for each in (4, 7, 10, 13))
# family, version, resource
_HEADER = struct.Struct("=BBH")
# In messages about chains, rules, sets and elements alike.
_TABLE = 1
_CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 3, 4, 5, 7
_RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USERDATA = 2, 4, 7
_SET_NAME, _SET_FLAGS, _SET_KEY = 2, 3, 4
_ELEMENTS_SET, _ELEMENTS = 2, 3


class Rule:
    """A rule as the kernel has it: the chain that it is in, and what it does, encoded."""

    def __init__(self, chain: str, expressions: bytes, comment: bytes = b"") -> None:
        """``comment``: with what nft puts around it."""
        self.chain = chain
        self.expressions = expressions
        self.comment = comment

    def leads_to(self, chain: str) -> bool:
        """Whether it jumps to a chain: the chain's name is in it then."""
        return chain.encode() + b"\0" in self.expressions


class Ruleset:
    """The tables of one network namespace, those for one IP family."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        self.family = family
        self._netlink = Netlink(NETFILTER)

    def rules(self, table: str, chain: str = "") -> List[Rule]:
        """The rules of a table, or of one of its chains; none if there is no such table or chain."""
        asked = {_TABLE: table, **({_RULE_CHAIN: chain} if chain else {})}
        found = []
        for given in self._dump(_GET_RULE, asked):
            said = (given.get(each, b"") for each in (_RULE_EXPRESSIONS, _RULE_USERDATA))
            rule = Rule(text(given[_RULE_CHAIN]), *said)
            # Not every kernel chooses by what was asked for.
            if text(given[_TABLE]) == table and chain in ("", rule.chain):
                found.append(rule)
        return found

    def fingerprint(self, table: str) -> str:
        """A digest of all that a table does, without what changes by itself; empty if it has no rules."""
        rules = self.rules(table)
        if not rules:
            return ""
        digest = hashlib.sha256()
        for chain in sorted({rule.chain for rule in rules}):
            told = self._chain(table, chain)
            parts = [chain.encode(), *(told.get(each, b"") for each in (_CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE))]
            _feed(digest, *parts, *(rule.expressions for rule in rules if rule.chain == chain))
        for told in sorted(self._dump(_GET_SET, {_TABLE: table}), key=lambda each: each[_SET_NAME]):
            if text(told[_TABLE]) == table:
                elements = self._elements(table, text(told[_SET_NAME]))
                _feed(digest, *(told.get(each, b"") for each in (_SET_NAME, _SET_FLAGS, _SET_KEY)), *sorted(elements))
        return digest.hexdigest()

    def _chain(self, table: str, chain: str) -> Dict[int, bytes]:
        try:
            [message] = self._netlink.ask(_GET_CHAIN, self._request({_TABLE: table, _CHAIN_NAME: chain}))
        except (NetlinkError, ValueError):
            return {}  # it went in this moment
        return attributes(message.body[_HEADER.size :])

    def _elements(self, table: str, name: str) -> List[bytes]:
        found: List[bytes] = []
        for given in self._dump(_GET_ELEMENTS, {_TABLE: table, _ELEMENTS_SET: name}):
            found += [value for _, value in attribute_list(given.get(_ELEMENTS, b""))]
        return found

    def _dump(self, kind: int, asked: Dict[int, str]) -> List[Dict[int, bytes]]:
        try:
            messages: List[Message] = self._netlink.dump(kind, self._request(asked))
        except FileNotFoundError:
            return []
        return [attributes(message.body[_HEADER.size :]) for message in messages]

    def _request(self, names: Dict[int, str]) -> bytes:
        # The numbers of IP families are those of nftables (NFPROTO_IPV4, NFPROTO_IPV6) on Linux.
        header = _HEADER.pack(self.family, 0, 0)
        return header + b"".join(attribute(kind, name.encode() + b"\0") for kind, name in names.items())


def _feed(digest: hashlib._Hash, *parts: bytes) -> None:
    """Add parts such that none of them can be taken for a part of another."""
    for part in parts:
        digest.update(struct.pack("=I", len(part)) + part)
    digest.update(struct.pack("=I", 0xFFFFFFFF))
