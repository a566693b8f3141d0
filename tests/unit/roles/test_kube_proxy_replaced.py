"""Nodes that lose their kube-proxy: one first, and no other if Services are not served there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.ansible_program import ansible

from kubeproof.core import paths

ROLE = paths.PROJECT / "roles" / "kube-proxy"


def removals() -> list[dict[str, Any]]:
    """The tasks that stop kube-proxy, which here only record that they came to a host, and fail where they should."""
    found = yaml.safe_load((ROLE / "tasks" / "replaced.yml").read_text())
    command = "touch {{ called }}/{{ inventory_hostname }}; {{ 'false' if inventory_hostname in unserved else 'true' }}"
    tasks = [task for task in found if task.pop("kube_proxy_removal", None)]
    return [{**task, "ansible.builtin.shell": command} for task in tasks]


@pytest.mark.parametrize(
    ("unserved", "called"), [([], {"b", "c", "d"}), (["b", "c", "d"], {"b"}), (["b"], {"b"})], ids=["all", "none", "b"]
)
def test_no_other_node_loses_it_if_services_are_not_served_on_the_first(
    tmp_path: Path, unserved: list[str], called: set[str]
) -> None:
    units = {"a": [], "b": ["kube-proxy.service"], "c": ["kube-proxy.service"], "d": ["kube-proxy.service"]}
    hosts = {name: {"made": {"installed": {"active": found}}} for name, found in units.items()}
    variables: dict[str, Any] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    variables |= {"called": str(tmp_path / "called"), "unserved": unserved}
    (tmp_path / "called").mkdir()
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": variables, "hosts": hosts}}))
    role = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    names = ("__kube_proxy_unit", "__kube_proxy_first")
    fact = {"name": "Report", "ansible.builtin.set_fact": {"kubeproof_host": "{{ made }}", "cacheable": True}}
    when = "__kube_proxy_unit in ansible_facts['kubeproof_host'].installed.active"
    block = {"name": "Remove", "when": when, "block": removals()}
    play = {"hosts": "all", "gather_facts": False, "any_errors_fatal": True, "tasks": [fact, block]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{**play, "vars": {name: role[name] for name in names}}]))
    done = ansible("playbook", "--inventory", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"))
    assert {path.name for path in (tmp_path / "called").iterdir()} == called, done.stdout + done.stderr
    assert (done.returncode == 0) is (not unserved)
