"""An Ansible inventory, read the way Ansible reads it: hosts, groups and variables."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import state

Sources = Path | Sequence[Path]
"""An inventory as it is given: a file or a directory, or several."""
CLUSTER_GROUPS = ("etcd", "control_plane", "workers")
_STATE_SETTING = "cluster_state_directory"
_VAULT_HINT = "name the file that has the password in ANSIBLE_VAULT_PASSWORD_FILE"
# Ansible loads its plugins when they are first wanted, and takes half-loaded ones of another thread for broken.
LOADING = threading.Lock()
# What in a file may set a variable that its text does not name: another's secret, or a program.
_OPAQUE = re.compile(rb"\A\$ANSIBLE_VAULT|\A#!|^plugin\s*:|" + _STATE_SETTING.encode(), re.MULTILINE)


@dataclass(frozen=True)
class Host:
    """One host of an inventory: its groups, and its variables before any template is rendered.

    ``hostvars``: Ansible's own, by which templates reach other hosts' variables, put together when they are asked for.
    """

    name: str
    groups: frozenset[str]
    variables: Mapping[str, Any]
    hostvars: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Inventory:
    """The hosts of an inventory, in its order. ``path`` is its file or directory, ``more`` are others of it."""

    path: Path
    hosts: Mapping[str, Host]
    more: tuple[Path, ...] = ()

    @property
    def sources(self) -> tuple[Path, ...]:
        """All files and directories, in the order in which Ansible reads them."""
        return (self.path, *self.more)

    @cached_property
    def state(self) -> Path:
        """Where an install leaves what it produces on the controller. Raises KubeproofError if hosts differ in that."""
        found: dict[Path, str] = {}
        for host in _of_different_settings(self.members or tuple(self.hosts.values())):
            found.setdefault(_state_of(host), host.name)
        if len(found) > 1:
            said = ", ".join(f"{path} for {name}" for path, name in found.items())
            raise KubeproofError(
                f"the hosts of this inventory have different state directories: {said}",
                hint=f"set {_STATE_SETTING} for the group all; the default is next to the file that names a host",
            )
        return next(iter(found))

    @property
    def members(self) -> tuple[Host, ...]:
        """The hosts of the cluster. An inventory may have others, which are none of our business."""
        return tuple(host for host in self.hosts.values() if not host.groups.isdisjoint(CLUSTER_GROUPS))

    @property
    def representative(self) -> Host:
        """The host whose settings are taken where all hosts of the cluster have the same, as the preflight checks."""
        return (self.members or tuple(self.hosts.values()))[0]

    def group(self, name: str) -> tuple[Host, ...]:
        """The members of a group in the inventory's order; none if there is no such group."""
        return tuple(host for host in self.hosts.values() if name in host.groups)

    def host(self, name: str) -> Host:
        """The host of this name."""
        if name not in self.hosts:
            raise KubeproofError(f"{self.path} has no host {name}", hint=f"it has {', '.join(self.hosts)}")
        return self.hosts[name]


def _of_different_settings(hosts: Sequence[Host]) -> Iterator[Host]:
    """Of hosts that have the same setting, and are of the same directory, the first."""
    seen = set()
    for host in hosts:
        key = (str(host.variables.get(_STATE_SETTING)), host.variables.get("inventory_dir"))
        if key not in seen:
            seen.add(key)
            yield host


def _state_of(host: Host) -> Path:
    if _STATE_SETTING in host.variables:
        found = Path(str(rendered(host, [_STATE_SETTING])[_STATE_SETTING]))
        if not found.is_absolute():
            raise KubeproofError(
                f"{_STATE_SETTING}: {found} is not an absolute path, and depends on the working directory",
                hint=f"for example {{{{ inventory_dir }}}}/{found.name}",
            )
        return found
    base = host.variables.get("inventory_dir")
    if not base:
        raise KubeproofError(
            f"host {host.name} is not in an inventory file, so that its state directory is unknown",
            hint=f"give a file or a directory as inventory, or set {_STATE_SETTING}",
        )
    return state.directory(Path(str(base)))


def sources_of(given: Sources) -> tuple[Path, ...]:
    """The files and directories of an inventory."""
    return (given,) if isinstance(given, Path) else tuple(given)


def _existing(given: Sources) -> tuple[Path, ...]:
    for path in sources_of(given):
        if not path.exists():
            raise KubeproofError(
                f"there is no inventory at {path}",
                hint="give one with --inventory; inventory/local/hosts.yml describes hosts on this machine",
            )
    return sources_of(given)


def options(given: Sources) -> list[str]:
    """The options that give an inventory to a program of Ansible's, or to pytest, wherever that runs."""
    return [f"--inventory={path.absolute()}" for path in sources_of(given)]


