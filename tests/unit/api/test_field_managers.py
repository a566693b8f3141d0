"""Who has set a field of an object."""

from __future__ import annotations

from typing import Any

from kubeproof.api import field_managers
from kubeproof.core import paths

NODE: dict[str, Any] = {
    "metadata": {
        "managedFields": [
            {"manager": "one", "operation": "Update", "fieldsV1": {"f:spec": {"f:taints": {}}}},
            {"manager": "two", "operation": "Apply", "fieldsV1": {"f:spec": {"f:unschedulable": {}}}},
            {"manager": "three", "operation": "Update"},
        ]
    }
}


def test_of_all_managers_those_of_the_field() -> None:
    assert field_managers.of(NODE, ("spec", "unschedulable")) == [("two", field_managers.APPLY)]
    assert field_managers.of(NODE, ("spec", "unschedulable", "deeper")) == []
    assert field_managers.of({"metadata": {}}, ("spec",)) == []


def test_hosts_have_the_same_file() -> None:
    there = paths.PROJECT / "plugins" / "module_utils" / "field_managers.py"
    assert there.resolve().samefile(field_managers.__file__)
