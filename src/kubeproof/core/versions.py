"""Versions of programs: three numbers, of which the first two are a minor version."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple


class Minor(NamedTuple):
    """A minor version, as 1.36."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    def plus(self, minors: int) -> Minor:
        """The one that is so many minor versions newer, or older."""
        return Minor(self.major, self.minor + minors)

    @classmethod
    def of(cls, text: str) -> Minor:
        """``1.36`` as a minor version, whatever follows."""
        major, minor, *_ = text.removeprefix("v").split(".")
        return cls(int(major), int(minor))


class Version(NamedTuple):
    """A version, as 1.36.3."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def series(self) -> Minor:
        """The minor version that it is a patch of."""
        return _series(self[0], self[1])

    @classmethod
    def of(cls, text: str) -> Version:
        """A version that is known to be one. Raises ValueError if it is none."""
        found = parse(text)
        if found is None:
            raise ValueError(f"{text!r} is no version")
        return found


@functools.cache
def _series(major: int, minor: int) -> Minor:
    return Minor(major, minor)


def parse(text: str) -> Version | None:
    """``v1.36.3`` as a version, whatever follows; ``None`` if it is none."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return Version(int(match[1]), int(match[2]), int(match[3])) if match else None