def find_state(given: Sources) -> Path:
    """An inventory's state directory, for who needs nothing else of it: read only if its files may say where that is.

    Reading takes half a second, which `kubectl` need not wait for.
    """
    sources = _existing(given)
    bases = {path if path.is_dir() else path.parent for path in (each.absolute() for each in sources)}
    if len(bases) > 1 or any(_OPAQUE.search(path.read_bytes()) for path in _files(sources)):
        return load(sources).state
    return state.directory(bases.pop())


def _files(sources: Iterable[Path]) -> Iterator[Path]:
    """The files of inventories, and those beside them with variables."""
    for source in sources:
        base = source if source.is_dir() else source.parent
        if source.is_file():
            yield source
        for directory in (base,) if source.is_dir() else (base / "group_vars", base / "host_vars"):
            for place, names, files in os.walk(directory, followlinks=True):
                names[:] = [name for name in names if not name.startswith(".") and name != state.FORMER]
                yield from (Path(place, name) for name in files)


def load(given: Sources) -> Inventory:
    """Read inventory files or directories, with the group_vars and host_vars that lie beside them."""
    sources = _existing(given)
    # Importing Ansible takes half a second, which the commands that need no inventory should not pay.
    from ansible.errors import AnsibleError
    from ansible.inventory import manager as managing
    from ansible.vars.hostvars import HostVars
    from ansible.vars.manager import VariableManager

    _find_plugins()
    _ignore_state(managing)
    try:
        loader = _loader()
        manager = managing.InventoryManager(loader=loader, sources=[str(path) for path in sources])
        variables = VariableManager(loader=loader, inventory=manager)
        hostvars = HostVars(manager, variables, loader)
        hosts = {
            host.name: Host(
                name=host.name,
                groups=frozenset(group.name for group in host.get_groups()),
                variables=variables.get_vars(host=host, include_hostvars=False),
                hostvars=hostvars,
            )
            for host in manager.get_hosts()
        }
    except AnsibleError as error:
        hint = _VAULT_HINT if "vault" in str(error).lower() else ""
        raise KubeproofError(f"the inventory {_named(sources)} cannot be read: {error}", hint=hint) from error
    if not hosts:
        raise KubeproofError(f"the inventory {_named(sources)} has no hosts")
    # Not resolved: what Ansible takes for the directory of a link to a file is the link's.
    first, *more = (path.absolute() for path in sources)
    found = Inventory(path=first, hosts=hosts, more=tuple(more))
    state.refuse_within(found.state, sources, managing.IGNORED)
    state.refuse_elsewhere(found.state, sources)
    return found


def _named(sources: Iterable[Path]) -> str:
    return ", ".join(str(path) for path in sources)


def _ignore_state(managing: Any) -> None:
    """Have Ansible do what the project's ansible.cfg says, whichever configuration this process has come by."""
    wanted = state.IGNORED.encode()
    if wanted not in managing.IGNORED.pattern.split(b"|"):
        managing.IGNORED = re.compile(b"|".join((managing.IGNORED.pattern, wanted)))


def _loader() -> Any:
    """What reads files for Ansible, with the passwords that Ansible's own programs would find for them."""
    from ansible.constants import config
    from ansible.parsing.dataloader import DataLoader
    from ansible.parsing.vault import VaultSecretsContext, get_file_vault_secret

    loader = DataLoader()
    # In a playbook's own process they are known already.
    if VaultSecretsContext.current(optional=True) is None:
        secrets: list[tuple[str, Any]] = []
        file = config.get_config_value("DEFAULT_VAULT_PASSWORD_FILE")
        for entry in (*config.get_config_value("DEFAULT_VAULT_IDENTITY_LIST"), *([file] if file else [])):
            identity, _, place = str(entry).rpartition("@")
            if place.startswith("prompt"):
                raise KubeproofError(f"vault identity {entry}: kubeproof does not ask for passwords", hint=_VAULT_HINT)
            identity = identity or str(config.get_config_value("DEFAULT_VAULT_IDENTITY"))
            secret = get_file_vault_secret(filename=place, vault_id=identity, loader=loader)
            secret.load()
            secrets.append((identity, secret))
            # The next file may itself be encrypted.
            loader.set_vault_secrets(secrets)
        VaultSecretsContext.initialize(VaultSecretsContext(secrets))
    loader.set_vault_secrets(VaultSecretsContext.current().secrets)
    return loader


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
    from ansible.template import Templar

    values = {}
    with LOADING:
        templar = Templar(loader=_loader(), variables={**host.variables, "hostvars": host.hostvars})
        for name in names:
            if name in host.variables:
                try:
                    values[name] = templar.template(host.variables[name])
                except AnsibleError as error:
                    raise KubeproofError(f"host {host.name}: {name} cannot be rendered: {error}") from error
    return values
