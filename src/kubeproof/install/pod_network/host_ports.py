"""Ports of this node that lead to pods (``hostPort``).

The CNI plugin portmap writes their rules when a pod starts, and nobody does so again. libcni keeps what it gave the
plugin, so that it can be given once more.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Set

from kubeproof.install.pod_network import iptables
from kubeproof.install.pod_network.attachments import Attachment, Attachments, addresses, named
from kubeproof.install.pod_network.errors import PodNetworkError
from kubeproof.install.pod_network.ruleset import Ruleset

_PLUGIN, _CAPABILITY = "portmap", "portMappings"
# What leads to portmap's rules: with iptables, which it prefers, and with nftables. It stays when the last pod goes.
_JUMP = ("nat", "PREROUTING", "CNI-HOSTPORT-DNAT")
_CHAIN = ("cni_hostport", "prerouting")
_SECONDS = 30.0


class HostPorts:
    """The ports of pods in one network."""

    def __init__(self, attachments: Attachments, plugins: Path, rulesets: Sequence[Ruleset]) -> None:
        """``rulesets``: of each IP family that pods have addresses of."""
        self._attachments = attachments
        self._plugin = plugins / _PLUGIN
        self._rulesets = rulesets

    def lost(self) -> List[Attachment]:
        """Pods whose ports lead nowhere. Rules are lost all at once, or not by an accident."""
        pods = self._attachments.present()
        found = [each for each in pods if (each.get("capabilityArgs") or {}).get(_CAPABILITY)]
        return found if any(self._lost(ruleset, found) for ruleset in self._rulesets) else []

    def _lost(self, ruleset: Ruleset, attachments: List[Attachment]) -> bool:
        """Whether the pods have ports in a ruleset's IP family, and there are no rules for them."""
        wanted = any(ruleset.family in _families(each) for each in attachments)
        return wanted and not ruleset.rules(*_CHAIN) and not iptables.leads(ruleset, *_JUMP)

    def put_back(self, attachment: Attachment) -> str:
        """Have the plugin write a pod's rules again. Raises PodNetworkError."""
        self._call("DEL", attachment)
        self._call("ADD", attachment)
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


def _families(attachment: Attachment) -> Set[int]:
    """The IP families of a pod's addresses."""
    found: Set[int] = {socket.AF_INET6 if address.version == 6 else socket.AF_INET for address in addresses(attachment)}
    return found or {socket.AF_INET}
