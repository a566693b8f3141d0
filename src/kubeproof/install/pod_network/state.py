"""Looking at the kernel, and putting back what is missing."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import time
from pathlib import Path
from typing import Callable, Iterator, List, Tuple

from kubeproof.install.pod_network import routes as routing
from kubeproof.install.pod_network.attachments import Attachment, Attachments, named
from kubeproof.install.pod_network.commands import run
from kubeproof.install.pod_network.configuration import Configuration
from kubeproof.install.pod_network.errors import PodNetworkError
from kubeproof.install.pod_network.former_pods import FormerPods, told
from kubeproof.install.pod_network.host_ports import HostPorts
from kubeproof.install.pod_network.kube_proxy import KubeProxy
from kubeproof.install.pod_network.links import Links
from kubeproof.install.pod_network.netlink import NetlinkError
from kubeproof.install.pod_network.network_policy import NetworkPolicy
from kubeproof.install.pod_network.routes import Routes
from kubeproof.install.pod_network.ruleset import Ruleset
from kubeproof.install.pod_network.tunnel import Tunnel

# In the unit's RuntimeDirectory.
RECORD = Path("/run/kube-pod-network/rules.json")
# By the family of a table.
_FAMILIES = {"ip": socket.AF_INET, "ip6": socket.AF_INET6}
# One that is started anew while it starts gets nowhere.
_RESTART_SECONDS = 10.0


class Record:
    """What the kernel made of the script that was last applied: by that it is known whether it still has it."""

    def __init__(self, path: Path = RECORD) -> None:
        self._path = path

    def expected(self, script: str) -> str:
        """The table's fingerprint after that script; empty if that was never applied."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found = json.loads(self._path.read_text(encoding="utf-8"))
            if found.get("script") == script:
                return str(found.get("table", ""))
        return ""

    def write(self, script: str, table: str) -> None:
        """Keep it."""
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps({"script": script, "table": table}), encoding="utf-8")
        temporary.replace(self._path)


