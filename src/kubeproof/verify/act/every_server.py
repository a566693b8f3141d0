"""What API servers hear of by watches: each of them a moment after it was written, and not all of them at once.

A load balancer sends the next connection to any of them. So what has just been created is waited for at each.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx

from kubeproof.core import waiting
from kubeproof.verify.observe.api import PASSING, Api, NotObserved
from kubeproof.verify.observe.cluster import Cluster

_NOT_FOUND = 404
_KIND_SECONDS = 20.0


def await_everywhere(cluster: Cluster, holds: Callable[[Api], bool], what: str, seconds: float) -> None:
    """Wait until something holds at each API server that answers.

    One that does not answer reads all that there is when it starts. Raises NotObserved with ``what`` and the server.
    """
    for access in cluster.each_access():
        with Api(access) as server:
            server.patience = cluster.api.patience
            limit = server.patient(seconds)
            if not waiting.until(lambda: _holds(server, holds), limit, pause=0.05):
                raise NotObserved(f"{what}, says the API server at {access.server}: not within {limit:.0f} s")


def await_kind(cluster: Cluster, collection: str) -> None:
    """Wait until each API server serves a kind that a CustomResourceDefinition brought; ``collection``: its path.

    Each server answers 404 until it has heard of the definition, whose condition Established is one server's word.
    """

    def served(server: Api) -> bool:
        answer = server.request("GET", collection, params={"limit": "1"})
        if answer.status != _NOT_FOUND and answer.status not in PASSING:
            answer.required()
            return True
        return False

    await_everywhere(cluster, served, f"{collection} is served", _KIND_SECONDS)


def _holds(server: Api, holds: Callable[[Api], bool]) -> bool:
    try:
        return holds(server)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return True
    except httpx.TransportError:
        # It is there, and may be behind: one that is frozen reads nothing again.
        return False
