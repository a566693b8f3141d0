"""Decide whether an etcd member can be replaced, and set the result as a fact on all hosts of the play."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from typing import Any

from kubeproof.install.action import Action
from kubeproof.restore import record, replacing
from kubeproof.restore.checking import Look


class ActionModule(Action):
    """Thin: what is decided is decided in ``kubeproof.restore.replacing``."""

    _requires_connection = False
    _VALID_ARGS = frozenset(("member", "hosts", "healthy_too"))

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError if it can't."""
        arguments = self._arguments
        seen = {str(host): self._variables["hostvars"][host].get("__etcd_look") for host in arguments["hosts"]}
        # One that is left out of the run may be dead, and counts as such.
        looks = [Look.of(host, look) if look else Look.unseen(host) for host, look in seen.items()]
        plan = replacing.plan(str(arguments["member"]), looks, healthy_too=bool(arguments.get("healthy_too", False)))
        if not plan.needed:
            self._display.display(
                f"{plan.member} is a member that is well; nothing is done. To replace it all the same: "
                "-e replace_healthy=true"
            )
        fact = {**asdict(plan), "needed": plan.needed, "id": record.new_id(datetime.datetime.now(tz=datetime.UTC))}
        return {"changed": False, "ansible_facts": {"kubeproof_replacement": fact}}
