"""Questions about objects whose answers may not be there yet."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.verify.observe import objects


@pytest.mark.parametrize("item", [{}, {"status": {}}, {"status": {"conditions": None}}, {"status": {"conditions": []}}])
def test_an_object_without_conditions_has_none(item: dict[str, Any]) -> None:
    # A new kind of objects is answered with conditions that are null.
    assert objects.condition(item, "Established") == {}
    assert not objects.holds(item, "Established")


def test_a_condition_holds_or_not() -> None:
    item = {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Full", "status": "False"}]}}
    assert objects.holds(item, "Ready")
    assert not objects.holds(item, "Full")
