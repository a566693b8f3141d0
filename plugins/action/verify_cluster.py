"""Verify the cluster from the controller, once for all hosts, as ``kubeproof verify`` does and with its options."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible import context

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action
from kubeproof.settings import inventory, remote
from kubeproof.verify.engine import run
from kubeproof.verify.engine.results import DEFAULT_PATH, junit_path, page_path

# Options of ansible-playbook, and the variables of the environment that say the same.
_TOLD = {
    "become": "ANSIBLE_BECOME",
    "become_method": "ANSIBLE_BECOME_METHOD",
    "become_password_file": remote.PASSWORD_FILE,
    "private_key_file": "ANSIBLE_PRIVATE_KEY_FILE",
    "remote_user": "ANSIBLE_REMOTE_USER",
}
_OPTIONS = ("only", "level", "kubeconfig", "connection", "test_image", "report")


class ActionModule(Action):
    """Runs the verification as a process of its own: pytest and Ansible would be in each other's way in one."""

    _requires_connection = False
    _VALID_ARGS = frozenset(("inventory", *_OPTIONS))

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError unless every claim that was looked at is proven."""
        sources = _sources(self._arguments["inventory"])
        options = run.Options.of(self._arguments)
        with (
            self._as_told() as environment,
            subprocess.Popen(
                run.command(sources, options),
                cwd=paths.PROJECT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process,
        ):
            for line in process.stdout or ():
                self._display.display(line.rstrip("\n"))
        report = Path(options.report) if options.report else inventory.find_state(sources) / DEFAULT_PATH
        verdict = json.loads(report.read_text())["verdict"] if process.returncode in {0, 1} else "not verified"
        if process.returncode != 0:
            raise KubeproofError(f"the cluster is {verdict}: see above, or {page_path(report)}")
        return {
            "changed": False,
            "msg": f"the cluster is {verdict}: {page_path(report)}",
            "report": str(report),
            "page": str(page_path(report)),
            "junit": str(junit_path(report)),
        }

    @contextmanager
    def _as_told(self) -> Iterator[dict[str, str]]:
        """What ansible-playbook's command line says of how hosts are reached, for a process that cannot read it."""
        told = {name: str(context.CLIARGS[option]) for option, name in _TOLD.items() if context.CLIARGS.get(option)}
        asked = str(self._play_context.become_pass or "") if context.CLIARGS.get("become_ask_pass") else ""
        with remote.password_file(asked) as path:
            yield told | ({remote.PASSWORD_FILE: path} if asked else {})


def _sources(given: Any) -> tuple[Path, ...]:
    """The inventory's files and directories; of hosts in a list on the command line there are none to be read again."""
    found = tuple(Path(str(each)) for each in (given if isinstance(given, (list, tuple)) else [given]))
    missing = [str(path) for path in found if not path.exists()]
    if missing or not found:
        raise KubeproofError(f"the verification reads inventories from files and directories, not {missing}")
    return found
