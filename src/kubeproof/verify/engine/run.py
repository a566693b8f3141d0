"""A verification as a process of its own: pytest, with the progress on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.core import paths
from kubeproof.core.environment import environment
from kubeproof.core.process import attend
from kubeproof.settings import inventory
from kubeproof.verify.engine.claims import Level

TESTS = paths.PROJECT / "tests" / "architecture"


@dataclass(frozen=True)
class Options:
    """Options of a verification, besides the inventory. ``more`` goes to pytest as it is."""

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


def verify(sources: inventory.Sources, options: Options = DEFAULTS) -> bool:
    """Verify a cluster, with the progress on the terminal. Returns whether every claim that was looked at is proven."""
    return attend(command(sources, options), cwd=paths.PROJECT, env=environment(), time_to_tidy=None) == 0


def command(sources: inventory.Sources, options: Options) -> list[str]:
    """The command that verifies a cluster. It ends with 0 if every claim that was looked at is proven."""
    given = {
        "--level": options.level,
        "--kubeconfig": _absolute(options.kubeconfig),
        "--connection": options.connection,
        "--test-image": options.test_image,
        "--report": _absolute(options.report),
    }
    # The board says what is wrong in a user's words: tracebacks and pytest's list of failures are for developers.
    call = [sys.executable, "-m", "pytest", str(TESTS), *inventory.options(sources), "--tb=no", "-rN"]
    call += [f"--only={name}" for name in options.only]
    call += [f"{option}={value}" for option, value in given.items() if value]
    return [*call, *options.more]


def _absolute(path: str) -> str:
    """A path as it is meant here: the verification runs in another directory."""
    return str(Path(path).absolute()) if path else ""
