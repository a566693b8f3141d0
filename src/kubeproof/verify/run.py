"""``kubeproof verify``: prove that a cluster is what it should be."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeproof import inventory, paths
from kubeproof.commands.common import NOT_VERIFIED, SubParsers, add_become, add_inventory, environment
from kubeproof.process import attend
from kubeproof.verify.claims import Level

TESTS = paths.PROJECT / "tests" / "architecture"


@dataclass(frozen=True)
class Options:
    """What a verification can be told, besides whose cluster it is. ``more`` goes to pytest as it is."""

    only: Sequence[str] = ()
    level: str = str(Level.STANDARD)
    kubeconfig: str = ""
    connection: str = ""
    test_image: str = ""
    report: str = ""
    more: Sequence[str] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Options from arguments of a command line or a task, of which there may be others, and some may be empty."""
        return cls(**{name: given[name] for name in cls.__dataclass_fields__ if given.get(name)})


DEFAULTS = Options()


def add_parser(subparsers: SubParsers[argparse.ArgumentParser]) -> None:
    """Add the command to kubeproof's."""
    parser = subparsers.add_parser(
        "verify",
        help="prove that a cluster is what it should be",
        description="Looks at a running cluster from outside its components and says, claim by claim, whether it is "
        "what the architecture says. It works in namespaces of its own and removes them; what it has observed goes to "
        "reports/verification.html in the inventory's state, and as JSON and JUnit XML beside it. Exits with 0 if "
        "every claim that was looked at is proven.",
    )
    add_inventory(parser)
    add_become(parser)
    parser.add_argument(
        "--only", action="append", metavar="COMPONENT|CLAIM", help="only these claims; may be given several times"
    )
    parser.add_argument(
        "--level",
        choices=Level.names(),
        default=str(Level.STANDARD),
        help="quick: no pods; standard (default): disturbs nothing; disruptive: stops things",
    )
    parser.add_argument("--kubeconfig", help="how to reach the API (default: what the installation wrote)")
    parser.add_argument("--connection", choices=("ssh", "paramiko"), help="how to reach the hosts (default: ssh)")
    parser.add_argument("--test-image", help="the agnhost image for test pods (default: the one that was installed)")
    parser.add_argument("--report", help="where the JSON goes; page and JUnit XML go beside it")
    parser.add_argument("more", nargs="*", metavar="-- PYTEST", help="more for pytest, for example -- -k large")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    return 0 if verify(arguments.inventory, Options.of(vars(arguments))) else NOT_VERIFIED


def verify(sources: inventory.Sources, options: Options = DEFAULTS) -> bool:
    """Verify a cluster, with the progress on the terminal. Returns whether every claim that was looked at is proven."""
    return attend(command(sources, options), cwd=paths.PROJECT, env=environment()) == 0


def command(sources: inventory.Sources, options: Options) -> list[str]:
    """The command that verifies a cluster. It ends with 0 if every claim that was looked at is proven."""
    given = {
        "--level": options.level,
        "--kubeconfig": options.kubeconfig,
        "--connection": options.connection,
        "--test-image": options.test_image,
        "--report": options.report,
    }
    # The board says what is wrong in a user's words: tracebacks and pytest's list of failures are for developers.
    call = [sys.executable, "-m", "pytest", str(TESTS), *inventory.options(sources), "--tb=no", "-rN"]
    call += [f"--only={name}" for name in options.only]
    call += [f"{option}={value}" for option, value in given.items() if value]
    return [*call, *options.more]
