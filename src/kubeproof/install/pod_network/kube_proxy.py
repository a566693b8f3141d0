"""kube-proxy's rules, which nobody but kube-proxy can write, and which it does not see going.

In nftables mode it compares them with what it wants once an hour (pkg/proxy/nftables/proxier.go, ``FullSyncPeriod``),
in iptables mode it looks for a canary in one table twice a minute. It writes all of them when it starts.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from pathlib import Path
from typing import List, Mapping, Pattern

from kubeproof.install.pod_network import iptables
from kubeproof.install.pod_network.commands import run, succeeds
from kubeproof.install.pod_network.ruleset import Ruleset

UNIT = "kube-proxy.service"
_TABLE, _CHAIN = "kube-proxy", "nat-prerouting"
# What leads from the kernel's own chains to kube-proxy's, one for each of its duties.
_JUMPS = (
    ("nat", "PREROUTING", "KUBE-SERVICES"),
    ("nat", "POSTROUTING", "KUBE-POSTROUTING"),
    ("filter", "FORWARD", "KUBE-FORWARD"),
)
# Of each family by itself: that IPv6's rules are written says nothing of the others.
_SYNCED: Mapping[int, Pattern[bytes]] = {
    family: re.compile(
        rb'^kubeproxy_sync_proxy_rules_last_timestamp_seconds(?:\{ip_family="%s"\})? (\S+)$' % name, re.MULTILINE
    )
    for family, name in ((socket.AF_INET, b"IPv4"), (socket.AF_INET6, b"IPv6"))
}
_SECONDS = 1.0
_LARGEST = 1 << 24


class KubeProxy:
    """The kube-proxy of this node, in whatever form and mode it runs, and its rules for the ruleset's IP family."""

    def __init__(self, address: str, ruleset: Ruleset) -> None:
        self._address = address
        self._ruleset = ruleset

    def lost(self) -> bool:
        """Whether it says that it has written its rules, and they are not there. One that is silent has not said so."""
        if self._in_nftables():
            return False
        try:
            mode = self._ask("/proxyMode").decode(errors="replace").strip()
            present = {"nftables": self._in_nftables, "iptables": self._in_iptables}[mode]
            # Before it is believed, once more: it may have written them since.
            return not present() and self._synced() and not present()
        except (OSError, KeyError):
            return False

    def restart(self) -> None:
        """Restart kube-proxy. A stopped one stays stopped."""
        if succeeds("systemctl", "is-active", "--quiet", UNIT):
            run("systemctl", "--no-block", "try-restart", UNIT)
        for pid in filter(_is_pods, _processes()):
            # The kubelet starts the container again.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _in_nftables(self) -> bool:
        return bool(self._ruleset.rules(_TABLE, _CHAIN))

    def _in_iptables(self) -> bool:
        return all(iptables.leads(self._ruleset, *jump) for jump in _JUMPS)

    def _synced(self) -> bool:
        return any(float(value) > 0 for value in _SYNCED[self._ruleset.family].findall(self._ask("/metrics")))

    def _ask(self, path: str) -> bytes:
        """The body of an answer; kube-proxy's own, on loopback, so that no proxy has a say in it. Raises OSError."""
        host, _, port = self._address.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS) as connection:
            connection.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
            answer = b""
            while len(answer) < _LARGEST:
                received = connection.recv(1 << 16)
                if not received:
                    break
                answer += received
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.split(b" ", 2)[1:2] != [b"200"]:
            raise ConnectionError("kube-proxy answers %r" % head[:100])
        return body


def _processes() -> List[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _is_pods(pid: int) -> bool:
    """Whether a process is a pod's kube-proxy in this network namespace, and not stopped by somebody (SIGSTOP)."""
    directory = Path("/proc", str(pid))
    # It may end meanwhile; what is of other users is none of ours.
    with contextlib.suppress(OSError):
        return (
            _read(directory / "comm").strip() == "kube-proxy"
            and "kubepods" in _read(directory / "cgroup")
            and os.readlink(directory / "ns/net") == os.readlink("/proc/self/ns/net")
            and _read(directory / "stat").rpartition(")")[2].split()[0] not in "TtZX"
        )
    return False


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
