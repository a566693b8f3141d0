"""Versions of programs."""

from __future__ import annotations

import pytest

from kubeproof.core.versions import Minor, Version, parse


@pytest.mark.parametrize(
    ("text", "version"),
    [("v1.36.3", (1, 36, 3)), ("3.7.3", (3, 7, 3)), ("1.36.0-rc.1+5", (1, 36, 0)), ("devel", None), ("1.36", None)],
)
def test_parse(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse(text) == version


def test_minor_versions() -> None:
    version = Version.of("v1.36.3")
    assert (str(version), str(version.series), str(version.series.plus(-3))) == ("1.36.3", "1.36", "1.33")
    assert Minor.of("v1.36.3") == Minor.of("1.36") == version.series
    assert Minor(1, 9) < Minor(1, 10)
    with pytest.raises(ValueError, match="'devel' is no version"):
        Version.of("devel")
