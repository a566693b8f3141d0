"""A cluster's own templates, which take the place of roles' templates of the same name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kubeproof.settings import specs


def problems(directory: str, roles: Path = specs.ROLES) -> Iterator[str]:
    """What is wrong with ``cluster_template_overrides``: a file that replaces no template of a role is never used.

    Only files on hosts can be replaced: templates of objects, which are not in a directory, are not.
    """
    if not directory:
        return
    root = Path(directory)
    if not root.is_absolute() or not root.is_dir():
        yield f"{directory} is not the absolute path of a directory on this machine"
        return
    for path in sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file()):
        if len(path.parts) < 3 or not (roles / path.parts[0] / "templates").joinpath(*path.parts[1:]).is_file():
            yield f"{root / path}: no role has this template; the path below the directory is ROLE/PATH, as in roles/"
