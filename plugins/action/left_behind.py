"""Leave a host out of the rest of a run, or name those that were left out. What they lack: ``kubeproof.install``."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from ansible import context

from kubeproof.components.lock import Lock
from kubeproof.components.pins import GROUPS
from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action
from kubeproof.install.converged import Converged
from kubeproof.restore.record import Records
from kubeproof.settings.host_report import reported

_STATES = ("left", "named")


class ActionModule(Action):
    """Which hosts it is about is for the preflight to say."""

    OF_HOSTS = False
    _VALID_ARGS = frozenset(("state", "state_directory"))
    _requires_connection = False

    def act(self) -> dict[str, Any]:
        wanted = str(self._arguments.get("state"))
        if wanted not in _STATES:
            raise KubeproofError(f"left_behind: state is {wanted!r}; it must be one of {', '.join(_STATES)}")
        records = Converged(Path(str(self._arguments["state_directory"])) / "rolling" / "converged")
        return self._leave(records) if wanted == "left" else self._name(records)

    def _leave(self, records: Converged) -> dict[str, Any]:
        """Ansible leaves out what is unreachable, and counts it."""
        told = f"it was left behind; {records.told(self._host)}"
        return {"changed": False, "unreachable": True, "left_behind": True, "msg": told}

    def _name(self, records: Converged) -> dict[str, Any]:
        if context.CLIARGS.get("start_at_task"):
            raise KubeproofError(
                "this run has left out what comes before its first task (--start-at-task), and is not recorded as one "
                "that got to the end",
                hint="run it from the start, finished steps change nothing; for some components use --tags",
            )
        task_vars = self._variables
        tags, skipped = (list(task_vars[f"ansible_{name}_tags"]) for name in ("run", "skip"))
        if tags == ["all"] and not skipped and not self._task.check_mode:
            ended = {str(host) for host in task_vars["ansible_play_hosts"]}
            records.keep(ended)
            if ended >= {str(host) for group in GROUPS for host in task_vars["groups"].get(group, ())}:
                self._make_current()
                self._rest.keep()
                self._close_restores()
        hosts = [str(host) for host in task_vars["ansible_play_hosts_all"]]
        left = [host for host in hosts if reported(task_vars["hostvars"], host).get("unreachable")]
        for host in left:
            self._display.warning(f"{host} was left behind; {records.told(host)}")
        return {"changed": False, "left_behind": left}

    def _close_restores(self) -> None:
        """All hosts have converged: an unfinished restore would take from the cluster what it has got since."""
        hostvars, hosts = self._variables["hostvars"], self._variables["groups"].get("etcd", ())
        if any("kubeproof_restore" in hostvars[host].get("ansible_facts", {}) for host in hosts):
            # This run is the restore, and ends it itself.
            return
        directory = Path(str(self._arguments["state_directory"]))
        for restore in Records(directory).close(datetime.datetime.now(tz=datetime.UTC)):
            self._display.display(
                f"The restore {restore.id} of {restore.name}, started at {restore.began}, was not finished, and will "
                "not be resumed: the whole cluster has converged since"
            )

    def _make_current(self) -> None:
        """All hosts have what was fetched for them: from now on that is what the cluster has."""
        lock = Lock(Path(str(self._arguments["state_directory"])))
        lock.settle()
        lock.save()
