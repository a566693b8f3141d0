"""etcd, asked directly on its hosts, past the API server."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.core import waiting
from kubeproof.verify.observe.api import NotObserved
from kubeproof.verify.observe.hosts import IN_PATH, Host, packed

# Where kubeproof's role etcd puts them on its hosts.
PKI = "/etc/etcd/pki"
_IDENTITY = f"--cacert {PKI}/ca.crt --cert {PKI}/operator.crt --key {PKI}/operator.key"
# Not by a proxy that the host's environment names: it has no way to members.
_DIRECTLY = "env --unset=https_proxy --unset=HTTPS_PROXY"
_ETCDCTL = f"{_DIRECTLY} etcdctl {_IDENTITY} --dial-timeout 3s --command-timeout 5s --write-out json"
_WATCH_SECONDS = 10.0
# A watch whose verification was killed is ended by the host itself.
_WATCH_LIMIT_SECONDS = 120


@dataclass(frozen=True)
class KeyValue:
    """A key as etcd stores it."""

    key: str
    value: bytes
    created: int
    modified: int
    version: int


@dataclass(frozen=True)
class Member:
    """A member as the others know it."""

    id: int
    name: str
    client_urls: tuple[str, ...]
    peer_urls: tuple[str, ...]
    learner: bool


@dataclass(frozen=True)
class Change:
    """A change as etcd notified its watches of it, and when, by the clock of its host."""

    key: str
    revision: int
    deleted: bool
    at: float


class Etcd:
    """An etcd cluster, asked on one of its hosts with the operator's certificate, which stays there."""

    def __init__(self, host: Host, port: int) -> None:
        """Ask the member on this host."""
        self.host = host
        self._endpoint = f"https://127.0.0.1:{port}"

    def get(self, key: str) -> KeyValue | None:
        """A key, if it is there."""
        found = self._ask(f"get {key}").get("kvs", [])
        return _key_value(found[0]) if found else None

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with a prefix."""
        return [_text(entry["key"]) for entry in self._ask(f"get {prefix} --prefix --keys-only").get("kvs", [])]

    def revision(self) -> int:
        """The revision of the last change in the whole store."""
        return int(self._ask("get / --keys-only")["header"]["revision"])

    def members(self) -> list[Member]:
        """All members."""
        return [
            Member(
                id=entry["ID"],
                name=entry.get("name", ""),
                client_urls=tuple(entry.get("clientURLs", [])),
                peer_urls=tuple(entry.get("peerURLs", [])),
                learner=entry.get("isLearner", False),
            )
            for entry in self._ask("member list")["members"]
        ]

    def statuses(self, endpoints: list[str]) -> dict[str, dict[str, Any]]:
        """What each endpoint says of itself."""
        answers = self._ask("endpoint status", endpoints)
        return {answer["Endpoint"]: answer["Status"] for answer in answers}

    def hashes(self, endpoints: list[str], revision: int) -> dict[str, int]:
        """The hash of each endpoint's data up to a revision."""
        answers = self._ask(f"endpoint hashkv --rev {revision}", endpoints)
        return {answer["Endpoint"]: answer["HashKV"]["hash"] for answer in answers}

    @contextmanager
    def watching(self, prefix: str) -> Iterator[Callable[[], list[Change]]]:
        """Watch the keys that begin with a prefix, from etcd's host; the function returns the changes so far."""
        unit = f"kubeproof-verify-watch-{secrets.token_hex(4)}"
        program = packed(Path(__file__).parent / "etcd_watch.py")

        def told() -> list[dict[str, Any]]:
            output = self.host.run("journalctl --sync; journalctl --quiet --output=cat --unit=%s", unit)
            return [json.loads(line) for line in output.splitlines() if line.startswith("{")]

        # A unit of its own, since a connection can't be relied on to end what was started over it.
        self.host.run(
            f"systemd-run --quiet --collect --unit={unit} --property=RuntimeMaxSec={_WATCH_LIMIT_SECONDS}"
            f" {IN_PATH} python3 -c %s %s etcdctl {_IDENTITY} --endpoints {self._endpoint}",
            program,
            prefix,
        )
        try:
            if not waiting.until(told, _WATCH_SECONDS, pause=0.1):
                raise NotObserved(f"etcd on {self.host} confirms no watch within {_WATCH_SECONDS:.0f} s")
            yield lambda: [Change(**line) for line in told() if "revision" in line]
        finally:
            self.host.attempt("systemctl stop %s", unit)

    def leads(self) -> bool:
        """Whether this member is the leader."""
        status = next(iter(self.statuses([self._endpoint]).values()))
        return bool(status["leader"] == status["header"]["member_id"])

    def delete(self, key: str) -> None:
        """Delete a key of our own, which need not be there."""
        self.host.run(f"{_ETCDCTL} --endpoints {self._endpoint} del %s", key)

    def try_to_write(self, key: str, value: str) -> dict[str, Any]:
        """Try to write a key, which may well be refused: whether it was, what was said, and after how long."""
        start = time.monotonic()
        status, _, said = self.host.attempt(f"{_ETCDCTL} --endpoints {self._endpoint} put %s %s", key, value)
        words = said.strip().splitlines()
        seconds = round(time.monotonic() - start, 1)
        return {"refused": status != 0, "said": words[-1][:200] if words else "", "seconds": seconds}

    def _ask(self, command: str, endpoints: list[str] | None = None) -> Any:
        return json.loads(self.host.run(f"{_ETCDCTL} --endpoints {','.join(endpoints or [self._endpoint])} {command}"))


def _key_value(entry: dict[str, Any]) -> KeyValue:
    return KeyValue(
        key=_text(entry["key"]),
        value=base64.b64decode(entry.get("value", "")),
        created=entry["create_revision"],
        modified=entry["mod_revision"],
        version=entry["version"],
    )


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()
