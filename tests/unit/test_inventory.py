"""Reading an inventory as Ansible reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kubeproof import inventory

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
from kubeproof import inventory
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


def test_templates_of_many_hosts_are_rendered_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(HOSTS)
    done = subprocess.run([sys.executable, "-c", SIDE_BY_SIDE, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(["1-3", "1-2"] * 8)
    assert "WARNING" not in done.stderr
