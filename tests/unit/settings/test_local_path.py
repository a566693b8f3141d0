"""Volumes that are made on nodes when they are claimed: what cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.preflight import model
from kubeproof.settings import local_path

ON: dict[str, Any] = {
    "local_path_enabled": True,
    "local_path_directory": "/var/lib/local-path-provisioner",
    "local_path_storage_class": "local-path",
    "local_path_default_class": True,
    "local_volumes_directories": [],
    "local_volumes_storage_class": "local",
    "local_volumes_default_class": False,
}
ENTRY = {"name": "data", "hosts": ["workers"], "path": "/srv/volumes/data", "size": "1Gi"}


def problems(**settings: Any) -> list[tuple[str, str]]:
    return list(local_path.problems({**ON, **settings}))


def test_it_is_off_unless_it_is_set() -> None:
    assert not local_path.on({})
    assert local_path.on(ON)


def test_both_kinds_of_volumes_go_together() -> None:
    assert problems() == []
    assert problems(local_volumes_directories=[ENTRY]) == []
    both = {"local_volumes_directories": [ENTRY], "local_volumes_default_class": True}
    assert problems(**both, local_path_default_class=False) == []
    assert problems(**both, local_path_enabled=False) == []
    assert problems(local_volumes_default_class=True) == []


def test_what_is_compared_is_known_where_it_is_not_set() -> None:
    """One of two classes may have the name that is the other's default."""
    compared = ("local_path_directory", "local_path_storage_class", "local_volumes_storage_class")
    assert [name for name in compared if not model.reads(name)] == []


@pytest.mark.parametrize(
    ("settings", "name", "said"),
    [
        ({"local_path_directory": "srv"}, "local_path_directory", "'srv' is not an absolute path"),
        ({"local_path_directory": "/etc/volumes"}, "local_path_directory", "/etc/volumes is in /etc"),
        ({"local_path_directory": "/srv/v/"}, "local_path_directory", "is not written plainly"),
        ({"local_path_storage_class": "My class"}, "local_path_storage_class", "is no name of a StorageClass"),
        (
            {"local_volumes_directories": [ENTRY], "local_path_storage_class": "local"},
            "local_path_storage_class", "local is also local_volumes_storage_class",
        ),
        (
            {"local_volumes_directories": [ENTRY], "local_volumes_default_class": True},
            "local_path_default_class", "so is local_volumes_default_class",
        ),
        (
            {"local_volumes_directories": [ENTRY], "local_path_directory": "/srv/volumes"},
            "local_path_directory", "/srv/volumes and /srv/volumes/data of local_volumes_directories are in each other",
        ),
        (
            {"local_volumes_directories": [ENTRY], "local_path_directory": "/srv/volumes/data/more"},
            "local_path_directory", "are in each other",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(settings: dict[str, Any], name: str, said: str) -> None:
    [(found, problem)] = problems(**settings)
    assert found == name
    assert said in problem
