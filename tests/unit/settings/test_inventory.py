"""Reading an inventory as Ansible reads it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from kubeproof.cli import plan
from kubeproof.components import prefetch
from kubeproof.core.errors import KubeproofError
from kubeproof.install.playbook import Run
from kubeproof.settings import inventory, remote, resolve
from kubeproof.verify.observe.cluster import Cluster

HOSTS = """
all:
  hosts:
    one:
      text: "{{ lookup('ansible.builtin.file', inventory_dir ~ '/text') }}"
      list: "{{ [3, 1] | sort | join('-') }}"
    two: {list: "{{ [2, 1] | sort | join('-') }}"}
"""
# In a process of its own, in which nothing of Ansible is loaded yet.
SIDE_BY_SIDE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from kubeproof.settings import inventory
hosts = inventory.load(Path(sys.argv[1])).hosts.values()
with ThreadPoolExecutor(8) as pool:
    print([each["list"] for each in pool.map(lambda host: inventory.rendered(host, ["list"]), [*hosts] * 8)])
"""


def test_templates_find_plugins_by_their_full_names(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "text").write_text("what is in the file\n")
    found = inventory.load(tmp_path / "hosts.yml")
    assert inventory.rendered(found.host("one"), ["text", "list", "none"]) == {
        "text": "what is in the file",
        "list": "1-3",
    }


OTHERS = """
all:
  children:
    resolvers: {hosts: {r1: {ansible_host: 192.0.2.53}, r2: {ansible_host: "192.0.2.{{ 50 + 4 }}"}}}
    workers:
      hosts: {w1: {}}
      vars:
        dns_forwarders: "{{ groups['resolvers'] | map('extract', hostvars, 'ansible_host') | list }}"
        ansible_ssh_common_args: "-o ProxyJump={{ hostvars['r1'].ansible_host }}"
        kubelet_max_pods: "{{ hostvars['r9'].pods }}"
"""


