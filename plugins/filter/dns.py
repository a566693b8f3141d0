"""Filters on the configuration of the cluster's DNS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubeproof.settings import dns


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"coredns_replicas": dns.replicas, "coredns_servers": dns.servers}
