"""Whether hosts reach each other's ports: what is probed before a first installation, and what that found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import CONTROL_PLANE, ETCD, NODES, Host, Rules

# The groups whose hosts connect to the port that a setting holds. Ports on loopback are for the host itself; the health
# port of kube-proxy is for load balancers outside the cluster.
CLIENTS: Mapping[str, tuple[str, ...]] = {
    "cluster_etcd_port": (ETCD, CONTROL_PLANE),
    "etcd_peer_port": (ETCD,),
    "cluster_api_port": NODES,
    "kubelet_port": (CONTROL_PLANE,),
    "metallb_memberlist_port": NODES,
}


@dataclass(frozen=True)
class Target:
    """A port of a host that another one has to reach."""

    host: str
    address: str
    port: int
    component: str


@dataclass(frozen=True)
class Probe:
    """What a host does: the ports on which it listens, and those to which it connects."""

    address: str
    listen: tuple[int, ...]
    connect: tuple[Target, ...]

    def data(self) -> dict[str, Any]:
        """As the tasks that probe take it."""
        targets = [{"address": target.address, "port": target.port} for target in self.connect]
        return {"address": self.address, "listen": list(self.listen), "targets": targets}


def probes(hosts: Sequence[tuple[Host, Rules]], clients: Mapping[str, tuple[str, ...]] = CLIENTS) -> dict[str, Probe]:
    """What hosts have to probe, by name: of all connections between two hosts those that nothing has used before.

    Empty if nothing is new: on a host where components are installed already these say what they do not reach.
    """
    hosts = [(host, rules) for host, rules in hosts if host.report is not None]
    new = {host.name for host, _ in hosts if is_new(host)}
    if not new:
        return {}
    # All pairs of hosts are gone through: what can be known of one alone is found out before.
    offered = [(server, list(_offered(server, rules, clients))) for server, rules in hosts]
    found: dict[str, Probe] = {}
    listened: dict[str, set[int]] = {}
    for client, _ in hosts:
        targets = tuple(
            target
            for server, ports in offered
            if server.name != client.name and (server.name in new or client.name in new)
            for target, groups in ports
            if client.within(groups)
        )
        if targets:
            found[client.name] = Probe(client.address, (), targets)
        for target in targets:
            listened.setdefault(target.host, set()).add(target.port)
    for server, _ in hosts:
        if server.name in listened:
            own = found.get(server.name, Probe(server.address, (), ()))
            found[server.name] = Probe(server.address, tuple(sorted(listened[server.name])), own.connect)
    return found


def is_new(host: Host) -> bool:
    """Whether nothing of kubeproof runs on a host yet."""
    return host.report is not None and not host.report["installed"]["active"]


def _offered(
    server: Host, rules: Rules, clients: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[Target, tuple[str, ...]]]:
    """Ports of a host that others connect to, each with the groups whose hosts do."""
    for rule in rules.ports:
        if rule.setting in clients and server.within(rule.groups):
            yield Target(server.name, server.address, rule.port, rule.component), clients[rule.setting]


def check_connections(
    probed: Mapping[str, Probe], failed: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Iterator[Finding]:
    """A finding for each host that others do not reach. ``failed``: by client, addresses and ports, with errors."""
    unreached: dict[str, dict[tuple[int, str], list[str]]] = {}
    for client, missed in failed.items():
        errors = {(str(each["address"]), int(each["port"])): str(each["error"]) for each in missed}
        for target in probed[client].connect:
            error = errors.get((target.address, target.port))
            if error is not None:
                ports = unreached.setdefault(target.host, {})
                ports.setdefault((target.port, target.component), []).append(f"{client} ({error})")
    for host, ports in unreached.items():
        listed = "; ".join(
            f"{port} of {component} from {', '.join(clients)}" for (port, component), clients in sorted(ports.items())
        )
        numbers = ", ".join(str(number) for number in sorted({port for port, _ in ports}))
        remediation = (
            f"Open TCP {numbers} on {host} to the cluster's hosts: in its own firewall (nft list ruleset), in that of "
            "the cloud (security groups), and on the way."
        )
        yield Finding("port-closed", f"other hosts have no connection to {listed}", remediation, host=host)
