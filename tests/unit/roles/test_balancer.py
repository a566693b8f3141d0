"""How load balancers check API servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.roles.test_extra_config import rendered

_HOSTS = {"one": {"ansible_host": "192.0.2.1"}, "two": {"ansible_host": "192.0.2.2"}}
_READY = [
    "http-check connect default",
    "http-check send meth GET uri /readyz",
    "http-check expect error-status L7OKC status 200",
]
_LIVE = ["http-check connect default", "http-check send meth GET uri /livez", "http-check expect status 200"]


def _lines(directory: Path, hosts: list[str]) -> list[str]:
    groups = {"etcd": ["one"], "control_plane": hosts, "workers": ["two"]}
    given: dict[str, Any] = {"groups": groups, "hostvars": _HOSTS}
    text = rendered("balancer", "etc/kubernetes/balancer/haproxy.cfg", directory, **given)
    return [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize(("hosts", "steps"), [(["one"], _READY), (["one", "two"], [*_LIVE, *_READY])])
def test_one_that_is_not_live_is_down_if_there_is_another(hosts: list[str], steps: list[str], tmp_path: Path) -> None:
    """And one that is live and not ready, as it is about to stop, keeps its connections."""
    lines = _lines(tmp_path, hosts)
    assert [line for line in lines if line.startswith("http-check")] == steps
    assert [line for line in lines if line.startswith("option httpchk")] == ["option httpchk"]
    servers = [line.split() for line in lines if line.startswith("server ")]
    regular, regardless = servers[: len(hosts)], servers[len(hosts) :]
    assert all({"check", "check-ssl", "shutdown-sessions"} <= set(server) for server in regular)
    # Used if all are down, as without a quorum of etcd: they are not checked.
    assert [server[3:] for server in regardless] == [["backup"]] * len(hosts)


def test_connections_of_an_old_process_end_since_it_checks_nothing(tmp_path: Path) -> None:
    lines = _lines(tmp_path, ["one", "two"])
    assert "hard-stop-after 30s" in lines[lines.index("global") : lines.index("defaults")]
