"""docs/settings.md and the roles' pages list the settings that the roles have."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from tools import settings_pages


def test_the_page_lists_the_settings_as_they_are() -> None:
    assert settings_pages.PAGE.read_text() == settings_pages.page(), "run: python -m tools.settings_pages"


def test_every_role_has_a_page_that_is_as_it_is() -> None:
    for path, text in settings_pages.readmes().items():
        assert path.read_text() == text, "run: python -m tools.settings_pages"
        assert all((path.parent / link).exists() for link in re.findall(r"\]\(([^)#]+)\)", text))


def test_a_table_says_type_default_and_description(tmp_path: Path) -> None:
    specs = tmp_path / "x" / "meta" / "argument_specs.yml"
    specs.parent.mkdir(parents=True)
    option = {
        "type": "list",
        "elements": "str",
        "choices": ["a", "b"],
        "default": ["a"],
        "description": ["The mode (C(--mode)).", "See U(https://x.test)."],
    }
    entry = {"short_description": "A & B", "options": {"x_mode": option}}
    specs.write_text(yaml.safe_dump({"argument_specs": {"main": entry}}))
    table = settings_pages.page(tmp_path)
    assert "## x\n\nA & B (`roles/x`).\n" in table
    assert '| `x_mode` | list of str: a, b | `["a"]` | The mode (`--mode`). See <https://x.test>. |' in table