def test_templates_reach_the_variables_of_other_hosts(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(OTHERS)
    worker = inventory.load(tmp_path / "hosts.yml").host("w1")
    assert resolve.Settings(worker)["dns_forwarders"] == ["192.0.2.53", "192.0.2.54"]
    assert remote.login(worker).arguments == ("-o", "ProxyJump=192.0.2.53")
    with pytest.raises(KubeproofError, match=r"kubelet_max_pods cannot be rendered: .*r9"):
        resolve.Settings(worker)["kubelet_max_pods"]


def test_templates_of_many_hosts_are_rendered_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(HOSTS)
    done = subprocess.run([sys.executable, "-c", SIDE_BY_SIDE, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(["1-3", "1-2"] * 8)
    assert "WARNING" not in done.stderr


def program(text: str, tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own: what Ansible has read of passwords it keeps."""
    command = [sys.executable, "-c", text, *arguments]
    given = {**os.environ, "ANSIBLE_CONFIG": str(tmp_path / "none.cfg"), **environment}
    return subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, check=False)


VAULTED = """
import sys
from pathlib import Path
from kubeproof.settings import inventory
from kubeproof.core.errors import KubeproofError
try:
    host = inventory.load(Path(sys.argv[1])).host("cp1")
    print(inventory.rendered(host, ["ansible_become_password", "token", "again"]))
except KubeproofError as error:
    print(error)
"""


@pytest.fixture
def vaulted(tmp_path: Path) -> Path:
    """An inventory with a file of secrets and a single one."""
    (tmp_path / "password").write_text("open sesame\n")
    (tmp_path / "hosts").write_text("[etcd]\ncp1\n")
    (tmp_path / "group_vars" / "all").mkdir(parents=True)
    secrets = tmp_path / "group_vars" / "all" / "vault.yml"
    secrets.write_text("ansible_become_password: of-the-file\n")
    vault = [str(Path(sys.executable).parent / "ansible-vault"), "--vault-password-file", str(tmp_path / "password")]
    subprocess.run([vault[0], "encrypt", *vault[1:], str(secrets)], capture_output=True, check=True)
    alone = subprocess.run(
        [vault[0], "encrypt_string", *vault[1:], "alone", "--name", "token"], capture_output=True, text=True, check=True
    ).stdout
    (tmp_path / "group_vars" / "all" / "open.yml").write_text(f"{alone}\nagain: 'not {{{{ token }}}}'\n")
    return tmp_path


def test_encrypted_variables_are_read_with_the_password_that_ansible_uses(vaulted: Path) -> None:
    expected = "{'ansible_become_password': 'of-the-file', 'token': 'alone', 'again': 'not alone'}"
    password = str(vaulted / "password")
    for environment in (
        {"ANSIBLE_VAULT_PASSWORD_FILE": password},
        {"ANSIBLE_VAULT_IDENTITY_LIST": f"mine@{password}"},
    ):
        done = program(VAULTED, vaulted, str(vaulted / "hosts"), **environment)
        assert done.stdout.strip() == expected, done.stderr


def test_settings_are_those_of_the_cluster_s_hosts_wherever_others_stand(tmp_path: Path) -> None:
    """A bastion is first, and has no settings of the cluster, or others."""
    (tmp_path / "hosts.yml").write_text(
        """
all:
  hosts: {bastion: {cluster_domain: elsewhere.test, component_source: mirror}}
  children:
    mine:
      vars: {cluster_domain: here.test, component_source: go}
      children:
        etcd: {hosts: {one: {ansible_host: 192.0.2.1}}}
        workers: {hosts: {two: {ansible_host: 192.0.2.2}}}
"""
    )
    found = inventory.load(tmp_path / "hosts.yml")
    assert next(iter(found.hosts)) == "bastion"
    assert found.representative.name == "one"
    assert prefetch.request_of(found).source == "go"
    assert Cluster(found, cast(Any, None), cast(Any, None)).settings["cluster_domain"] == "here.test"
    output = io.StringIO()
    ended = Run(0, tmp_path / "run.log", {"steps": []})
    for line in [*plan.rendered(ended, found, installed=False), *plan.rendered(ended, found, installed=True)]:
        Console(file=output, width=120).print(line)
    assert "bastion" not in output.getvalue()
    assert "Nothing to change on 2 hosts" in output.getvalue()


def test_without_a_password_it_is_said_how_to_give_one(vaulted: Path) -> None:
    (vaulted / "wrong").write_text("abracadabra\n")
    for environment in (
        {},
        {"ANSIBLE_VAULT_PASSWORD_FILE": str(vaulted / "wrong")},
        {"ANSIBLE_VAULT_PASSWORD_FILE": str(vaulted / "none")},
        {"ANSIBLE_VAULT_IDENTITY_LIST": "mine@prompt"},
    ):
        done = program(VAULTED, vaulted, str(vaulted / "hosts"), **environment)
        assert "ANSIBLE_VAULT_PASSWORD_FILE" in done.stdout, (environment, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr


INI = """
[control_plane:children]
masters

[masters]
cp[1:3]

[etcd:children]
masters

[workers]
w1 ansible_host=192.0.2.21

[all:vars]
cluster_name=ini
"""


def test_all_forms_of_an_inventory_are_read_together(tmp_path: Path) -> None:
    directory = tmp_path / "mine"
    (directory / "group_vars").mkdir(parents=True)
    (directory / "group_vars" / "workers.yml").write_text("kubelet_max_pods: 50\n")
    (directory / "hosts").write_text(INI)
    (directory / "more.yml").write_text("workers: {hosts: {w2: {}}}\n")
    (tmp_path / "late.py").write_text(f'#!{sys.executable}\nprint(\'{{"workers": {{"hosts": ["w3"]}}}}\')\n')
    (tmp_path / "late.py").chmod(0o755)
    (tmp_path / "last").write_text("w1 ansible_user=ubuntu\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text(f"cluster_state_directory: {tmp_path}/kept\n")
    found = inventory.load([directory, tmp_path / "late.py", tmp_path / "last"])
    assert [host.name for host in found.group("control_plane")] == ["cp1", "cp2", "cp3"]
    assert found.group("etcd") == found.group("control_plane")
    assert [host.name for host in found.group("workers")] == ["w1", "w2", "w3"]
    settings = {host.name: host.variables for host in found.group("workers")}
    assert {name: each["kubelet_max_pods"] for name, each in settings.items()} == {"w1": 50, "w2": 50, "w3": 50}
    assert settings["w1"]["ansible_user"] == "ubuntu"
    assert settings["w1"]["cluster_name"] == "ini"
    assert found.state == tmp_path / "kept"
    assert found.sources == (directory, tmp_path / "late.py", tmp_path / "last")
