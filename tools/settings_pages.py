"""``docs/settings.md`` and every role's ``README.md``, written from the roles' ``meta/argument_specs.yml``.

``python -m tools.settings_pages`` writes them; a unit test fails when they are not what this module would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"
_HEAD = """\
# Settings

Settings go into the inventory. A name that no role knows is refused, with the nearest that one does. Generated from
each role's `meta/argument_specs.yml` by `python -m tools.settings_pages`; `ansible-doc -t role NAME` shows them too.
"""


def page(roles: Path = ROOT / "roles") -> str:
    """All roles' settings as Markdown: one table per role that has any."""
    sections = [_section(role) for role in sorted(roles.iterdir()) if (role / "meta" / "argument_specs.yml").exists()]
    return "\n".join([_HEAD, *(section for section in sections if section)])


def readme(role: Path, tags: Collection[str]) -> str:
    """A role's README: what it is, how it is run alone, what it puts on hosts, and its settings."""
    entries = _entries(role)
    main = _main(entries)
    described = main.get("description", [])
    lines = [f"# {role.name}", "", f"{main['short_description']}. A role of [kubeproof](../../README.md)."]
    paragraphs = [described] if isinstance(described, str) else described
    lines += [line for text in paragraphs for line in ("", _description(text))]
    if role.name in tags:
        command = f"ansible-playbook -i INVENTORY playbooks/cluster.yml --tags {role.name}"
        lines += [
            "",
            f"Alone, on an installed cluster ([what that does](../../docs/operations/partial-runs.md)): `{command}`",
        ]
    for entry in (name for name in entries if entries[name] is not main):
        lines += ["", f"Entry point `{entry}`: {entries[entry]['short_description']}."]
    templates = sorted(path.relative_to(role / "templates") for path in (role / "templates").rglob("*.j2"))
    if templates:
        lines += ["", "## Templates", "", "The paths are those on hosts, below `/`, unless a task says otherwise.", ""]
        lines += [f"- [`{str(path).removesuffix('.j2')}`](templates/{path})" for path in templates]
    if table := _table(entries):
        lines += ["", "## Settings", "", *table]
    return "\n".join(lines) + "\n"


def _entries(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    return found


def _main(entries: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry point that describes the role: what is called otherwise is only not checked by Ansible."""
    found: Mapping[str, Any] = entries.get("main", next(iter(entries.values())))
    return found


def _table(entries: Mapping[str, Any]) -> list[str]:
    options = {name: option for entry in entries.values() for name, option in (entry.get("options") or {}).items()}
    head = ["| setting | type | default | what it is |", "| --- | --- | --- | --- |"]
    return [*head, *(_row(name, option) for name, option in options.items())] if options else []


def _section(role: Path) -> str:
    entries = _entries(role)
    summary = _main(entries)["short_description"]
    table = _table(entries)
    return "\n".join([f"## {role.name}", "", f"{summary} (`roles/{role.name}`).", "", *table, ""]) if table else ""


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
    text = re.sub(r"\bB\(([^)]*)\)", r"**\1**", text)
    return " ".join(text.split()).replace("|", "\\|")


def readmes() -> dict[Path, str]:
    """Every role's README, by its path."""
    playbook = yaml.safe_load((ROOT / "playbooks" / "cluster.yml").read_text())
    tags = next(play["vars"]["__preflight_tags"] for play in playbook if "__preflight_tags" in play.get("vars", {}))
    roles = [path for path in (ROOT / "roles").iterdir() if (path / "meta" / "argument_specs.yml").exists()]
    return {role / "README.md": readme(role, tags) for role in sorted(roles)}


def main() -> None:
    """Write the page, and each role's."""
    PAGE.write_text(page())
    for path, text in readmes().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
