"""Plan an upgrade from what hosts have reported, show the plan, and note what an upgrade that begins is about."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible import constants
from ansible.module_utils.parsing.convert_bool import boolean

from kubeproof.components import pins
from kubeproof.components.lock import Lock
from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action, plain
from kubeproof.preflight.model import GROUPS, Host
from kubeproof.upgrade import acts, asked, rendering, survey
from kubeproof.upgrade.goal import Kind
from kubeproof.upgrade.plan import REFUSED, Plan
from kubeproof.upgrade.record import Record
from kubeproof.upgrade.world import COMPONENTS

_STATES = ("planned", "backed-up", "rehearsed", "refused", "ended")
# Steps after which the cluster is as it was before.
_PREPARING = frozenset({Kind.STAGE, Kind.BACKUP, Kind.REHEARSAL})


class ActionModule(Action):
    """Gathers what ``kubeproof.upgrade`` plans from."""

    _requires_connection = False
    _VALID_ARGS = frozenset(
        (
            "state", "direction", "to", "only", "hosts", "until", "soak", "at_once", "local_data", "bare_pods",
            "rehearses", "mark", "version", "readable", "untouched",
        )
    )  # fmt: skip

    def act(self) -> dict[str, Any]:
        state = str(self._arguments.get("state", "planned"))
        if state not in _STATES:
            raise KubeproofError(f"upgrade_plan: state is {state!r}; it must be one of {', '.join(_STATES)}")
        record = Record(self._state_directory)
        if state != "planned":
            return {"changed": self._note(state, record)}
        plan = self._plan(record)
        document = {**rendering.document(plan), "text": rendering.render(plan), "acts": acts.data(plan, self._given)}
        report = self._state_directory / "reports" / "upgrade-plan.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        refused = plan.exit_code == REFUSED
        self._display.display(f"\n{document['text']}", color=constants.COLOR_ERROR if refused else None)
        if refused:
            raise KubeproofError("Nothing was changed: something is in the way of this upgrade, see above.")
        return {"changed": False, "ansible_facts": {"kubeproof_upgrade": self._facts(plan, record)}}

    def _note(self, state: str, record: Record) -> bool:
        """Note what has happened; returns whether that was of interest."""
        if state == "backed-up":
            record.note_backup(str(self._arguments["mark"]), self._host, self._arguments.get("readable", ()))
        elif state == "rehearsed":
            record.note_rehearsal(str(self._arguments["version"]), str(self._arguments["mark"]))
        elif state == "refused" and not boolean(self._arguments.get("untouched", False)):
            record.forget_backup()
        else:
            if state == "ended":
                self._make_current(record)
            return record.remove()
        return True

    def _make_current(self, record: Record) -> None:
        """What it led to is what the cluster has, also where hosts were left behind: the next way back is from that.

        After a way back there is none: another one is to the same, and has hosts catch up that were left behind.
        """
        lock = Lock(self._state_directory)
        if record.direction == "back":
            lock.settle_back()
        else:
            lock.settle()
        lock.save()

    def _facts(self, plan: Plan, record: Record) -> dict[str, Any]:
        """What the playbook carries out; nothing in check mode."""
        goal = plan.goal
        found: dict[str, Any] = {
            "acts": [],
            "whole": False,
            "verified": False,
            "untouched": not record.unfinished or self._untouched(plan),
            "versions": {**acts.running(plan, self._given), **asked.texts(goal.versions)},
        }
        if self._task.check_mode or not plan.turns:
            return found
        carried_out = acts.data(plan, self._given)
        if record.unfinished or not {turn.kind for turn in plan.turns} <= _PREPARING:
            record.begin(goal, asked.before(goal, Lock(self._state_directory)))
        limited = goal.limited or bool(plan.notes)
        verified = any(turn.kind is Kind.VERIFICATION for turn in plan.turns)
        return {**found, "acts": carried_out, "whole": not limited, "verified": verified}

    @property
    def _given(self) -> dict[str, str]:
        """Versions that the cluster was given last."""
        return Lock(self._state_directory).versions("current")

    def _untouched(self, plan: Plan) -> bool:
        """Whether what runs is what the lock says the cluster has: an upgrade that ends here has changed nothing."""
        current = self._given
        return all(
            str(running.version) == current.get(COMPONENTS[program]) and not running.emulating
            for _, program, running in plan.world.running(*COMPONENTS)
        )

    def _plan(self, record: Record) -> Plan:
        values = self._variables["hostvars"]
        names = list(dict.fromkeys(host for group in GROUPS for host in self._variables["groups"].get(group, ())))
        hosts = [self._seen(str(name), values[name]) for name in names]
        speaker = values[names[0]]
        chosen = dict(speaker.get("component_versions") or {})
        found = survey.Survey(
            str(self._value("{{ cluster_name }}")),
            hosts,
            {str(name): plain(values[name].get("__upgrade_look") or {}) for name in names},
            {str(name): {each: plain(values[name].get(each)) for each in survey.SETTINGS} for name in names},
            local_data=boolean(self._arguments.get("local_data", False)),
            bare_pods=boolean(self._arguments.get("bare_pods", False)),
            without_backups=frozenset(str(name) for name in names if not _backed_up(values[name])),
            ignored={str(entry) for name in names for entry in plain(values[name].get("preflight_ignore")) or ()},
            sizes=_sizes(Lock(self._state_directory)),
            unfinished=record.unfinished,
            began=record.age,
            backup=record.backup(_backing_up(hosts)),
            rehearsed=record.rehearsed,
            now=time.time(),
        )
        lock, arguments = Lock(self._state_directory), {"component_versions": plain(chosen), **self._arguments}
        arguments["rehearses"] = boolean(self._arguments.get("rehearses", True))
        return survey.planned(found, asked.goal(arguments, pins.load(), lock, record, [str(name) for name in names]))

    def _seen(self, name: str, variables: Mapping[str, Any]) -> Host:
        """A host with its report, or why there is none."""
        fact = plain(variables.get("ansible_facts", {}).get("kubeproof_host") or {})
        groups = frozenset(group for group in GROUPS if name in self._variables["groups"].get(group, ()))
        if not fact or "problem" in fact:
            return Host(name, groups, "", problem=str(fact.get("problem", "")), unreachable=True)
        return Host(name, groups, "", fact)


def _backing_up(hosts: Sequence[Host]) -> str:
    """The host that makes backups, as ``evidence`` has it."""
    members = [host for host in hosts if "etcd" in host.groups and host.report is not None]
    first = sorted(members, key=lambda host: "control_plane" not in host.groups)[:1]
    return "".join(host.name for host in first)


def _backed_up(variables: Mapping[str, Any]) -> bool:
    """Whether the role ``backup`` installs what makes backups, which it does unless the inventory says otherwise."""
    return bool(boolean(plain(variables.get("backup_enabled", True))))


def _sizes(lock: Lock) -> dict[str, dict[str, int]]:
    """Bytes of what the cluster has, by component and binary; of the larger architecture, where there are two."""
    found: dict[str, dict[str, int]] = {}
    for arch in lock.architectures("current"):
        for name, entry in lock.entries("current", "components", arch).items():
            known = found.setdefault(name, {})
            for binary, each in entry["binaries"].items():
                known[binary] = max(known.get(binary, 0), int(each["size"]))
    return found
