"""Why a step is in a plan: a kind for programs, and words for operators.

Action plugins that know more than what is to change say so. Of everything else the words of the changes tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

KINDS = {
    "new-host": "a run has not installed anything on this host yet",
    "new": "a run has not done this on this host yet",
    "settings": "settings, inventory or versions differ from those of the last run",
    "host": "the host differs from how the last run left it",
    "certificate": "a certificate is missing, about to expire, or not as the settings want it",
    "down": "a unit does not run",
    "outdated": "a process is older than its inputs",
    "foreign": "a process that kubeproof has not started",
    "form": "a component runs in the other form",
    "object": "an API object is missing, different or not wanted",
    "missing": "it is not there yet",
    "unwanted": "the settings do not want it any more",
    "unknown": "the task does not say why",
}
"""By kind, in which case a step is of it."""

# Of component_service, by how its reasons begin (plugins/modules/component_service.py and module_utils).
_OF_SERVICES = (
    ("it was a static pod", "form"),
    ("it was a service", "form"),
    ("it was not started by kubeproof", "foreign"),
    ("it was ", "down"),
    ("there was no manifest", "down"),
    ("changed since its start", "outdated"),
    ("a file was changed after its start", "outdated"),
)
_UNREGISTERED = " is not there as it makes it at its start"
# Of install_component: whether a run has asked for the same before (module_utils/settled.py).
_OF_RECORDS = {"never": "new", "otherwise": "settings", "same": "host"}
# Of all others, by the words of their changes.
_OF_CHANGES = {
    "created": "missing",
    "missing": "missing",
    "imported": "missing",
    "installed": "missing",
    "loaded": "missing",
    "different": "host",
    "removed": "unwanted",
    "stopped": "unwanted",
}
_OBJECTS = ("kube_objects", "kube_addons", "node_taints", "local_volumes_prune")


@dataclass(frozen=True)
class Reason:
    """``kind`` is one of ``KINDS``; ``text`` says it of this very step."""

    kind: str
    text: str

    def __post_init__(self) -> None:
        """Raises ValueError for a kind that there is not."""
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of reason")

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Reason:
        """From what a task returned, as ``data`` has it."""
        return cls(str(given["kind"]), str(given["text"]))

    @classmethod
    def of(cls, kind: str) -> Reason:
        """One of which there is no more to say."""
        return cls(kind, KINDS[kind])

    def data(self) -> dict[str, str]:
        """As JSON has it."""
        return asdict(self)


def of_service(done: Sequence[str], *, new_host: bool) -> Reason:
    """Of what component_service did to a unit: its actions, each with its reason."""
    told = [text for text in (action.partition(": ")[2] for action in done) if text]
    if "removed" in done:
        return Reason.of("unwanted")
    if not told:
        return Reason("host", "it was not enabled, and would not start at boot")
    text = told[0]
    if any(action.startswith("reloaded: ") for action in done):
        return Reason("outdated", text if text.startswith("a file") else f"changed since it was read: {text}")
    kind = next((kind for begin, kind in _OF_SERVICES if text.startswith(begin)), "unknown")
    if text.endswith(_UNREGISTERED):
        kind = "object"
    return Reason.of("new-host") if kind == "down" and new_host else Reason(kind, text)


def of_installation(changes: Sequence[Mapping[str, Any]], asked_before: str, *, new_host: bool) -> Reason:
    """Of what install_component changed. ``asked_before``: never, otherwise or same, as the module returns it."""
    issued = [str(change["what"]) for change in changes if str(change["what"]).startswith("issued: ")]
    if issued and len(issued) == len(changes):
        return Reason("certificate", issued[0].partition(": ")[2])
    if new_host:
        return Reason.of("new-host")
    return Reason.of(_OF_RECORDS.get(asked_before, "unknown"))


def of_changes(action: str, changes: Sequence[str]) -> Reason:
    """Of any other task, by its module and how it describes its changes: ``path: what``."""
    if action in _OBJECTS:
        return Reason.of("object")
    words = [text.rpartition(": ")[2].partition(" ")[0].rstrip(",") for text in changes]
    kinds = {_OF_CHANGES.get(word, "unknown") for word in words}
    return Reason.of(kinds.pop() if len(kinds) == 1 else "unknown")
