"""What command lines and pytest's options have in common."""

from __future__ import annotations

import argparse
from typing import Any


class AppendSource(argparse.Action):
    """Collects the files and directories that an inventory is made of."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Put one more behind those that were given; the default goes."""
        given = getattr(namespace, self.dest)
        setattr(namespace, self.dest, (*(() if given is self.default else given), values))
