"""What the program can't do, said for the operator."""

from __future__ import annotations


class PodNetworkError(Exception):
    """Something is wrong that a person has to see; the message says what."""
