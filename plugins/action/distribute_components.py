"""Send to a host the fetched components that it needs.

One round trip asks what the host has, and puts in place what lies there already if nothing else is missing. Otherwise
missing files are sent, and another round trip puts everything in place. Files go through the standard input of a
command rather than through SFTP: they arrive unpacked, as root's, on the file system that they are for, where SFTP
would leave them to be copied out of the home of whoever logs in.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubeproof.components import cache as caching
from kubeproof.components import distribution, pins, selection, transfer
from kubeproof.components.lock import Lock
from kubeproof.core.errors import KubeproofError
from kubeproof.install import reasons, steps
from kubeproof.install.action import Action

_BLOCK = 1 << 20
# Where the host keeps the versions, too: as plugins/modules/distribute_components.py has it.
_RECORD = "/var/lib/kubeproof/components.json"
# What a command is given at once, in bytes: Ansible keeps it in memory, for as many hosts as it has forks.
_SLICE = 32 * _BLOCK
# What is written to the disk at once where a cluster runs. What is synced meanwhile, as by etcd every entry of its log,
# may wait for all that is to be written before: a file of 100 MiB on a slow disk for longer than an election timeout.
_STEP = 4 * _BLOCK


class ActionModule(Action):
    """Ask the host, send what it lacks, have it installed."""

    _VALID_ARGS = frozenset(
        (
            "state_directory", "directories", "programs", "stage", "groups",
            "versions", "backup_targets", "network_policy_engine", "pod_network", "addons", "runtime",
            "pods",
        )
    )  # fmt: skip

    def act(self) -> dict[str, Any]:
        wanted, part = self._plan(), list(self._arguments.get("programs") or ())
        request = _request(wanted, part, stage=bool(self._arguments.get("stage", False)))
        whole = request["versions"] is not None
        facts = wanted.facts_of(part)
        settle = self._settle(request, {"files": [_RECORD, *(file["path"] for file in request["files"])]})
        if whole and not wanted.expected and self._look.task(settle["digest"]) is not None:
            return {"changed": False, "changes": [], "ansible_facts": {"kubeproof_components": facts}}
        answer = self._compared(request, settle)
        if answer.get("staging") and not self._task.check_mode:
            self._send(answer)
            answer = self._compared(request, settle, answer["staging"])
        if answer.get("failed"):
            return answer
        changes = [{"path": change["path"], "what": change["what"]} for change in answer["changes"]]
        changes += [{"path": path, "what": f"{name}, once fetched"} for path, name in wanted.expected.items()]
        step = {}
        if self._task.check_mode:
            self._pending.add(changes)
            reason = reasons.of_installation(changes, str(answer.get("asked_before")), new_host=self._is_new)
            step = {steps.PLANNED: steps.planned(reason)} if changes else {}
        return {
            **step,
            "changed": bool(changes),
            "changes": changes,
            "diff": [_diff(change) for change in answer["changes"]],
            "ansible_facts": {"kubeproof_components": facts},
        }

    def _plan(self) -> distribution.Distribution:
        arguments = self._arguments
        pinned = pins.load().with_versions(arguments.get("versions") or {})
        report = self._variables["ansible_facts"].get("kubeproof_host", {})
        if "arch" not in report:
            raise KubeproofError(
                "the host's architecture is not known", hint="the role preflight finds it out: run it first"
            )
        lock = Lock(Path(arguments["state_directory"]))
        groups = [*self._variables["group_names"], *(arguments.get("groups") or ())]
        targets, network = arguments.get("backup_targets") or (), str(arguments.get("pod_network", ""))
        engine, addons = str(arguments.get("network_policy_engine", "none")), arguments.get("addons") or ()
        runtime = str(arguments.get("runtime", pins.CONTAINERD))
        groups += selection.uses(groups, targets, engine, network, addons, runtime)
        pods = arguments.get("pods") or ()
        return distribution.plan(
            pinned, lock, groups, report["arch"], arguments["directories"], pods,
            may_lack=self._task.check_mode,
        )  # fmt: skip

    def _send(self, answer: dict[str, Any]) -> None:
        missing = {change["sha256"] for change in answer["changes"] if not change["sent"]}
        with caching.Cache() as cache:
            for digest in sorted(missing):
                blob = distribution.blob(digest, cache)
                packed = transfer.compressed(blob, cache) if answer["zstd"] else None
                target = shlex.quote(f"{answer['staging']}/{digest}")
                if packed:
                    self._command(self._unpacking(target), packed.read_bytes())
                else:
                    self._send_as_it_is(blob.path, target)

    def _unpacking(self, target: str) -> str:
        """The command that writes to a file what it is given compressed. Its digest says whether all has arrived."""
        if self._is_new:
            return f"zstd --decompress --quiet --force --no-sparse -o {target}"
        return f"zstd --decompress --quiet --stdout | {self._writing(target)}"

    def _writing(self, target: str) -> str:
        return f"dd of={target} bs={_STEP} iflag=fullblock{'' if self._is_new else ' oflag=dsync'} status=none"

    def _send_as_it_is(self, source: Path, target: str) -> None:
        with source.open("rb") as stream:
            while data := stream.read(_SLICE):
                # At its place rather than appended: a connection plugin may send a slice again after it was cut off.
                seek = (stream.tell() - len(data)) // _STEP
                self._command(f"{self._writing(target)} seek={seek} conv=notrunc", data)

    def _compared(self, request: dict[str, Any], settle: dict[str, Any], staging: str | None = None) -> dict[str, Any]:
        """What is to be done on the host, or with what was sent to ``staging`` was done."""
        arguments = {
            "_files": request["files"],
            "_versions": request["versions"],
            "_staging": staging,
            "_stage": request["stage"],
        }
        return self._module({**arguments, "_settle": settle, "_run": self._active_run()})


def _request(wanted: distribution.Distribution, programs: Sequence[str], *, stage: bool) -> dict[str, Any]:
    """What the host is asked for. It records versions of components only where it gets all of their files."""
    whole = not (programs or stage)
    return {
        "files": [file.wanted() for file in wanted.of(programs)],
        "versions": dict(wanted.facts["versions"]) if whole else None,
        "stage": stage,
    }


def _diff(change: dict[str, str]) -> dict[str, str]:
    path, after = change["path"], f"sha256 {change['sha256']}\n"
    return {"before_header": path, "after_header": path, "before": f"{change['what']}\n", "after": after}
