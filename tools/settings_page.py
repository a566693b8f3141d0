"""``docs/settings.md``, written from the roles' ``meta/argument_specs.yml``.

``python -m tools.settings_page`` writes it; a unit test fails when it is not what this module would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"
_HEAD = """\
# Settings

Settings go into the inventory. A name that no role knows is refused, with the nearest that one does. Generated from
each role's `meta/argument_specs.yml` by `python -m tools.settings_page`; `ansible-doc -t role NAME` shows them too.
"""


def page(roles: Path = ROOT / "roles") -> str:
    """All roles' settings as Markdown: one table per role that has any."""
    sections = [_section(role) for role in sorted(roles.iterdir()) if (role / "meta" / "argument_specs.yml").exists()]
    return "\n".join([_HEAD, *(section for section in sections if section)])


def _section(role: Path) -> str:
    entries = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    options = {name: option for entry in entries.values() for name, option in (entry.get("options") or {}).items()}
    if not options:
        return ""
    summary = entries.get("main", next(iter(entries.values())))["short_description"]
    rows = [_row(name, option) for name, option in options.items()]
    head = ["| setting | type | default | what it is |", "| --- | --- | --- | --- |"]
    return "\n".join([f"## {role.name}", "", f"{summary} (`roles/{role.name}`).", "", *head, *rows, ""])


def _row(name: str, option: Mapping[str, Any]) -> str:
    kind = str(option["type"]) + (f" of {option['elements']}" if "elements" in option else "")
    if "choices" in option:
        kind += ": " + ", ".join(str(choice) for choice in option["choices"])
    default = f"`{_plain(option['default'])}`" if option.get("default") not in (None, "") else ""
    return f"| `{name}` | {kind} | {default} | {_description(option['description'])} |"


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|")


def _description(description: str | Iterable[str]) -> str:
    """Ansible's documentation markup as Markdown.

    https://docs.ansible.com/ansible/latest/dev_guide/ansible_markup.html
    """
    text = description if isinstance(description, str) else " ".join(description)
    text = re.sub(r"\b[CVO]\(([^)]*)\)", r"`\1`", text)
    text = re.sub(r"\bU\(([^)]*)\)", r"<\1>", text)
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
