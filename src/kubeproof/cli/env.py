"""``kubeproof env``: what a shell evaluates to have Ansible, pytest and Molecule in the locked versions."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from kubeproof.cli.options import SubParsers
from kubeproof.core import paths


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "env",
        help='Ansible in the locked versions for this shell: eval "$(./kubeproof env)"',
        description="Prints shell commands that put Ansible, pytest and Molecule in the locked versions on the PATH, "
        "and the project's ansible.cfg unless another one is set.",
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    programs = Path(sys.executable).parent
    config = paths.PROJECT / "ansible.cfg"
    print(f"PATH={shlex.quote(str(programs))}:$PATH; export PATH;")
    print(f"ANSIBLE_CONFIG=${{ANSIBLE_CONFIG:-{shlex.quote(str(config))}}}; export ANSIBLE_CONFIG;")
    return 0
