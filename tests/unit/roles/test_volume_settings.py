"""Problems with directories for volumes are said of the setting that names them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"


@pytest.mark.parametrize(
    ("tasks", "setting"),
    [
        ("local_path/tasks/main.yml", "local_path_directory"),
        ("local_volumes/tasks/directories.yml", "local_volumes_directories"),
    ],
)
def test_each_role_names_its_own(tasks: str, setting: str) -> None:
    [given] = [
        task["volume_directories"]
        for task in yaml.safe_load((ROLES / tasks).read_text())
        if "volume_directories" in task
    ]
    assert given["setting"] == setting
