"""Virtual machines as inventories describe them."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from kubeproof.local_hosts.plan import LocalHost, Network, Plan, VmSettings

NETWORK = Network("lab", ipaddress.IPv4Network("10.213.99.0/24"))


def machine(vm: VmSettings | None = None, **more: Any) -> LocalHost:
    """A virtual machine of 512 MiB."""
    return LocalHost("a", "lab-a", ipaddress.IPv4Address("10.213.99.11"), memory="512m", vm=vm or VmSettings(), **more)


def planned(*hosts: LocalHost) -> Plan:
    """A plan of hosts on the network."""
    return Plan(Path("/inventories/lab/hosts.yml"), Path("/inventories/lab/state"), NETWORK, hosts)
