"""The README lists the settings that the roles have."""

from __future__ import annotations

from pathlib import Path

import yaml

from kubeproof import settings_page


def test_readme_lists_the_settings_as_they_are() -> None:
    text = (settings_page.ROOT / "README.md").read_text()
    assert text == settings_page.readme(text, settings_page.page()), "run: python -m kubeproof.settings_page"


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
    table = settings_page.page(tmp_path)
    assert "<code>roles/x</code>: A &amp; B" in table
    assert '| `x_mode` | list of str: a, b | `["a"]` | The mode (`--mode`). See <https://x.test>. |' in table
