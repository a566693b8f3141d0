"""The network policy engine's unit and scripts, as far as others rely on what they say."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.unit.roles.test_extra_config import rendered

from kubeproof.settings import specs

_ROLE = "network_policy"
_UNIT = "etc/systemd/system/kube-network-policy.service"
_READY = "etc/kubernetes/network-policy/ready.py"
_ISOLATE = "etc/kubernetes/network-policy/isolate.sh"


def unit(directory: Path, **given: object) -> str:
    return rendered(_ROLE, _UNIT, directory, inventory_hostname="one", **given).replace("\\\n", "")


def flags(directory: Path, **given: object) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+)=(\S+)", unit(directory, **given)))


def test_nothing_of_the_engine_but_policies_runs_and_nothing_is_open_to_others(tmp_path: Path) -> None:
    given = flags(tmp_path)
    runs = {name: value for name, value in given.items() if name.startswith("run-")}
    assert runs == {
        "run-firewall": "true", "run-router": "false", "run-service-proxy": "false", "run-loadbalancer": "false"
    }  # fmt: skip
    assert (given["health-addr"], given["health-port"], given["metrics-port"]) == ("127.0.0.1", "20244", "0")
    assert given["hostname-override"] == "one"
    assert given["service-cluster-ip-range"] == "10.96.0.0/16"


def test_node_ports_are_those_of_the_api_server(tmp_path: Path) -> None:
    assert flags(tmp_path)["service-node-port-range"] == "30000-32767"
    other = {"service-node-port-range": "20000-22767"}
    assert flags(tmp_path, apiserver_extra_args=other)["service-node-port-range"] == "20000-22767"


def test_it_has_no_other_capabilities_than_those_of_the_network(tmp_path: Path) -> None:
    lines = unit(tmp_path).splitlines()
    assert "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW" in lines
    assert "ProtectSystem=strict" in lines
    assert "NoNewPrivileges=true" in lines


@pytest.mark.parametrize(("new_pods", "deny", "prepares"), [("open", "false", False), ("isolated", "true", True)])
def test_new_pods_are_isolated_where_that_is_asked_for(
    new_pods: str, deny: str, prepares: bool, tmp_path: Path
) -> None:
    assert flags(tmp_path, network_policy_new_pods=new_pods)["netpol-default-deny"] == deny
    assert ("ExecStartPre=" in unit(tmp_path, network_policy_new_pods=new_pods)) == prepares


def test_the_scripts_are_programs(tmp_path: Path) -> None:
    ast.parse(rendered(_ROLE, _READY, tmp_path), feature_version=(3, 8))
    script = rendered(_ROLE, _ISOLATE, tmp_path)
    assert "-s 10.244.0.0/16 -m set ! --match-set kube-router-local-pods src -j REJECT" in script
    subprocess.run(["sh", "-n"], input=script.encode(), check=True)


def test_an_engine_that_has_lost_its_rules_is_restarted() -> None:
    """It does not miss them, and is not ready without."""
    tasks = yaml.safe_load((specs.ROLES / "network_policy" / "tasks" / "kube-router.yml").read_text())
    [given] = [task["component_service"] for task in tasks if "component_service" in task]
    assert given["registers"]["command"] == given["health"]["command"]
