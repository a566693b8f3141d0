"""Refuse a reset that would take a voting member from an etcd cluster that stays."""

from __future__ import annotations

from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action
from kubeproof.restore import resetting
from kubeproof.restore.checking import Look


class ActionModule(Action):
    """Thin: what is decided is decided in ``kubeproof.restore.resetting``."""

    _requires_connection = False
    _VALID_ARGS = frozenset(("hosts", "staying", "port"))

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError with all voting members that would be taken away."""
        arguments = self._arguments
        # Hosts that cannot be reached are not reset either.
        seen = {str(host): self._variables["hostvars"][host].get("__etcd_look", {}) for host in arguments["hosts"]}
        looks = [Look.of(host, look) for host, look in seen.items() if "live" in look]
        found = resetting.decide(looks, [str(host) for host in arguments["staying"]], int(arguments["port"]))
        for note in found.notes:
            self._display.display(note)
        if found.refusals:
            told = "".join(f"\n  - {refusal}" for refusal in found.refusals)
            raise KubeproofError(
                f"Nothing was changed: the reset would take voting members from an etcd cluster that stays.{told}",
                hint="Or reset all hosts of the cluster, without --limit. To reset only these all the same: "
                "-e reset_voter=true",
            )
        return {"changed": False, "notes": list(found.notes)}
