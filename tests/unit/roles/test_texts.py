"""Numbers and booleans that are given as texts (``-e cluster_api_port=6444``, quotes in YAML) are what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from tests.unit.preflight.builders import report

from kubeproof.settings import inventory, resolve, specs

COMPONENTS = {
    "images": {"kube-proxy": "i", "pause": "p", "coredns": "c"},
    "image_archives": [{"reference": "i", "digest": "sha256:1"}],
}
HOSTS = """
all:
  hosts: {one: {ansible_host: 192.0.2.1}}
  children: {etcd: {hosts: {one: }}, control_plane: {hosts: {one: }}, workers: {hosts: {one: }}}
"""
TEMPLATES = sorted(specs.ROLES.glob("*/templates/**/*.j2"))


def variables(tmp_path: Path, *, texts: bool) -> dict[str, Any]:
    """What templates see on a host; with ``texts``, of defaults and of what an operator gives."""
    (tmp_path / "hosts.yml").write_text(HOSTS)
    host = inventory.load(tmp_path / "hosts.yml").host("one")
    facts = {"kubeproof_host": report(), "kubeproof_components": COMPONENTS}
    given = {name: text(value) if texts else value for name, value in literals().items()}
    known = {**resolve.defaults(), **host.variables, **given, "ansible_facts": facts, "ansible_play_hosts": ["one"]}
    # What loops of roles give.
    known |= {"name": "default-scheduler", "cluster_state_directory": "/state"}
    return {**known, "hostvars": {"one": known}}


def literals() -> Mapping[str, Any]:
    """The defaults that are numbers or booleans."""
    given = {name: value for name, value in resolve.defaults().items() if isinstance(value, bool | int | float)}
    return {name: value for name, value in given.items() if name in specs.load().options}


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def rendered(known: dict[str, Any], directory: Path) -> dict[str, Any]:
    """All templates and internal variables that can be rendered alone."""
    templar = Templar(loader=DataLoader(), variables=known)
    templar.environment.loader.searchpath = [str(directory)]
    found: dict[str, Any] = {}
    overrides = {"trim_blocks": True, "lstrip_blocks": True}
    internal = {name: value for name, value in resolve.defaults().items() if name.startswith("__")}
    sources = {str(path): trust_as_template(path.read_text()) for path in TEMPLATES}
    for name, source in {**internal, **sources}.items():
        try:
            found[name] = templar.copy_with_new_env(available_variables=known).template(source, overrides=overrides)
        except AnsibleError as error:
            found[name] = error
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    typed, texts = (tmp_path_factory.mktemp(name) for name in ("typed", "texts"))
    return rendered(variables(typed, texts=False), typed), rendered(variables(texts, texts=True), texts)


def test_most_is_rendered_here(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    typed, _ = both
    failed = {name: str(value) for name, value in typed.items() if isinstance(value, Exception)}
    assert len(failed) < len(typed) / 4, failed


def test_texts_make_no_difference(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    typed, texts = both
    different = {
        name.removeprefix(f"{specs.ROLES}/"): _difference(value, texts[name])
        for name, value in typed.items()
        if not isinstance(value, Exception) and texts[name] != value
    }
    assert different == {}


def _difference(typed: Any, texts: Any) -> str:
    if isinstance(texts, Exception):
        return str(texts)
    before, after = (
        (value if isinstance(value, str) else json.dumps(value, indent=1, default=str)).splitlines()
        for value in (typed, texts)
    )
    return "; ".join(line.strip() for line in after if line not in before)
