"""When images of former versions may be removed: not before an upgrade has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.roles.test_metrics_server import rendered

from kubeproof.core import paths


@pytest.mark.parametrize(
    ("act", "released"),
    [
        ({}, True),
        # At the end of an upgrade all is converged to its versions.
        ({"__upgrade_act": {"versions": {"kubernetes": "1.37.2"}}}, True),
        ({"__upgrade_act": {"kind": "nodes", "versions": {"kubernetes": "1.37.2"}}}, False),
    ],
)
def test_former_images_are_released_by_no_act_of_an_upgrade(
    tmp_path: Path, act: dict[str, Any], released: bool
) -> None:
    [task] = yaml.safe_load((paths.PROJECT / "roles" / "components" / "tasks" / "images.yml").read_text())
    assert rendered(tmp_path, task["runtime_images"]["releases_former"], **act) is released
