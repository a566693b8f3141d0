"""An Ansible inventory, read the way Ansible reads it: hosts, groups and variables."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.errors import KubeproofError

STATE_DIRECTORY = "state"
# Ansible loads its plugins when they are first wanted, and takes half-loaded ones of another thread for broken.
_RENDERING = threading.Lock()


@dataclass(frozen=True)
class Host:
    """One host of an inventory: its groups, and its variables before any template is rendered."""

    name: str
    groups: frozenset[str]
    variables: Mapping[str, Any]


@dataclass(frozen=True)
class Inventory:
    """The hosts of an inventory, in its order."""

    path: Path
    hosts: Mapping[str, Host]

    @property
    def state(self) -> Path:
        """Where an install leaves what it produces on the controller: beside the inventory's file."""
        return state_directory(self.path)

    def group(self, name: str) -> tuple[Host, ...]:
        """The members of a group in the inventory's order; none if there is no such group."""
        return tuple(host for host in self.hosts.values() if name in host.groups)

    def host(self, name: str) -> Host:
        """The host of this name."""
        if name not in self.hosts:
            raise KubeproofError(f"{self.path} has no host {name}", hint=f"it has {', '.join(self.hosts)}")
        return self.hosts[name]


def state_directory(path: Path) -> Path:
    """The state directory of the inventory at this path, which may be a file or a directory."""
    base = path if path.is_dir() else path.parent
    return base.resolve() / STATE_DIRECTORY


def load(path: Path) -> Inventory:
    """Read an inventory file or directory, with the group_vars and host_vars that lie beside it."""
    if not path.exists():
        raise KubeproofError(
            f"there is no inventory at {path}",
            hint="give one with --inventory; inventory/local/hosts.yml describes hosts on this machine",
        )
    # Importing Ansible takes half a second, which the commands that need no inventory should not pay.
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.manager import VariableManager

    _find_plugins()
    loader = DataLoader()
    try:
        manager = InventoryManager(loader=loader, sources=[str(path)])
        variables = VariableManager(loader=loader, inventory=manager)
        hosts = {
            host.name: Host(
                name=host.name,
                groups=frozenset(group.name for group in host.get_groups()),
                variables=variables.get_vars(host=host, include_hostvars=False),
            )
            for host in manager.get_hosts()
        }
    except AnsibleError as error:
        raise KubeproofError(f"the inventory {path} cannot be read: {error}") from error
    if not hosts:
        raise KubeproofError(f"the inventory {path} has no hosts")
    return Inventory(path=path.resolve(), hosts=hosts)


def _find_plugins() -> None:
    """Have Ansible find plugins by their full names, as in templates (``lookup('ansible.builtin.file', …)``)."""
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    # In a playbook's own process that is done already, and twice is a warning.
    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader()


def rendered(host: Host, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named variables that the host has, with their templates rendered."""
    from ansible.errors import AnsibleError
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    values = {}
    with _RENDERING:
        templar = Templar(loader=DataLoader(), variables=dict(host.variables))
        for name in names:
            if name in host.variables:
                try:
                    values[name] = templar.template(host.variables[name])
                except AnsibleError as error:
                    raise KubeproofError(f"host {host.name}: {name} cannot be rendered: {error}") from error
    return values
