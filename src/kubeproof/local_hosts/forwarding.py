"""What crosses the border of the hosts' segment: published ports, and, if they are not isolated, their way out.

Both are one nftables table on the machine, rewritten as a whole and removed with the network.
"""

from __future__ import annotations

import ipaddress

from kubeproof.core.process import attempt, run
from kubeproof.local_hosts import machine
from kubeproof.local_hosts.plan import LocalHost, Network, Plan, PublishedPort

# The priorities of address translation; their names are not known for every hook.
_DSTNAT, _SRCNAT = -100, 100


def ensure(plan: Plan) -> None:
    """Make the machine forward what the inventory asks for, and nothing else."""
    remove(plan.network)
    if plan.network.isolated and not any(host.ports for host in plan.hosts):
        return
    run(["nft", "--file", "-"], stdin=ruleset(plan))
    if any(port.loopback for host in plan.hosts for port in host.ports):
        # Or the kernel drops what comes from 127.0.0.1 where it leaves by this interface.
        run(["sysctl", "--quiet", f"net.ipv4.conf.{plan.network.interface}.route_localnet=1"])
    if not plan.network.isolated or any(not port.loopback for host in plan.hosts for port in host.ports):
        machine.forward_packets(plan.network.name)


def remove(network: Network) -> None:
    """Remove the network's table, if there is one."""
    attempt(["nft", "delete", "table", "ip", _table(network)])


def ruleset(plan: Plan) -> str:
    """The network's nftables table."""
    network = plan.network
    published = [(port, _publish(host, port)) for host in plan.hosts for port in host.ports]
    # What is published on loopback must not be reached from outside by whoever routes 127.0.0.1 to this machine.
    from_outside = [rule for port, rule in published if not port.loopback]
    from_here = [rule for _, rule in published]
    # Hosts answer to the machine's address on the segment, as they know no way to any other.
    subnets = f"{{ {', '.join(map(str, network.subnets))} }}" if network.further_subnets else str(network.subnet)
    inwards = [f"ip saddr != {subnets} oifname {network.interface} masquerade"]
    outwards = [] if network.isolated else [f"ip saddr {subnets} oifname != {network.interface} masquerade"]
    chains = [
        *_chain("prerouting", _DSTNAT, from_outside),
        *_chain("output", _DSTNAT, from_here),
        *_chain("postrouting", _SRCNAT, inwards + outwards),
    ]
    return "\n".join([f"table ip {_table(network)} {{", *chains, "}", ""])


def _chain(hook: str, priority: int, rules: list[str]) -> list[str]:
    head = f"    chain {hook} {{ type nat hook {hook} priority {priority}; policy accept;"
    return [head, *(f"        {rule}" for rule in rules), "    }"]


def _publish(host: LocalHost, port: PublishedPort) -> str:
    """The rule that sends what is for a published port to its host."""
    anywhere = ipaddress.IPv4Address(port.address).is_unspecified
    where = "fib daddr type local" if anywhere else f"ip daddr {port.address}"
    return f"{where} {port.protocol} dport {port.published} dnat to {host.address}:{port.port}"


def _table(network: Network) -> str:
    return network.interface
