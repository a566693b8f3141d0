"""What libcni keeps of each pod that it has attached to a network."""

from __future__ import annotations

import ipaddress
import json
import os
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

RESULTS = Path("/var/lib/cni/results")
Attachment = Dict[str, Any]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_WRITTEN_SECONDS = 5.0


class Attachments:
    """The pods of this node that are attached to one network."""

    def __init__(self, network: str, results: Path = RESULTS) -> None:
        self._network = network
        self._results = results
        self._read: Optional[float] = None
        self._attachments: List[Attachment] = []

    def present(self) -> List[Attachment]:
        """Those of pods that there are. After a reboot there are records still, of pods that are not."""
        return [each for each in self._recorded() if os.path.exists(each.get("netns") or "")]  # noqa: PTH110

    def _recorded(self) -> List[Attachment]:
        """Read anew when files have come or gone."""
        try:
            changed = self._results.stat().st_mtime
        except FileNotFoundError:
            return []
        if changed != self._read:
            found = [_load(path) for path in sorted(self._results.iterdir())]
            self._attachments = [each for each in found if each.get("networkName") == self._network]
            # A file that has just come may not have been written to its end.
            self._read = changed if time.time() - changed > _WRITTEN_SECONDS else None
        return self._attachments


def addresses(attachment: Attachment) -> List[Address]:
    """A pod's addresses, as reported by the plugins that attached it.

    Those of an earlier version of CNI report them in another shape, and are left out.
    """
    reported = (attachment.get("result") or {}).get("ips") or []
    return [address for each in reported for address in _parsed(each)]


def _parsed(reported: Any) -> List[Address]:
    try:
        return [ipaddress.ip_interface(str(reported["address"])).ip]
    except (LookupError, TypeError, ValueError):
        return []


def named(attachment: Attachment) -> str:
    """A pod by its namespace and name, as far as they are known."""
    told = dict(pair for pair in attachment.get("cniArgs") or [] if len(pair) == 2)
    names = [told[key] for key in ("K8S_POD_NAMESPACE", "K8S_POD_NAME") if key in told]
    return "/".join(names) or str(attachment.get("containerId", ""))


def _load(path: Path) -> Attachment:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
