"""Start a component, or restart it if its inputs changed: with several hosts, as a rolling restart.

All hosts are checked, and stopped units started, in parallel; only running ones that need a restart wait for each
other. When one does not become healthy, those after it are left running as they are. A host that comes alone is asked
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.core.patience import factor
from kubeproof.install import gates, reasons, static_pods, steps
from kubeproof.install.action import Action
from kubeproof.install.look import digest
from kubeproof.install.pending import concerning
from kubeproof.install.rolling import Rolling, Turns, this_run
from kubeproof.settings.host_report import reported

# In a turn at most: waiting for the gate, for the health, and for what it recovers; and Ansible's own time for each.
_WAITS_OF_A_TURN = 3
_OVERHEAD_SECONDS = 300
# As module_utils/component_unit.py has it.
_UNITS = "/etc/systemd/system/"


class ActionModule(Action):
    """Check all hosts at once, restart them one after the other."""

    _VALID_ARGS = frozenset(
        ("unit", "inputs", "reload_inputs", "health", "registers", "timeout", "state", "form", "pod", "rolling")
    )

    def act(self) -> dict[str, Any]:
        timeout = int(self._arguments.get("timeout", 60))
        arguments = _patient(_in_form(dict(self._arguments), self._variables), self._variables)
        rolling = Rolling.parse(arguments.pop("rolling", {"hosts": ()}))
        in_turns = rolling.needed and self._value("{{ cluster_rolling | bool }}")
        pending = self._pending.paths() if self._task.check_mode else {}
        wanted = digest({name: arguments.get(name) for name in ("inputs", "reload_inputs", "health", "registers")})
        # A static pod is asked each time: there, the kubelet is part of the answer.
        if arguments.get("state") != "absent" and "_manifest" not in arguments and not pending:
            arguments["_digest"] = wanted
            if self._look.unit(str(arguments["unit"]), wanted):
                if not self._task.check_mode:
                    self._turns(arguments).well(self._host)
                return {"changed": False, "done": [], "unit": arguments["unit"], "restart_needed": ""}
        if self._task.check_mode:
            return self._planned(arguments, rolling, pending, in_turns=in_turns)
        turns = self._turns(arguments)
        limit = timeout * self._patience(rolling.hosts)
        # Nobody is kept waiting: it need not be asked first whether it takes a turn.
        if in_turns and not rolling.waits and arguments.get("state") != "absent" and turns.is_alone(self._host):
            answer = self._in_turn(turns, arguments, rolling, limit)
        else:
            answer = self._in_time(turns, arguments, rolling, limit, in_turns=in_turns)
        if not answer.get("failed") and not answer.get("unreachable"):
            turns.well(self._host)
        return answer

    def _in_time(
        self, turns: Turns, arguments: dict[str, Any], rolling: Rolling, timeout: float, *, in_turns: bool
    ) -> dict[str, Any]:
        """Have done what needs no turn, and the rest in one."""
        # What did not run may not start with what the others would be restarted for.
        with self._halting(turns if in_turns else None) as outcome:
            answer = self._converge(arguments, _restart=not in_turns, _waits=rolling.waits)
            outcome.update(answer)
        if answer.get("restart_needed") and not answer.get("failed") and not answer.get("waits"):
            answer |= self._in_turn(turns, arguments, rolling, timeout)
        return answer

    def _planned(
        self, arguments: dict[str, Any], rolling: Rolling, pending: dict[str, str | None], *, in_turns: bool
    ) -> dict[str, Any]:
        """What a run would do: one question to the host, also where a run would have it wait for others."""
        unit, purpose = str(arguments["unit"]), _purpose(arguments, pending)
        if self._pending.announced(unit, purpose):
            return {"changed": False, "done": [], "unit": unit, "restart_needed": ""}
        answer = self._converge(arguments, _restart=not in_turns, _waits=rolling.waits, _pending=pending)
        if answer.get("changed"):
            self._pending.announce(unit, purpose)
            answer[steps.PLANNED] = self._step(arguments, rolling, answer, in_turns=in_turns)
        return answer

    def _step(
        self, arguments: Mapping[str, Any], rolling: Rolling, answer: Mapping[str, Any], *, in_turns: bool
    ) -> dict[str, Any]:
        """What a plan says of it."""
        restarts = bool(answer.get("interrupts"))
        return steps.planned(
            reasons.of_service(answer["done"], new_host=self._is_new),
            restarts=[str(arguments["unit"])] if restarts else (),
            gate=gates.of_service(arguments, rolling, restarts=restarts, in_turns=in_turns),
            at_once=rolling.at_once if restarts and in_turns else 0,
        )

    def _patience(self, hosts: Iterable[str]) -> float:
        """What the slowest of the hosts multiplies limits of time by."""
        reports = [reported(self._variables.get("hostvars", {}), host) for host in hosts]
        return max((factor(report["work_seconds"]) for report in reports if "work_seconds" in report), default=1.0)

    def _turns(self, arguments: Mapping[str, Any]) -> Turns:
        """Those of this unit, with the hosts that come to this task together with this one."""
        together = [str(host) for host in self._variables.get("ansible_play_batch", ())]
        forks = int(self._variables.get("ansible_forks", 0))
        return Turns(self._state_directory / "rolling", str(arguments["unit"]), this_run(), together, forks)

    def _in_turn(self, turns: Turns, arguments: dict[str, Any], rolling: Rolling, timeout: float) -> dict[str, Any]:
        """``timeout``: that of the slowest of the hosts."""
        limit = _WAITS_OF_A_TURN * timeout + _OVERHEAD_SECONDS
        with turns.turn(self._host, rolling.at_once, limit) as turn, self._halting(turns) as outcome:
            answer = self._converge(arguments, _gate=list(rolling.gate), _recovers=rolling.recovers)
            outcome.update(answer)
            # What had nothing to restart is no example for the others.
            turn.restarted = bool(answer.get("interrupts"))
        return answer

    @contextmanager
    def _halting(self, turns: Turns | None) -> Iterator[dict[str, Any]]:
        """Have nobody else go where what is done here fails, or is said to have failed by the yielded outcome."""
        outcome: dict[str, Any] = {}
        try:
            yield outcome
        except BaseException as error:
            # A setting may have cut the host off: it must not do the same to the others.
            if turns:
                turns.halt(self._host, str(error))
            raise
        if turns and (outcome.get("failed") or outcome.get("unreachable")):
            turns.halt(self._host, str(outcome.get("msg", "")))

    def _converge(self, arguments: dict[str, Any], **internal: Any) -> dict[str, Any]:
        return self._module({**arguments, **internal, "_run": self._active_run()})


def _purpose(arguments: Mapping[str, Any], pending: Mapping[str, str | None]) -> str:
    """What tells, in check mode, whether two tasks would do the same to a unit.

    With static pods two plays install a control-plane host's container runtime and kubelet.
    """
    unit = f"{_UNITS}{arguments['unit']}"
    inputs = [unit, f"{unit}.d", *(arguments.get("inputs") or ()), *(arguments.get("reload_inputs") or ())]
    asked = {name: value for name, value in arguments.items() if name != "_digest"}
    return digest({"asked": asked, "pending": concerning(map(str, inputs), pending)})


def _patient(arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """With the time that the host needs."""
    report = variables.get("ansible_facts", {}).get("kubeproof_host", {})
    if "timeout" not in arguments or "work_seconds" not in report:
        return arguments
    return {**arguments, "timeout": round(int(arguments["timeout"]) * factor(report["work_seconds"]))}


def _in_form(arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """The module's arguments: with the manifest of a static pod if the component is to be one, and else without."""
    form, pod = arguments.pop("form", "services"), arguments.pop("pod", None)
    if form not in static_pods.FORMS:
        raise KubeproofError(f"form is one of {', '.join(static_pods.FORMS)}, not {form!r}")
    if form == "services" or arguments.get("state") == "absent":
        return arguments
    program = static_pods.Program.parse(pod or {})
    url, timeout = arguments["health"]["url"], int(arguments["timeout"])
    components = variables["ansible_facts"]["kubeproof_components"]
    return {**arguments, "_manifest": static_pods.manifest(arguments["unit"], program, url, timeout, components)}
