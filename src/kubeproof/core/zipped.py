"""A package of this project as one file that a host's Python runs: the same modules, the same bytes."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

_SOURCES = Path(__file__).resolve().parents[2]
# Where systems have it.
_PYTHON = "/usr/bin/python3"
# The earliest that the format knows: when a file was checked out is no part of the program.
_DATE = (1980, 1, 1, 0, 0, 0)


def program(package: str, *libraries: str, python: str = _PYTHON) -> bytes:
    """An executable file that runs ``main()`` of the package's module ``main``, by the Python at a path of the host.

    ``libraries``: packages of others that it needs, which are of Python alone; they are taken from where they are here.
    Raises ModuleNotFoundError if this machine has no such package or library.
    """
    # -I: nothing of the environment or of the user who calls it gets between the program and its modules.
    written = io.BytesIO(f"#!{python} -I\n".encode())
    written.seek(0, io.SEEK_END)
    start = f"import sys\n\nfrom {package}.main import main\n\nsys.exit(main())\n"
    with zipfile.ZipFile(written, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", _DATE), start)
        for path in _modules(package):
            archive.writestr(zipfile.ZipInfo(path.relative_to(_SOURCES).as_posix(), _DATE), path.read_bytes())
        for library in libraries:
            for name, path in _library(library):
                archive.writestr(zipfile.ZipInfo(name, _DATE), path.read_bytes())
    return written.getvalue()


def _modules(package: str) -> list[Path]:
    """The package's modules, and those of the packages that it is in which make them packages."""
    directory = _SOURCES.joinpath(*package.split("."))
    parents = [parent / "__init__.py" for parent in directory.parents if parent.is_relative_to(_SOURCES / "kubeproof")]
    if not (directory / "main.py").is_file():
        raise ModuleNotFoundError(f"there is no module {package}.main")
    return sorted([*parents, *(path for path in directory.glob("*.py") if path.name != "__main__.py")])


def _library(name: str) -> Iterator[tuple[str, Path]]:
    """A library's modules: their paths in the file, and here."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no package {name}")
    root = Path(spec.submodule_search_locations[0])
    for path in sorted(root.rglob("*.py")):
        yield path.relative_to(root.parent).as_posix(), path