class State:
    """The kernel's state against the configuration."""

    def __init__(self, configuration: Configuration, record: Record) -> None:
        self.configuration = configuration
        self._record = record
        families = [_FAMILIES[family] for family in configuration.families()]
        self._routes = Routes(configuration.protocol, families)
        self._links = Links()
        self._rulesets = {family: Ruleset(_FAMILIES[family]) for family in configuration.families()}
        rulesets = list(self._rulesets.values())
        attachments = Attachments(configuration.network)
        self._host_ports = HostPorts(attachments, configuration.plugins, rulesets)
        self._former_pods = FormerPods(attachments, configuration.pods, configuration.crictl)
        # Of each family by itself: the rules of one may go without those of the other.
        self._kube_proxies = [KubeProxy(configuration.kube_proxy, ruleset) for ruleset in rulesets]
        self._network_policies = [NetworkPolicy(configuration.network_policy, ruleset) for ruleset in rulesets]
        self._restarted = -_RESTART_SECONDS
        self._tunnels = [Tunnel(configuration.tunnel), Tunnel(configuration.tunnel_ipv6, socket.AF_INET6)]
        self._tunnel_restarted = -_RESTART_SECONDS

    def problems(self) -> List[str]:
        """What is not as it should be."""
        wanted, present = self.configuration.routes, self._routes.present()
        found = ["there is no route to %s via %s" % each for each in routing.missing(wanted, present).items()]
        found += ["there is a route to %s still" % each for each in routing.surplus(wanted, present)]
        if self._rules_differ():
            found.append("%s is not as %s has it" % (self._tables(), self.configuration.rules))
        found += ["%s is %s, and not %s" % each for each in self._sysctls()]
        found += ["the MTU of %s is %d, and not %d" % each for each in self._mtus()]
        found += ["the ports of pod %s lead nowhere" % named(each) for each in self._host_ports.lost()]
        found += ["%s is there still" % told(each) for each in self._former_pods.present()]
        if self._proxy_lost():
            found.append("kube-proxy's rules are gone")
        if self._policies_lost():
            found.append("the rules of network policies are gone")
        if self._tunnel_lost():
            found.append("flannel's routes are gone")
        return found

    def put_back(self) -> Tuple[List[str], List[str]]:
        """Put back what is missing: what was done, and what could not be."""
        done: List[str] = []
        failed: List[str] = []
        for repair in self._repairs():
            made, problem = _attempt(repair)
            done += made
            failed += problem
        return done, failed

    def _repairs(self) -> Iterator[Callable[[], List[str]]]:
        """Each by itself, so that one that fails keeps no other from being made."""
        wanted, present = self.configuration.routes, self._routes.present()
        for network, gateway in routing.missing(wanted, present).items():
            yield functools.partial(self._put_back_route, network, gateway)
        for network in routing.surplus(wanted, present):
            yield functools.partial(self._remove_route, network)
        yield from (self._put_back_rules, self._put_back_sysctls, self._put_back_mtu)
        for attachment in self._host_ports.due():
            yield functools.partial(self._put_back_ports, attachment)
        yield from (self._put_back_proxy, self._put_back_tunnel, self._put_back_policies, self._former_pods.replace)

    def _put_back_route(self, network: str, gateway: str) -> List[str]:
        route = "route to %s via %s" % (network, gateway)
        try:
            self._routes.replace(network, gateway)
        except NetlinkError as error:
            raise PodNetworkError("no %s: %s" % (route, error.strerror)) from None
        return [route]

    def _remove_route(self, network: str) -> List[str]:
        try:
            self._routes.delete(network)
        except NetlinkError as error:
            raise PodNetworkError("a route to %s stays: %s" % (network, error.strerror)) from None
        return ["no route to %s any more" % network]

    def _rules_differ(self) -> bool:
        expected = self._record.expected(self.configuration.wanted_rules())
        return not expected or self._fingerprint() != expected

    def _fingerprint(self) -> str:
        """Of our table in each family; empty if one of them has no rules."""
        found = [ruleset.fingerprint(self.configuration.table) for ruleset in self._rulesets.values()]
        return " ".join(found) if all(found) else ""

    def _tables(self) -> str:
        return " and ".join("table %s %s" % (family, self.configuration.table) for family in self._rulesets)

    def _put_back_rules(self) -> List[str]:
        if not self._rules_differ():
            return []
        script = self.configuration.wanted_rules()
        run("nft", "-f", str(self.configuration.rules))
        self._record.write(script, self._fingerprint())
        return [self._tables()]

    def _sysctls(self) -> List[Tuple[str, str, str]]:
        found = []
        for name, wanted in self.configuration.sysctls.items():
            with contextlib.suppress(FileNotFoundError):
                value = _sysctl(name).read_text(encoding="ascii").strip()
                if value != wanted:
                    found.append((name, value, wanted))
        return found

    def _put_back_sysctls(self) -> List[str]:
        differ = self._sysctls()
        for name, _, wanted in differ:
            _sysctl(name).write_text(wanted, encoding="ascii")
        return ["sysctl %s: %s -> %s" % each for each in differ]

    def _mtus(self) -> List[Tuple[str, int, int]]:
        """The bridge, if there is one and its MTU differs. The CNI plugin creates it with the first pod."""
        name, wanted = self.configuration.bridge, self.configuration.mtu
        present = self._links.mtu(name) if name and wanted else 0
        return [(name, present, wanted)] if present not in {0, wanted} else []

    def _put_back_mtu(self) -> List[str]:
        differ = self._mtus()
        for name, _, wanted in differ:
            self._links.set_mtu(name, wanted)
        return ["MTU of %s: %d -> %d" % each for each in differ]

    def _put_back_ports(self, attachment: Attachment) -> List[str]:
        return [self._host_ports.put_back(attachment)]

    def _proxy_lost(self) -> bool:
        return bool(self.configuration.kube_proxy) and any(each.lost() for each in self._kube_proxies)

    def _put_back_proxy(self) -> List[str]:
        if time.monotonic() - self._restarted < _RESTART_SECONDS or not self._proxy_lost():
            return []
        self._restarted = time.monotonic()
        self._kube_proxies[0].restart()
        return ["kube-proxy's rules, by its restart"]

    def _tunnel_lost(self) -> bool:
        # Both are asked, since each remembers what it has seen.
        lost = [tunnel.lost() for tunnel in self._tunnels]
        return any(lost)

    def _policies_lost(self) -> bool:
        return any(each.lost() for each in self._network_policies)

    def _put_back_tunnel(self) -> List[str]:
        # Looked at each time, since what is there is remembered.
        lost = self._tunnel_lost()
        if not lost or time.monotonic() - self._tunnel_restarted < _RESTART_SECONDS or not self._tunnels[0].restart():
            return []
        self._tunnels[1].forget()
        self._tunnel_restarted = time.monotonic()
        return ["flannel's routes, by its restart"]

    def _put_back_policies(self) -> List[str]:
        # An engine that was just started is not taken for one that has lost its rules: it is not asked for them yet.
        if not self._policies_lost():
            return []
        self._network_policies[0].restart()
        return ["the rules of network policies, by a restart of their engine"]


def _attempt(repair: Callable[[], List[str]]) -> Tuple[List[str], List[str]]:
    """What was done, and what was in the way."""
    try:
        return repair(), []
    except (PodNetworkError, OSError) as error:
        return [], [str(error)]


def _sysctl(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))


def record() -> Record:
    """The record in the directory that systemd gives the unit."""
    directory = os.environ.get("RUNTIME_DIRECTORY")
    return Record(Path(directory) / RECORD.name if directory else RECORD)
