"""What Calico and Cilium leave on a host, whose pods write it without any manifest of ours.

Calico's names: https://docs.tigera.io/calico/latest/getting-started/kubernetes/self-managed-onprem/uninstall and its
manifest. Cilium's: cilium-dbg/cmd/post_uninstall_cleanup.go and tools/sysctlfix of its sources.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shutil
from typing import Any, Dict, Iterator, List, NamedTuple, Pattern, Tuple

from ansible.module_utils.uninstall.account import Account, run
from ansible.module_utils.uninstall.files import remove_all
from ansible.module_utils.uninstall.network import remove_device

Entry = Dict[str, Any]


class Traces(NamedTuple):
    """Of one network. ``mounts``: directories at which it has mounted a file system.

    ``protocols``: what marks its routes to pods, as ``ip`` says it. ``paths``: with wildcards.
    """

    devices: Pattern[str]
    protocols: Tuple[str, ...]
    mounts: Tuple[str, ...]
    paths: Tuple[str, ...]


TRACES = {
    "calico": Traces(
        devices=re.compile(r"cali[0-9a-f]{11}|vxlan(-v6)?\.calico"),
        protocols=("bird", "12", "80"),
        mounts=("/run/calico/cgroup",),
        paths=(
            "/etc/cni/net.d/10-calico.conflist",
            "/etc/cni/net.d/calico-kubeconfig",
            "/opt/cni/bin/calico",
            "/opt/cni/bin/calico-ipam",
            "/run/calico",
            "/run/nodeagent",
            "/sys/fs/bpf/calico",
        ),
    ),
    "cilium": Traces(
        devices=re.compile(r"cilium_.+|lxc[0-9a-f]{12}|lxc_health"),
        protocols=("boot", "kernel"),
        mounts=("/run/cilium/cgroupv2",),
        paths=(
            "/etc/cni/net.d/05-cilium.conflist",
            "/etc/sysctl.d/99-zzz-override_cilium.conf",
            "/opt/cni/bin/cilium-cni",
            "/run/cilium",
            # Programs are attached to devices and control groups for as long as these hold them.
            "/sys/fs/bpf/cilium",
            "/sys/fs/bpf/tc/globals/cilium_*",
            "/var/lib/cilium",
        ),
    ),
}
# Cilium puts this end on the names of others' configurations.
PUT_ASIDE = ".cilium_bak"
# Of Cilium's proxy, and where it has moved the kernel's first rule to.
PROXY_TABLES, LOCAL, MOVED = ("2004", "2005"), 0, 100
# The kernel's own, which cannot be deleted.
TUNNEL = "tunl0"


def plugin(entries: List[Entry]) -> str:
    """The pod network with which a host was installed."""
    return next((str(each["value"]) for each in entries if each.get("name") == "pod_network_plugin"), "")


class ClusterNetwork:
    """The network that was applied into the cluster, if it is one of these."""

    def __init__(self, account: Account, entries: List[Entry], root: str = "/") -> None:
        self.account = account
        self.name = plugin(entries)
        self.traces = TRACES.get(self.name)
        self.root = root
        settings = {str(each.get("name")): str(each.get("value")) for each in entries if each["kind"] == "setting"}
        self.pods = [network for network in settings.get("cluster_pod_network", "").split(",") if network]

    def undo(self) -> None:
        """All but rules of the firewall. Pods have ended."""
        if self.traces is None:
            return
        for path in self._mounted():
            self.account.undo(path, "unmounted", lambda where=path: run(["umount", where]))
        if self.name == "cilium":
            self._filters()
            self._put_back()
            self._rules()
        self._routes()
        self._devices()
        for path in self._paths():
            self.account.undo(path, "removed", lambda where=path: remove_all([where]))

    def _mounted(self) -> List[str]:
        return [path for path in self.traces.mounts if os.path.ismount(path)] if self.traces else []

    def _paths(self) -> List[str]:
        patterns = [os.path.join(self.root, path.lstrip("/")) for path in (self.traces.paths if self.traces else ())]
        return [path for pattern in patterns for path in sorted(glob.glob(pattern))]

    def _put_back(self) -> None:
        """Give configurations of other networks their names again."""
        for path in sorted(glob.glob(os.path.join(self.root, "etc/cni/net.d", "*" + PUT_ASIDE))):
            name = path[: -len(PUT_ASIDE)]
            if not os.path.exists(name):
                self.account.undo(name, "put back", lambda old=path, new=name: os.rename(old, new))

    def _devices(self) -> None:
        links = json.loads(run(["ip", "-json", "link", "show"]) or "[]")
        names = [str(link["ifname"]) for link in links]
        for name in names:
            if self.traces and self.traces.devices.fullmatch(name):
                self.account.undo("network device " + name, "removed", lambda device=name: remove_device(device))
        if self.name == "calico" and TUNNEL in names:
            shown = json.loads(run(["ip", "-json", "address", "show", "dev", TUNNEL]) or "[]")
            if any(each.get("addr_info") for each in shown):
                self.account.undo("addresses of " + TUNNEL, "removed", clear_tunnel)

    def _routes(self) -> None:
        """Remove routes to pods that no device takes along: by other nodes, and those that lead nowhere."""
        for network in self.pods:
            family = "-6" if ":" in network else "-4"
            for route in json.loads(run(["ip", family, "-json", "route", "show", "root", network]) or "[]"):
                if self._is_ours(route):
                    words = route_words(route)
                    command = ["ip", family, "route", "delete", *words]
                    self.account.undo("route " + " ".join(words), "removed", lambda given=command: run(given))

    def _is_ours(self, route: Entry) -> bool:
        leads = route.get("gateway") or route.get("type") in ("blackhole", "unreachable")
        return bool(leads and self.traces and str(route.get("protocol", "boot")) in self.traces.protocols)

    def _rules(self) -> None:
        """Remove the rules of Cilium's proxy, and give the kernel's first rule its place again."""
        for family in ("-4", "-6"):
            rules = json.loads(run(["ip", family, "-json", "rule", "show"]) or "[]")
            for rule in rules:
                if str(rule.get("table")) in PROXY_TABLES:
                    number, table = str(rule["priority"]), str(rule["table"])
                    command = ["ip", family, "rule", "delete", "priority", number, "table", table]
                    self.account.undo("rule %s %s" % (number, table), "removed", lambda given=command: run(given))
            places = [rule["priority"] for rule in rules if rule.get("table") == "local"]
            if places == [MOVED]:
                self.account.undo("rule local " + family, "put back", lambda given=family: move_local(given))

    def _filters(self) -> None:
        """Detach Cilium's programs from devices that stay; with newer kernels they go with what holds them."""
        if not shutil.which("tc"):
            return
        for link in json.loads(run(["ip", "-json", "link", "show"]) or "[]"):
            device = str(link["ifname"])
            if self.traces and not self.traces.devices.fullmatch(device):
                for way, number in filters(device):
                    command = ["tc", "filter", "delete", "dev", device, way, "pref", number]
                    told = "filter of %s, %s %s" % (device, way, number)
                    self.account.undo(told, "removed", lambda given=command: run(given))


