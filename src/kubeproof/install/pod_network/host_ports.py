"""Ports of this node that lead to pods (``hostPort``).

The CNI plugin portmap writes their rules when a pod starts, and nobody does so again. libcni keeps what it gave the
plugin, so that it can be given once more.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple

from kubeproof.install.pod_network import iptables
from kubeproof.install.pod_network.attachments import Address, Attachment, Attachments, addresses, named
from kubeproof.install.pod_network.errors import PodNetworkError
from kubeproof.install.pod_network.ruleset import Ruleset

_PLUGIN, _CAPABILITY = "portmap", "portMappings"
# What leads to portmap's rules: with iptables, which it prefers, and with nftables. It stays when the last pod goes.
_DNAT = "CNI-HOSTPORT-DNAT"
_JUMP = ("nat", "PREROUTING", _DNAT)
_TABLE = "cni_hostport"
_CHAIN, _PORTS = (_TABLE, "prerouting"), (_TABLE, "hostports")
# As long as the plugin makes the name of a chain.
_NAME_LENGTH = 28
_SECONDS = 30.0
# The plugin's rules go before libcni's record does when a pod goes: one whose rules alone are missing may be going.
_PATIENCE = 5.0
# Until it is tried once more where that has succeeded, and has not helped.
_AGAIN = 60.0


class HostPorts:
    """The ports of pods in one network."""

    def __init__(self, attachments: Attachments, plugins: Path, rulesets: Sequence[Ruleset]) -> None:
        """``rulesets``: of each IP family that pods have addresses of."""
        self._attachments = attachments
        self._plugin = plugins / _PLUGIN
        self._rulesets = rulesets
        # By container, of those that are lost: from when on its rules are put back.
        self._due: Dict[str, float] = {}

    def lost(self) -> List[Attachment]:
        """Pods whose ports lead nowhere."""
        return self._look()[0]

    def due(self) -> List[Attachment]:
        """Those of them whose rules are to be put back: all if all rules are gone, and otherwise if that lasts."""
        lost, gone = self._look()
        now = time.monotonic()
        self._due = {each: self._due.get(each, now + _PATIENCE) for each in map(_container, lost)}
        return [each for each in lost if gone or now >= self._due[_container(each)]]

    def _look(self) -> Tuple[List[Attachment], bool]:
        """Pods whose ports lead nowhere; whether no rule at all is left for those of an IP family."""
        pods = self._attachments.present()
        found = [each for each in pods if (each.get("capabilityArgs") or {}).get(_CAPABILITY)]
        lost: Dict[str, Attachment] = {}
        gone = False
        for ruleset in self._rulesets:
            wanted = [each for each in found if ruleset.family in _families(each)]
            if wanted:
                rules = _Rules(ruleset)
                gone = gone or not rules.there
                lost.update((_container(each), each) for each in wanted if not rules.lead_to(each))
        return list(lost.values()), gone

    def put_back(self, attachment: Attachment) -> str:
        """Have the plugin write a pod's rules again. Raises PodNetworkError."""
        container = _container(attachment)
        self._due[container] = 0.0  # if that fails: at the next look
        self._call("DEL", attachment)
        self._call("ADD", attachment)
        if container not in map(_container, self._attachments.present()):
            # It went meanwhile, and what is left of it would take its ports from the next one.
            self._call("DEL", attachment)
        self._due[container] = time.monotonic() + _AGAIN
        return "ports of pod %s" % named(attachment)

    def _call(self, verb: str, attachment: Attachment) -> None:
        """Call the plugin as libcni does (https://www.cni.dev/docs/spec/)."""
        try:
            document = request(attachment)
            done = subprocess.run(
                [str(self._plugin)],
                input=json.dumps(document).encode(),
                env={**os.environ, **environment(verb, attachment, self._plugin.parent)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, LookupError, ValueError, TypeError, StopIteration, subprocess.TimeoutExpired) as error:
            raise PodNetworkError("ports of pod %s: %r" % (named(attachment), error)) from None
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace").strip()
            raise PodNetworkError("ports of pod %s: %s %s: %s" % (named(attachment), self._plugin, verb, said))


def request(attachment: Attachment) -> Mapping[str, Any]:
    """What the plugin reads: its own part of the network's configuration, and what it was given at first."""
    configuration = json.loads(base64.b64decode(attachment["config"]))
    plugin = next(each for each in configuration["plugins"] if each["type"] == _PLUGIN)
    return {
        **{key: value for key, value in plugin.items() if key != "capabilities"},
        "name": configuration["name"],
        "cniVersion": configuration["cniVersion"],
        "prevResult": attachment["result"],
        "runtimeConfig": {_CAPABILITY: attachment["capabilityArgs"][_CAPABILITY]},
    }


def environment(verb: str, attachment: Attachment, plugins: Path) -> Dict[str, str]:
    """The parameters that a plugin reads from its environment."""
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": attachment["containerId"],
        "CNI_NETNS": attachment["netns"],
        "CNI_IFNAME": attachment["ifName"],
        "CNI_ARGS": ";".join("=".join(pair) for pair in attachment.get("cniArgs") or []),
        "CNI_PATH": str(plugins),
    }


class _Rules:
    """The plugin's rules in one IP family."""

    def __init__(self, ruleset: Ruleset) -> None:
        by_nft, by_iptables = ruleset.rules(*_CHAIN), iptables.leads(ruleset, *_JUMP)
        self.there = bool(by_nft) or by_iptables
        # Nothing comes to those of pods if nothing leads to the chain that they are in.
        self._comments = [rule.comment for rule in ruleset.rules(*_PORTS)] if by_nft else []
        self._jumps = iptables.jumps(ruleset, "nat", _DNAT) if by_iptables else None

    def lead_to(self, attachment: Attachment) -> bool:
        """Whether there are those of a pod."""
        if self._jumps is not None and self._jumps.to(chain(attachment)):
            return True
        container = _container(attachment).encode()
        return any(container in comment for comment in self._comments)


def chain(attachment: Attachment) -> str:
    """The chain of iptables that the plugin makes for a pod (pkg/utils of its repository)."""
    digest = hashlib.sha512((str(attachment.get("networkName", "")) + _container(attachment)).encode()).hexdigest()
    return ("CNI-DN-" + digest)[:_NAME_LENGTH]


def _container(attachment: Attachment) -> str:
    return str(attachment.get("containerId", ""))


def _families(attachment: Attachment) -> Set[int]:
    """The IP families of a pod's addresses in which it has ports."""
    found: Set[int] = {_family(address) for address in addresses(attachment)}
    return (found or {socket.AF_INET}) & _open(attachment)


def _open(attachment: Attachment) -> Set[int]:
    """The IP families of the addresses whose ports lead to a pod: both, unless it wants those of one only."""
    return {family for mapping in attachment["capabilityArgs"][_CAPABILITY] for family in _mapped(mapping)}


def _mapped(mapping: Mapping[str, Any]) -> Set[int]:
    try:
        # Runtimes write its name in either case.
        [wanted] = [value for key, value in mapping.items() if key.lower() == "hostip" and value]
        return {_family(ipaddress.ip_address(wanted))}
    except (AttributeError, ValueError):
        return {socket.AF_INET, socket.AF_INET6}


def _family(address: Address) -> int:
    return socket.AF_INET6 if address.version == 6 else socket.AF_INET
