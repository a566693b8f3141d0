"""What processes of tasks find loaded, since the one that they are forked from has loaded it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# In a process of its own: in this one other tests have loaded plugins.
PROGRAM = """
from ansible.plugins import loader
import kubeproof.install.action
from kubeproof.settings import resolve, specs

print("node_role_objects" in loader.filter_loader._cached_non_collection_wrappers)
print("version" in loader.test_loader._cached_non_collection_wrappers)
print(any(path.endswith("/ssh.py") for path in loader.connection_loader._module_cache))
print(any(path.endswith("plugins/lookup/setting.py") for path in loader.lookup_loader._module_cache))
print(specs.load.cache_info().currsize == resolve.defaults.cache_info().currsize == 1)
"""


def test_an_action_plugin_brings_the_plugins_and_settings_that_tasks_use() -> None:
    settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=settings, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["True"] * 5
