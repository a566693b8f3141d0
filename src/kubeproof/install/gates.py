"""What a service's start and restart wait for, in words: from the declaration that the role gives component_service.

Nothing else is asked in a run, so that a plan that says it cannot promise more than the run does.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from kubeproof.install.rolling import Rolling

_RUNS = "it runs"


@dataclass(frozen=True)
class Gate:
    """``before``: what must be well before a running process is ended. ``after``: what is waited for afterwards."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Gate:
        """From what a task returned, as ``data`` has it; of anything else an empty one."""
        return cls(*(tuple(map(str, given.get(name) or ())) for name in ("before", "after")))

    def data(self) -> dict[str, list[str]]:
        """As JSON has it."""
        return {"before": list(self.before), "after": list(self.after)}


OPEN = Gate()
"""Nothing is waited for."""


def of_service(arguments: Mapping[str, Any], rolling: Rolling, *, restarts: bool, in_turns: bool) -> Gate:
    """The gate of one unit on one host.

    ``arguments``: those of the module component_service. ``restarts``: whether a running process is ended.
    ``in_turns``: whether hosts wait for each other, without which only the unit itself is waited for.
    """
    if arguments.get("state") == "absent":
        return OPEN
    after = [check(arguments.get("health") or {})]
    if not (restarts and in_turns):
        return Gate(after=tuple(after))
    # As the module has it: a static pod is not asked for it.
    if rolling.recovers and "_manifest" not in arguments:
        after.append(f"{condition(rolling.recovers)} again, if it was before")
    return Gate(others(rolling), tuple(after))


def others(rolling: Rolling) -> tuple[str, ...]:
    """What the other hosts are asked before a restart: each question once, with the number of hosts."""
    asked = Counter(check(each, anywhere=True) for each in rolling.gate)
    return tuple(f"on {number} other{'s' * (number > 1)}: {question}" for question, number in asked.items())


def check(spec: Mapping[str, Any], *, anywhere: bool = False) -> str:
    """A health check in a few words. ``anywhere``: without the host that is asked."""
    if spec.get("url"):
        return f"{_place(str(spec['url']), anywhere=anywhere)} {_said(str(spec.get('expect') or ''))}"
    if spec.get("command"):
        program, *rest = (PurePosixPath(str(word)).name for word in spec["command"])
        return f"{' '.join([program, *rest[-1:]])} succeeds"
    return _RUNS


def condition(spec: Mapping[str, Any]) -> str:
    """A condition of an API object: ``node Ready``."""
    kind = PurePosixPath(urlsplit(str(spec["url"])).path).parent.name.removesuffix("s")
    return f"{kind} {spec['condition']}"


def _place(url: str, *, anywhere: bool) -> str:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    host = "" if anywhere or _is_loopback(parts.hostname or "") else parts.netloc.removesuffix(port)
    return f"{host}{port}{path}"


def _said(expect: str) -> str:
    return f"says {expect.strip()}" if expect.strip() else "answers"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
