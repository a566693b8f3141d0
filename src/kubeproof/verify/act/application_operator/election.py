"""Leader election by a Lease, as client-go does it: who has not renewed it for its duration has lost it.

Instants are this process's own, from when a change of the lease was seen, so that clocks need not agree.
https://kubernetes.io/docs/concepts/architecture/leases/
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable

from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.objects import Object

# Of a lease's duration: when it is renewed, and until when its holder acts without having renewed it.
_RENEWED, _ACTING = 1 / 6, 2 / 3


class Elector:
    """One candidate."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        seconds: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``seconds``: how long a lease lasts."""
        self._api = api
        self._identity, self._seconds, self._clock = identity, seconds, clock
        self._manifest: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
        }
        self._renewed = float("-inf")
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = clock()

    @property
    def leads(self) -> bool:
        """Whether this candidate may act."""
        return self._clock() < self._renewed + self._seconds * _ACTING

    def attempt(self) -> bool:
        """Take or renew the lease, if that is due and nobody else has it; whether this candidate may act."""
        asked = self._clock()
        if asked < self._renewed + self._seconds * _RENEWED:
            return True
        answer = self._api.request("GET", objects.path(self._manifest))
        if answer.status == 404:
            spec = self._spec(0)
            taken = self._api.request("POST", objects.collection(self._manifest), {**self._manifest, "spec": spec})
        else:
            lease: Object = answer.required()
            if not self._free(lease["spec"]):
                return self.leads
            before = lease["spec"]
            mine = before.get("holderIdentity") == self._identity
            spec = self._spec(before.get("leaseTransitions", 0) + (not mine))
            taken = self._api.request("PUT", objects.path(self._manifest), {**self._manifest, **lease, "spec": spec})
        if taken.ok:
            self._renewed = asked
        elif taken.status != 409:
            taken.required()
        return self.leads

    def _free(self, spec: Object) -> bool:
        """Whether nobody else has the lease, or has not renewed it for as long as it lasts."""
        holder, renewed = str(spec.get("holderIdentity") or ""), str(spec.get("renewTime"))
        if (holder, renewed) != self._seen:
            self._seen, self._seen_at = (holder, renewed), self._clock()
        lasts = int(spec.get("leaseDurationSeconds") or self._seconds)
        return holder in {"", self._identity} or self._clock() > self._seen_at + lasts

    def _spec(self, transitions: int) -> Object:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._seconds,
            "leaseTransitions": transitions,
            "renewTime": now,
        }
