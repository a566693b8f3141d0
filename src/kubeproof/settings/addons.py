"""Which add-ons are switched on. No Ansible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kubeproof.settings import local_path, metallb, runtimes, traefik

Settings = Mapping[str, Any]

# Whether each is on, by settings: most have a switch, MetalLB has something to do once it has addresses, and gVisor
# once a runtime handler is of its type.
_SWITCHES: Mapping[str, Callable[[Settings], Any]] = {
    "metrics_server": lambda settings: settings["metrics_server_enabled"],
    "metallb": metallb.on,
    "gateway_api": lambda settings: settings["gateway_api_enabled"],
    "traefik": traefik.on,
    "local_path": local_path.on,
    "gvisor": runtimes.gvisor,
}


def switched_on(settings: Settings) -> list[str]:
    """Names of those that are on, by settings and their defaults."""
    return [name for name, switch in _SWITCHES.items() if switch(settings)]
