"""Settings of roles that a play does not have, as its templates see them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from kubeproof.core import paths

PLAY = """
- hosts: all
  gather_facts: false
  vars: {kubelet_max_pods: 50}
  tasks:
    - ansible.builtin.debug:
        msg:
          default: "{{ lookup('setting', 'containerd_root_directory') }}"
          follows: "{{ lookup('setting', 'cluster_dns_address') }}"
          list: "{{ lookup('setting', 'backup_targets') }}"
          play: "{{ lookup('setting', 'kubelet_max_pods') }}"
          several: "{{ query('setting', 'cluster_api_port', 'kubelet_port') }}"
          chosen: "{{ lookup('setting', 'kube_proxy_form') == 'daemonset' }}"
    - ansible.builtin.debug: {msg: "{{ lookup('setting', 'kublet_max_pods') }}"}
"""


def test_defaults_are_known_everywhere_and_the_inventory_counts(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "hosts.yml").write_text(
        "all: {vars: {cluster_service_network: 10.32.0.0/16, kube_proxy_form: daemonset},"
        " hosts: {localhost: {ansible_connection: local}}}\n"
    )
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(paths.PROJECT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    }
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--inventory", tmp_path / "hosts.yml", tmp_path / "play.yml"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    first, last = done.stdout.split("TASK [")[1:3]
    assert json.loads(first[first.index("{") : first.rindex("}") + 1])["msg"] == {
        "default": "/var/lib/containerd",
        "follows": "10.32.0.10",
        "list": [],
        "play": 50,
        "several": [6443, 10250],
        "chosen": True,
    }
    assert "setting: kublet_max_pods is no setting of any role" in last
