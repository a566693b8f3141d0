"""The virtual environment that this runs in, and the environment of what is started from it."""

from __future__ import annotations

import locale
import os
import sys
from contextlib import suppress
from pathlib import Path

from kubeproof.core import paths
from kubeproof.core.errors import KubeproofError

_LOCALES = ("C.UTF-8", "C.utf8", "en_US.UTF-8")


def tool(name: str) -> str:
    """A program of the virtual environment that this runs in."""
    return str(Path(sys.executable).parent / name)


def environment(**more: str) -> dict[str, str]:
    """The environment for Ansible and the checks: the project's settings, whatever directory the user is in."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "ANSIBLE_CONFIG": str(paths.PROJECT / "ansible.cfg"), **_locale(), **more}


def _locale() -> dict[str, str]:
    """Another locale than the user's, if Ansible would not start in that: it needs one that is there, and is UTF-8."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        for name in ("", *_LOCALES):
            with suppress(locale.Error, ValueError):
                locale.setlocale(locale.LC_ALL, name)
                if (locale.getlocale()[1] or "").lower() in {"utf-8", "utf8"}:
                    return {"LC_ALL": name} if name else {}
    finally:
        locale.setlocale(locale.LC_ALL, before)
    raise KubeproofError(
        "this machine has no locale whose encoding is UTF-8, which Ansible needs",
        hint=f"have one of {', '.join(_LOCALES)}",
    )
