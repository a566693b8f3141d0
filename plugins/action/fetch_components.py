"""Fetch or build, on the controller, every component that the inventory's hosts need."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.utils.display import Display

from kubeproof.components import fetch, pins, selection
from kubeproof.components.progress import Event, Phase
from kubeproof.components.source import Choice
from kubeproof.install import reasons, steps
from kubeproof.install.action import Action
from kubeproof.settings.host_report import reported

display = Display()


class ActionModule(Action):
    """A thin adapter to ``kubeproof.components.fetch``."""

    _requires_connection = False
    OF_HOSTS = False
    _VALID_ARGS = frozenset(
        (
            "source", "mirror", "registry", "versions", "state_directory", "architectures", "backup_targets",
            "network_policy_engine", "pod_network", "addons", "runtime", "pods", "manifest_sha256",
            "sha256",
        )
    )  # fmt: skip

    def act(self) -> dict[str, Any]:
        request = self._request()
        state_directory = Path(self._arguments["state_directory"])
        if self._task.check_mode:
            step = steps.planned(
                reasons.Reason("missing", "they are not all in this machine's cache, or of other versions")
            )
            incomplete = not fetch.complete(request, pins.load(), state_directory)
            return {"changed": incomplete, **({steps.PLANNED: step} if incomplete else {})}
        outcome = fetch.fetch(request, pins.load(), state_directory, progress=_Narrator())
        _show(outcome.choice, outcome.fetched)
        return {
            "changed": outcome.changed,
            "source": outcome.choice.source,
            "reason": outcome.choice.reason,
            "components": [dataclasses.asdict(item) for item in outcome.fetched],
        }

    def _request(self) -> fetch.Request:
        arguments = self._arguments
        groups = [name for name in pins.GROUPS if self._variables["groups"].get(name)]
        targets, network = arguments.get("backup_targets") or (), str(arguments.get("pod_network", ""))
        engine, addons = str(arguments.get("network_policy_engine", "none")), arguments.get("addons") or ()
        runtime = str(arguments.get("runtime", pins.CONTAINERD))
        uses = selection.uses(groups, targets, engine, network, addons, runtime)
        return fetch.Request(
            source=arguments.get("source", "auto"),
            mirror=arguments.get("mirror", ""),
            registry=arguments.get("registry", ""),
            versions=dict(arguments.get("versions") or {}),
            architectures=tuple(arguments.get("architectures") or _architectures(self._variables)),
            groups=(*groups, *uses),
            pods=tuple(str(name) for name in arguments.get("pods") or ()),
            manifest_sha256=str(arguments.get("manifest_sha256") or ""),
            sha256=dict(arguments.get("sha256") or {}),
        )


class _Narrator:
    """Says what takes long: when it begins, and every so many seconds how far it is."""

    _INTERVAL = 30.0

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, event: Event, /) -> None:
        if event.phase not in (Phase.BUILD, Phase.DOWNLOAD):
            return
        now = time.monotonic()
        if now - self._last.get(event.component, -self._INTERVAL) < self._INTERVAL:
            return
        self._last[event.component] = now
        typical = f" of about {event.typical:.0f} s with a cold cache" if event.typical else ""
        display.display(f"{event.component}: {event.phase.value}, {event.elapsed:.0f} s{typical}")


def _architectures(variables: dict[str, Any]) -> list[str]:
    """Those of the hosts, as far as they were asked; hosts that were not are given none."""
    hosts = {host for name in pins.GROUPS for host in variables["groups"].get(name, ())}
    reports = [reported(variables["hostvars"], host) for host in hosts]
    return sorted({report["arch"] for report in reports if "arch" in report}) or [pins.MACHINES[platform.machine()]]


def _show(choice: Choice, fetched: Sequence[fetch.Fetched]) -> None:
    """One line for each component: what, where from, verified how. Shown if it had to be got; else with -v."""
    display.v(f"Components from {choice.source}: {choice.reason}")
    for item in fetched:
        how = "new" if item.fresh else "cached"
        show = display.display if item.fresh else display.v
        show(f"  {item.name} {item.version} {item.arch} ({how}): {item.origin}; verified by {item.verified}")
