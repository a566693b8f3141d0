"""Under which addresses hosts reach each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

IPV6 = "cluster_host_address_ipv6"
"""The setting with a host's second address, in a cluster of two IP families."""


def of_hosts(names: Iterable[str], hostvars: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """Each host's ``cluster_host_address``, by name. ``known``: those that need not be asked for.

    Ansible puts together all variables of a host that is asked for, so that hosts that ask for each other's take time
    that grows with the square of their number.
    """
    return {name: str(known[name]) if name in known else _address(name, hostvars[name]) for name in names}


def ipv6_of_hosts(names: Iterable[str], hostvars: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """Each host's ``cluster_host_address_ipv6``, by name, of those that have one; as :func:`of_hosts`."""
    found = {name: known[name] if name in known else hostvars[name].get(IPV6) or "" for name in names}
    return {name: str(address) for name, address in found.items() if address}


def _address(name: str, variables: Mapping[str, Any]) -> str:
    """Role defaults are not part of hostvars, so the default is repeated here: ``ansible_host``, else the name."""
    return str(variables.get("cluster_host_address") or variables.get("ansible_host") or name)
