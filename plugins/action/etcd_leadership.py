"""Transfer etcd leadership while all API servers are paused, so that no write in flight is lost.

The sequence is ``kubeproof.install.leadership``. The leader's host runs the module of this name twice, to check and to
transfer; API servers are paused and resumed by commands, which are faster than modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.install import steps
from kubeproof.install.action import Action
from kubeproof.install.barrier import Barrier
from kubeproof.install.gates import Gate
from kubeproof.install.leadership import LeadershipTransfer, Moved
from kubeproof.install.rolling import this_run

_API_SERVER = "kube-apiserver.service"


class ActionModule(Action):
    """What ``kubeproof.install.leadership`` asks for, done over this host's connection: its ``HostOperations``."""

    _VALID_ARGS = frozenset(("leaders", "api_servers", "seconds", "url", "ca", "certificate", "key"))

    def act(self) -> dict[str, Any]:
        """Fails only if a host can't be worked on: to lead on is no reason to stop."""
        self._etcd = dict(self._arguments)
        leaders, holders = self._etcd.pop("leaders"), self._etcd.pop("api_servers")
        seconds = float(self._etcd.pop("seconds"))
        if self._task.check_mode:
            # Nothing is asked: the plan says only what precedes the restart of the leader.
            return self._planned(leaders, seconds)
        transfer = LeadershipTransfer(
            self._host,
            self,
            # The task's own number, so that two transfers of one run are two.
            Barrier(self._state_directory / "rolling", "transfer", f"{this_run()}-{self._task._uuid}"),  # noqa: SLF001
            leaders=leaders,
            holders=holders,
            seconds=seconds,
            present=self._variables["ansible_play_hosts"],
            forks=int(self._variables["ansible_forks"]),
        )
        outcome = asdict(transfer.carry_out())
        warnings = outcome.pop("warnings")
        return {**outcome, "changed": False, **({"warnings": warnings} if warnings else {})}

    def _planned(self, leaders: Sequence[str], seconds: float) -> dict[str, Any]:
        if self._host not in leaders:
            return {"changed": False}
        paused = f", while API servers are paused for at most {seconds:g} s" if seconds else ""
        gate = Gate(after=(f"another member of etcd to lead{paused}",))
        return {"changed": False, steps.PLANNED: steps.planned(gate=gate)}

    def look(self) -> str:
        """Why this host's member can't transfer leadership; empty if it can."""
        return str(self._answer({**self._etcd, "_look": True})["why"])

    def move(self) -> Moved:
        """Transfer leadership."""
        answer = self._answer(self._etcd)
        return Moved(answer["to"], answer["why"], answer["rested"])

    def processes(self) -> list[int]:
        """The API server's."""
        return [int(each) for each in self._answer({"unit": _API_SERVER}, "component_processes")["processes"]]

    def hold(self, processes: Sequence[int], seconds: float) -> float:
        """No module: the shorter the time between the first paused API server and the last, the better."""
        numbers = " ".join(map(str, processes))
        timer = f"systemd-run --quiet --collect --on-active={seconds} --timer-property=AccuracySec=10ms"
        return self._uptime_after(f"{timer} /bin/kill -CONT {numbers} && kill -STOP {numbers} &&")

    def release(self, processes: Sequence[int]) -> float:
        """Resume them before the timer does."""
        return self._uptime_after(f"kill -CONT {' '.join(map(str, processes))};")

    def _uptime_after(self, command: str) -> float:
        done = self._low_level_execute_command(f"{command} cat /proc/uptime")
        if done["rc"] != 0:
            raise KubeproofError(str(done.get("stderr") or done.get("stdout")).strip())
        return float(done["stdout"].split()[0])

    def _answer(self, arguments: dict[str, Any], name: str | None = None) -> dict[str, Any]:
        answer = self._module(arguments, name)
        if answer.get("failed"):
            raise KubeproofError(str(answer.get("msg")))
        return answer
