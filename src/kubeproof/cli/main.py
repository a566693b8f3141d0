"""The command line."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterable, Sequence

from kubeproof.cli import kubectl, options
from kubeproof.core import controller_packages, paths
from kubeproof.core.errors import KubeproofError

# The module of each command, imported when it is needed: `kubectl` should not wait for what `up` needs.
_COMMANDS = {
    "up": "kubeproof.cli.up",
    "plan": "kubeproof.cli.plan",
    "upgrade": "kubeproof.cli.upgrade",
    "down": "kubeproof.cli.down",
    "status": "kubeproof.cli.status",
    "verify": "kubeproof.cli.verify",
    "backup": "kubeproof.cli.backup",
    "kubectl": "kubeproof.cli.kubectl",
    "helm": "kubeproof.cli.helm",
    "ssh": "kubeproof.cli.ssh",
    "components": "kubeproof.cli.components",
    "report": "kubeproof.cli.report",
    "env": "kubeproof.cli.env",
    "hosts": "kubeproof.cli.hosts",
    "test": "kubeproof.cli.test",
}

_DESCRIPTION = """\
Installs every Kubernetes component from its own binaries and proves that the cluster is what it should be:
on your own hosts, or on local ones, which are containers with systemd and sshd.
"""

_EPILOG = """\
examples:
  kubeproof up                                    a cluster of three local hosts, verified
  kubeproof kubectl get pods --all-namespaces     as the cluster's administrator
  kubeproof helm list --all-namespaces            applications that were installed from charts
  kubeproof ssh cp1                               a shell on a host
  kubeproof status                                health of the cluster
  kubeproof plan                                  what the next `up` would change
  kubeproof upgrade plan                          what an upgrade would do, and what is in its way
  kubeproof down                                  remove the local cluster

  kubeproof up --inventory inventory/mine/hosts.yml      the same on your own hosts; start from
                                                         inventory/example

exit status: 0 success; 1 failure, with what to do; 2 wrong usage;
3 the cluster is installed, but its verification failed;
4 the cluster is installed, but for hosts that could not be reached; 130 interrupted
"""


def parser(commands: Iterable[str] = tuple(_COMMANDS)) -> argparse.ArgumentParser:
    """The parser of the command line, or of a part of it."""
    whole = argparse.ArgumentParser(
        prog="kubeproof",
        usage="kubeproof COMMAND [ARGUMENTS]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = whole.add_subparsers(prog="kubeproof", title="commands", metavar="COMMAND [ARGUMENTS]", required=True)
    for command in commands:
        importlib.import_module(_COMMANDS[command]).add_parser(subparsers)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run kubeproof; returns the process's exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    controller_packages.complete_path()
    # What is read of inventories here follows the same settings as the playbooks that are run.
    os.environ["ANSIBLE_CONFIG"] = str(paths.PROJECT / "ansible.cfg")
    try:
        # Past argparse, which would take options for its own and drop a lone --.
        if given[:1] == ["kubectl"]:
            return kubectl.run(given[1:])
        if given[:1] == ["helm"]:
            from kubeproof.cli import helm

            return helm.run(given[1:])
        commands = given[:1] if given and given[0] in _COMMANDS else _COMMANDS
        parsed = parser(commands).parse_args(given)
        with options.become_password(parsed):
            outcome: int = parsed.run(parsed)
    except KubeproofError as error:
        print(f"kubeproof: {error}", file=sys.stderr)
        return options.FAILED
    except OSError as error:
        # Without a file it is nothing that an operator could repair.
        if error.filename is None:
            raise
        print(f"kubeproof: {_told(error)}", file=sys.stderr)
        return options.FAILED
    except KeyboardInterrupt:
        print("\nkubeproof: interrupted; run the same command again to continue", file=sys.stderr)
        return options.INTERRUPTED
    return outcome


def _told(error: OSError) -> str:
    """What a file's error is about, and what to do."""
    said = f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        said += "\n  run the same command as the user who installed the cluster, or with sudo"
    return said
