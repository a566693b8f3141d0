"""Whether hosts reach each other's ports: what is probed before a first installation, and what that found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
# VXLAN's, or another component's.
_UDP_CLIENTS = NODES


@dataclass(frozen=True)
class Target:
    """A port of a host that another one has to reach."""

    host: str
    address: str
    port: int
    component: str
    protocol: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True)
class Probe:
    """What a host does: the ports on which it listens, and those to which it connects."""

    address: str
    listen: tuple[int, ...]
    connect: tuple[Target, ...]
    listen_udp: tuple[int, ...] = ()

    def data(self) -> dict[str, Any]:
        """As the tasks that probe take it."""
        targets = [
            {"address": target.address, "port": target.port, "protocol": target.protocol} for target in self.connect
        ]
        return {
            "address": self.address,
            "listen": list(self.listen),
            "listen_udp": list(self.listen_udp),
            "targets": targets,
        }


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
    listened: dict[str, set[tuple[str, int]]] = {}
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
            listened.setdefault(target.host, set()).add((target.protocol, target.port))
    for server, _ in hosts:
        if server.name in listened:
            own = found.get(server.name, Probe(server.address, (), ()))
            ports = {kind: tuple(sorted(port for protocol, port in listened[server.name] if protocol == kind))
                     for kind in ("tcp", "udp")}  # fmt: skip
            found[server.name] = Probe(server.address, ports["tcp"], own.connect, ports["udp"])
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
    # On a host that is installed the kernel, or a component, has the port, and does not answer.
    if is_new(server) and server.within(_UDP_CLIENTS):
        components = {rule.port: rule.component for rule in rules.ports}
        for port in rules.udp_ports:
            component = components.get(port, f"{rules.pod_network}'s VXLAN")
            yield Target(server.name, server.address, port, component, "udp"), _UDP_CLIENTS


def check_connections(
    probed: Mapping[str, Probe],
    failed: Mapping[str, Sequence[Mapping[str, Any]]],
    listening: Mapping[str, Collection[int]],
) -> Iterator[Finding]:
    """A finding for each host that others do not reach. ``failed``: by client, addresses and ports, with errors.

    ``listening``: UDP ports on which hosts did listen. Another program has the others, whose silence means nothing.
    """
    unreached: dict[str, dict[tuple[int, str, str], list[str]]] = {}
    for client, missed in failed.items():
        errors = {
            (str(each["address"]), int(each["port"]), str(each.get("protocol") or "tcp")): str(each["error"])
            for each in missed
        }
        for target in probed[client].connect:
            error = errors.get((target.address, target.port, target.protocol))
            asked = target.protocol == "tcp" or target.port in listening.get(target.host, ())
            if error is not None and asked:
                ports = unreached.setdefault(target.host, {})
                port = (target.port, target.protocol, target.component)
                ports.setdefault(port, []).append(f"{client} ({error})")
    for host, ports in unreached.items():
        listed = "; ".join(
            f"{port}{' (UDP)' if protocol == 'udp' else ''} of {component} from {', '.join(clients)}"
            for (port, protocol, component), clients in sorted(ports.items())
        )
        opened = {kind: sorted({port for port, protocol, _ in ports if protocol == kind}) for kind in ("tcp", "udp")}
        numbers = " and ".join(
            f"{kind.upper()} {', '.join(str(number) for number in found)}" for kind, found in opened.items() if found
        )
        remediation = (
            f"Open {numbers} on {host} to the cluster's hosts: in its own firewall (nft list ruleset), in that of "
            "the cloud (security groups), and on the way."
        )
        yield Finding("port-closed", f"other hosts have no connection to {listed}", remediation, host=host)
