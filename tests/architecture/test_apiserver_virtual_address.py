"""The address under which clients outside find an API server that is ready, whichever hosts are up."""

from __future__ import annotations

import dataclasses
import time

import httpx
import pytest

from kubeproof.verify import disruption, redundancy
from kubeproof.verify.api import Api
from kubeproof.verify.cluster import Cluster
from kubeproof.verify.evidence import Evidence
from kubeproof.verify.hosts import Host, each

# Two failed checks and three advertisements that stay away, each of a second, and as much again for a busy machine.
_MOVED_SECONDS = 20.0
_BACK_SECONDS = 60.0
_POLL_SECONDS = 0.2


@pytest.mark.claim("api-load-balanced")
def test_the_virtual_address_is_where_an_api_server_is_ready(lab: Cluster, evidence: Evidence) -> None:
    address = str(lab.settings["cluster_virtual_address"])
    if not address:
        # The claim is whole without it: it is one more way to the same servers.
        evidence["virtual address"] = "none is configured"
        return
    redundancy.several_control_plane_hosts(lab)
    holders = _holders(lab, address)
    assert len(holders) == 1, f"{address} is held by {_names(holders)}, not by one host"
    server = f"https://{address}:{lab.api_servers[0][1]}"
    with Api(dataclasses.replace(lab.api.access, server=server)) as api:
        assert api.request("GET", "/readyz").ok, f"no API server that is ready answers at {server}"
        start = time.monotonic()
        with disruption.stopped(holders[0], "kube-apiserver"):
            _await_answer(api, server)
            moved = time.monotonic() - start
            successors = _holders(lab, address)
            assert len(successors) == 1, f"{address} is held by {_names(successors)} after it moved, not by one host"
            assert successors != holders, f"{holders[0]} holds {address}, and its API server is stopped"
    problem = redundancy.await_ready(lab, holders[0], _BACK_SECONDS)
    assert not problem, f"the API server of {holders[0]} is not ready after it was started: {problem}"
    evidence["held by"] = {"before": holders[0].name, "after its API server was stopped": successors[0].name}
    evidence["seconds without an answer"] = round(moved, 1)
    evidence.headline = f"{address} moved from {holders[0]} to {successors[0]} within {moved:.1f} s"


def _holders(lab: Cluster, address: str) -> list[Host]:
    found = each(lab.control_plane, lambda host: host.run("ip -oneline -4 address show to %s", address).strip())
    return [host for host in lab.control_plane if found[host.name]]


def _names(hosts: list[Host]) -> str:
    return ", ".join(host.name for host in hosts) or "nobody"


def _await_answer(api: Api, server: str) -> None:
    deadline = time.monotonic() + _MOVED_SECONDS
    while True:
        try:
            if api.request("GET", "/readyz").ok:
                return
            said = "is not ready"
        except httpx.HTTPError as error:
            said = f"does not answer ({type(error).__name__})"
        assert time.monotonic() < deadline, f"{server} {said} {_MOVED_SECONDS:.0f} s after its holder's server stopped"
        time.sleep(_POLL_SECONDS)