def route_words(route: Entry) -> List[str]:
    """How ``ip route delete`` names a route."""
    words = [str(route["type"])] if route.get("type") in ("blackhole", "unreachable") else []
    words.append(str(route["dst"]))
    if route.get("gateway"):
        words += ["via", str(route["gateway"])]
    if route.get("dev") and not route.get("type"):
        words += ["dev", str(route["dev"])]
    return [*words, "proto", str(route.get("protocol", "boot"))]


def filters(device: str) -> Iterator[Tuple[str, str]]:
    """Cilium's filters of a device: way and number."""
    for way in ("ingress", "egress"):
        with contextlib.suppress(ValueError):
            for each in json.loads(run(["tc", "-json", "filter", "show", "dev", device, way]) or "[]"):
                if str(each.get("options", {}).get("bpf_name", "")).startswith("cil_"):
                    yield way, str(each["pref"])


def clear_tunnel() -> None:
    """Leave the kernel's tunnel as it is without anybody who uses it."""
    run(["ip", "address", "flush", "dev", TUNNEL])
    run(["ip", "link", "set", "dev", TUNNEL, "down"])


def move_local(family: str) -> None:
    """First the new one: without either the host would not take packets for itself."""
    run(["ip", family, "rule", "add", "priority", str(LOCAL), "table", "local"])
    run(["ip", family, "rule", "delete", "priority", str(MOVED), "table", "local"])
