"""What goes wrong, said for the operator."""

from __future__ import annotations


class DefragmentError(Exception):
    """The member was not defragmented, or is not as it should be after it; the message says why."""


class EtcdError(DefragmentError):
    """A member did not answer, or not as it should."""


class TooLong(EtcdError):
    """A member did not answer in time."""
