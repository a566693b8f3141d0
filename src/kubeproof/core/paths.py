"""Where things are on the controller."""

from __future__ import annotations

import os
from pathlib import Path

# The repository: kubeproof runs from a clone, as Ansible projects do.
PROJECT = Path(__file__).resolve().parents[3]

DEFAULT_INVENTORY = PROJECT / "inventory" / "local" / "hosts.yml"


def cache_directory() -> Path:
    """What was fetched or built, shared by all clones and clusters of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kubeproof"
