"""Create the cluster's CAs and the administrator's kubeconfig in the state directory on the controller."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action
from kubeproof.pki import cas, kubeconfig
from kubeproof.preflight import identity
from kubeproof.preflight.findings import render
from kubeproof.preflight.identity import Kept
from kubeproof.preflight.model import CONTROL_PLANE, ETCD, GROUPS
from kubeproof.settings import state as states
from kubeproof.settings.host_report import reported
from kubeproof.settings.urls import in_url


class ActionModule(Action):
    """Thin: all of it is in ``kubeproof.pki.cas`` and ``kubeproof.pki.kubeconfig``."""

    OF_HOSTS = False
    _VALID_ARGS = frozenset(("state_directory", "cluster", "days", "server", "hosts", "port"))

    def act(self) -> dict[str, Any]:
        arguments = self._arguments
        state = Path(str(arguments["state_directory"]))
        cluster = str(arguments["cluster"])
        port, hosts = arguments["port"], arguments["hosts"]
        servers = {str(host): f"https://{in_url(address)}:{port}" for host, address in hosts.items()}
        target = kubeconfig.Target(cluster, str(arguments["server"]), servers)
        lifetime = datetime.timedelta(days=int(arguments["days"]))
        self._refuse_others(state)
        if self._task.check_mode:
            if not (state / "pki").is_dir():
                return {"changed": True, "made": ["CAs and keys", kubeconfig.NAME]}
            made = [kubeconfig.NAME] if kubeconfig.ensure_kubeconfig(state, target, pretend=True) else []
            return {"changed": bool(made), "made": made}
        made = cas.ensure_cas(states.prepare(state) / "pki", cluster, lifetime)
        if kubeconfig.ensure_kubeconfig(state, target):
            made.append(kubeconfig.NAME)
        return {"changed": bool(made), "made": made}

    def _refuse_others(self, state: Path) -> None:
        """The preflight has said this already, unless what it judged has changed since: in a restore it has."""
        groups, known = self._variables["groups"], self._variables["hostvars"]
        reports = {str(host): reported(known, host) for group in GROUPS for host in groups.get(group, ())}
        # A host that could not be examined has a report without.
        carried = {host: report["identity"] for host, report in reports.items() if "identity" in report}
        kept = Kept.of(state, " -i ".join(str(source) for source in self._variables["ansible_inventory_sources"]))
        holders = [str(host) for group in (ETCD, CONTROL_PLANE) for host in groups.get(group, ())]
        found = [*identity.check_identity(carried, kept), *identity.check_beginning(holders, list(carried), kept)]
        if found:
            raise KubeproofError("No CAs were created, and no host was changed.\n" + render(found))
