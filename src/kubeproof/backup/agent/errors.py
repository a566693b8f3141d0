"""What goes wrong, in words for the one who is woken by it."""

from __future__ import annotations


class BackupError(Exception):
    """A job could not be done; the message says what was seen and what to do, in one line."""


class Damaged(BackupError):
    """A directory is no whole, undamaged backup; the message says how that was seen."""


class Busy(BackupError):
    """Somebody else holds a lock, and is at work on what was to be done."""


class Ended(Exception):
    """A job has to end now; the message says why. No BackupError: nobody who deals with one of these may continue."""
