"""The API servers' audit logs: who asked for what, and when."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from kubeproof.verify.observe.api import NotObserved
from kubeproof.verify.observe.hosts import Host, on_hosts

# Where kubeproof's role apiserver lets it be written.
LOG = "/var/log/kubernetes/apiserver/audit.log"

Record = dict[str, Any]


def records(hosts: Iterable[Host], text: str) -> list[Record]:
    """The records of all API servers that contain a text, in the order in which the requests came."""
    # grep's 1 says that there is none, which is an answer; 2 that the log cannot be read.
    outputs = on_hosts(hosts, lambda host: host.run("grep -hF -e %s %s || [ $? -eq 1 ]", text, LOG))
    found = [json.loads(line) for output in outputs.values() for line in output.splitlines()]
    return sorted(found, key=lambda record: str(record["requestReceivedTimestamp"]))


def await_records(
    hosts: Iterable[Host], text: str, until: Callable[[list[Record]], bool], *, what: str, timeout: float
) -> list[Record]:
    """Read the records that contain a text until they are as they should be."""
    chosen = tuple(hosts)
    deadline = time.monotonic() + timeout
    while not until(found := records(chosen, text)):
        if time.monotonic() > deadline:
            raise NotObserved(f"{what}: not in the audit log within {timeout:.0f} s, among {len(found)} records")
        time.sleep(0.2)
    return found


def brief(record: Record) -> dict[str, Any]:
    """What of a record is evidence: who did what to which object, when, and with what result."""
    reference = record.get("objectRef", {})
    resource = "/".join(part for part in (reference.get("resource"), reference.get("subresource")) if part)
    return {
        "user": record["user"]["username"],
        "verb": record["verb"],
        "resource": resource,
        "name": reference.get("name", ""),
        "status": record.get("responseStatus", {}).get("code"),
        "received": record["requestReceivedTimestamp"],
        "completed": record["stageTimestamp"],
        "audit_id": record["auditID"],
    }


def concerns(record: Record, resource: str, verb: str, name: str, subresource: str = "") -> bool:
    """Whether a record is of a completed request of this kind for this object."""
    reference = record.get("objectRef", {})
    return bool(
        record["stage"] == "ResponseComplete"
        and record["verb"] == verb
        and reference.get("resource") == resource
        and reference.get("subresource", "") == subresource
        and reference.get("name") == name
    )
