"""A lock in etcd itself: one member of the cluster at a time, whichever host is at work."""

from __future__ import annotations

import base64
from typing import Any, Mapping

from kubeproof.install.etcd_defragment.errors import EtcdError
from kubeproof.install.etcd_defragment.gateway import Answer, Etcd

KEY = "/kubeproof/defragment/lock"


class Lock:
    """A key with a lease that nobody keeps alive: the member that has to answer for it is the one that stalls.

    So the lease lasts as long as the work may, and the lock outlives a program that was killed: etcd continues what it
    was asked to do.
    """

    def __init__(self, etcd: Etcd, url: str, holder: str, seconds: float) -> None:
        """``holder`` is for those who find it taken; ``seconds`` until it is free again whatever happens."""
        self._etcd = etcd
        self._url = url
        self._holder = holder
        self._seconds = seconds
        self._lease = ""

    def take(self) -> str:
        """Take it; empty if that was possible, or else who has it. Raises EtcdError."""
        self._lease = str(self._etcd.ask(self._url, "/v3/lease/grant", {"TTL": str(int(self._seconds))})["ID"])
        try:
            answer = self._put()
        except EtcdError:
            self.release()
            raise
        if answer.get("succeeded"):
            return ""
        self.release()
        return "%s has the lock %s" % (_holder(answer), KEY)

    def _put(self) -> Answer:
        key = _encoded(KEY)
        put = {"key": key, "value": _encoded(self._holder), "lease": self._lease}
        transaction = {
            "compare": [{"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
            "success": [{"request_put": put}],
            "failure": [{"request_range": {"key": key}}],
        }
        return self._etcd.ask(self._url, "/v3/kv/txn", transaction)

    def keep(self) -> None:
        """Leave it until its time is over: etcd continues, though nobody waits for it."""
        self._lease = ""

    def release(self) -> str:
        """Give it up, if it is held; says what was in the way, which then ends with its time."""
        lease, self._lease = self._lease, ""
        if not lease:
            return ""
        try:
            self._etcd.ask(self._url, "/v3/lease/revoke", {"ID": lease})
        except EtcdError as error:
            return "the lock %s stays for at most %.0f s: %s" % (KEY, self._seconds, error)
        return ""


def _holder(answer: Mapping[str, Any]) -> str:
    try:
        value = answer["responses"][0]["response_range"]["kvs"][0]["value"]
        return base64.b64decode(value).decode(errors="replace")
    except (LookupError, ValueError, TypeError):
        return "another host"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
