"""Ansible's own programs, with the project's configuration and the warnings that they give."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from kubeproof.core import paths

# What Ansible says of its own accord, as a warning or of what will be gone in a later version.
_COMPLAINT = re.compile(r"\[(DEPRECATION )?WARNING\].*")


def ansible(program: str, *arguments: str, answers: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs with the project's configuration. ``answers``: what it reads if it asks."""
    settings = {"ANSIBLE_CONFIG": str(paths.PROJECT / "ansible.cfg"), "NO_COLOR": "1", "COLUMNS": "300"}
    # Python's own warnings are errors; not where Ansible's code gives them, which lists its filters for ansible-doc.
    strict = [] if program == "doc" else ["-W", "error"]
    return subprocess.run(
        [sys.executable, *strict, "-m", "ansible", program, *arguments],
        cwd=paths.PROJECT,
        env={**os.environ, **settings, **environment},
        input=answers,
        capture_output=True,
        text=True,
        check=False,
    )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [match.group() for match in _COMPLAINT.finditer(done.stdout + done.stderr)]
