"""Rehearse an upgrade on a host: send the program and start it, display its steps, and read its result."""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import shutil
import time
from typing import Any

from kubeproof.components.lock import Lock
from kubeproof.core import zipped
from kubeproof.core.errors import KubeproofError
from kubeproof.install import slices
from kubeproof.install.action import Action, plain
from kubeproof.settings import state
from kubeproof.upgrade import rehearsal

_PACKAGE = "kubeproof.backup.agent"
# As the module and the package have them.
_OTHER_USER = "kube-apiserver"
_SNAPSHOT = "snapshot.db"
# By component, the program of the target that is rehearsed.
_PROGRAMS = {"kubernetes": "kube-apiserver", "etcd": "etcd"}
# What starting and ending takes besides the timeout itself, in seconds.
_SLACK = 120.0


class ActionModule(Action):
    """Runs the module of this name several times, so that it can be seen how far the rehearsal is."""

    _supports_check_mode = False
    _VALID_ARGS = frozenset(
        (
            "versions", "forward", "bin_directory", "backup_directory", "backup", "arguments", "encryption", "timeout",
            "memory",
        )
    )  # fmt: skip

    def act(self) -> dict[str, Any]:
        self._given = plain(self._arguments) | {"_name": secrets.token_hex(8)}
        try:
            result = self._rehearse()
        finally:
            # With what a run that was killed has left there.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._state_directory / state.REHEARSAL)
        self._write(result)
        problems = rehearsal.problems(result)
        if problems:
            raise KubeproofError(problems)
        self._display.display(f"rehearsal: {rehearsal.summary(result)}")
        return {"changed": False, "rehearsal": {name: result[name] for name in ("objects", "kinds", "seconds")}}

    def _rehearse(self) -> dict[str, Any]:
        programs, present = self._digests(), self._present()
        backup = self._state_directory / state.REHEARSAL / str(self._given.get("backup", ""))
        brought: dict[str, Any] = {}
        if self._given.get("backup"):
            brought = {"_etcd": self._etcd(), "_bytes": (backup / _SNAPSHOT).stat().st_size}
        try:
            prepared = self._step("prepare", _programs=programs, _present=present, **brought)
            self._send(prepared["program"])
            if brought:
                for file in sorted(backup.iterdir()):
                    slices.push(self._command, file, f"{prepared['backup']}/{file.name}", _OTHER_USER)
            self._step("start")
            return self._followed()
        finally:
            self._step("remove")

    def _step(self, name: str, **more: Any) -> dict[str, Any]:
        answer = self._module({**self._given, "_step": name, **more})
        if answer.get("failed"):
            raise KubeproofError(f"the upgrade could not be rehearsed: {answer.get('msg', '')}")
        return answer

    def _digests(self) -> dict[str, str]:
        """SHA-256 of the target's programs, by name."""
        lock, architecture = Lock(self._state_directory), str(self._report.get("arch", ""))
        found = {}
        for component, version in self._given["versions"].items():
            entry = lock.component(architecture, component, str(version)) if component in _PROGRAMS else None
            if entry is not None:
                name = _PROGRAMS[component]
                found[name] = str(entry["binaries"][name]["sha256"])
            elif component in _PROGRAMS:
                raise KubeproofError(f"{component} {version} was not fetched: run the upgrade again")
        return found

    def _etcd(self) -> dict[str, str]:
        """SHA-256 of what reads the backup where there is no etcd, by name."""
        version, architecture = str(self._given["versions"]["etcd"]), str(self._report.get("arch", ""))
        entry = Lock(self._state_directory).component(architecture, "etcd", version)
        if entry is None:
            raise KubeproofError(f"etcd {version} was not fetched for {architecture}: run the upgrade again")
        return {name: str(entry["binaries"][name]["sha256"]) for name in ("etcd", "etcdutl")}

    def _present(self) -> str:
        """The version of the API server that the host has."""
        running = {each["program"]: each["version"] for each in self._report["installed"]["running"]}
        return str(running.get("kube-apiserver", "of the cluster"))

    def _send(self, path: str) -> None:
        self._command(f"dd status=none of={shlex.quote(path)}", zipped.program(_PACKAGE, python=self._python))
        self._command(f"chmod 0755 {shlex.quote(path)} && echo done")

    def _followed(self) -> dict[str, Any]:
        """The result, once there is one."""
        deadline = time.monotonic() + float(self._given.get("timeout", 1800)) + _SLACK
        seen = 0
        while True:
            answer = self._step("follow")
            steps, result, error = rehearsal.said(answer["lines"])
            for step in steps[seen:]:
                self._display.display(f"rehearsal: {step}")
            seen = len(steps)
            if result is not None and answer["ended"]:
                return result
            if answer["ended"] or time.monotonic() > deadline:
                last = f" (last step: {steps[-1]})" if steps else ""
                if error:
                    raise KubeproofError(f"the rehearsal failed{last}: {error}")
                said = " ".join(answer["lines"][-1:]) or "it said nothing"
                raise KubeproofError(
                    f"the rehearsal did not end{last}: {said}",
                    hint="if it was killed: raise upgrade_rehearsal_timeout or upgrade_rehearsal_memory; the journal "
                    "of kubeproof-rehearsal.service has the reason. To do without: upgrade_rehearsal: false",
                )

    def _write(self, result: dict[str, Any]) -> None:
        report = self._state_directory / "reports" / "upgrade-rehearsal.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
