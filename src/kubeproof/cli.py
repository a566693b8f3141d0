"""The command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kubeproof.errors import KubeproofError
from kubeproof.hosts import cli as hosts_cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Run kubeproof; returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="kubeproof")
    subparsers = parser.add_subparsers(required=True)
    hosts_cli.add_parser(subparsers)
    parsed = parser.parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except KubeproofError as error:
        print(f"kubeproof: {error}", file=sys.stderr)
        return 1
    return status
