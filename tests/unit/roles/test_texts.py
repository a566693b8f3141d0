"""Numbers and booleans that are given as texts (``-e cluster_api_port=6444``, quotes in YAML) are what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from tests.unit.preflight.builders import report

from kubeproof.settings import inventory, resolve, specs

COMPONENTS = {
    "images": {
        "kube-proxy": "i",
        "pause": "p",
        "coredns": "c",
        "metrics-server": "m",
        "metallb-controller": "mc",
        "metallb-speaker": "ms",
        "traefik": "t",
        "local-path-provisioner": "lp",
        "local-path-helper": "lh",
    },
    "image_archives": [{"reference": "i", "digest": "sha256:1"}],
}
HOSTS = """
all:
  hosts: {one: {ansible_host: 192.0.2.1}}
  children: {etcd: {hosts: {one: }}, control_plane: {hosts: {one: }}, workers: {hosts: {one: }}}
"""
TEMPLATES = sorted(specs.ROLES.glob("*/templates/**/*.j2"))
# What loops, tasks and facts of the roles give, besides the facts of the host.
GIVEN = {
    "name": "default-scheduler",
    "__scheduler": trust_as_template("{{ __scheduler_instances | first }}"),
    "__pod_network_answer": {"values": {"/api/v1/nodes/one": "10.244.0.0/24"}},
    "ansible_play_hosts": ["one"],
    "ansible_play_hosts_all": ["one"],
    "ansible_search_path": [str(specs.ROLES / "kube-proxy")],
    "role_path": str(specs.ROLES / "addons"),
    "backup_targets": [{"name": "far", "type": "directory", "path": "/mnt/far", "timeout": 60}],
}
# They are of a restore that has begun.
LEFT_OUT = {"__restore_chosen", "__restore_pulled", "__restore_replacement", "__restore_snapshot_path"}


def variables(directory: Path, *, texts: bool) -> dict[str, Any]:
    """What templates see on a host; ``texts``: numbers and booleans are as ``-e name=value`` gives them."""
    (directory / "hosts.yml").write_text(HOSTS)
    (directory / "pki").mkdir(exist_ok=True)
    (directory / "pki" / "encryption.key").write_text("a key")
    host = inventory.load(directory / "hosts.yml").host("one")
    facts = {"kubeproof_host": report(), "kubeproof_components": COMPONENTS}
    known = {**resolve.defaults(), **host.variables, **GIVEN, "ansible_facts": facts}
    known |= {"cluster_state_directory": "/state", "hostvars": {"one": {**known, "cluster_host_address": "192.0.2.1"}}}
    return known | {name: text(value) for name, value in numbers(known).items()} if texts else known


def numbers(known: dict[str, Any]) -> dict[str, Any]:
    """The settings that are numbers or booleans, those among them whose defaults are templates."""
    templar = Templar(loader=DataLoader(), variables=known)
    kinds = ("bool", "int", "float")
    names = [name for name, option in specs.load().options.items() if option.get("type") in kinds and name in known]
    return {name: templar.template(known[name]) for name in names}


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def rendered(known: dict[str, Any], directory: Path) -> dict[str, Any]:
    """All templates and internal variables of all roles; an error where one cannot be rendered."""
    templar = Templar(loader=DataLoader(), variables=known)
    found: dict[str, Any] = {}
    overrides = {"trim_blocks": True, "lstrip_blocks": True}
    internal = {name: value for name, value in resolve.defaults().items() if name.startswith("__")}
    sources = {str(path): trust_as_template(path.read_text()) for path in TEMPLATES}
    # The keys of the cluster are the same ones for both.
    known = {**known, "cluster_state_directory": str(directory)}
    for name, source in {**internal, **sources}.items():
        try:
            value = templar.copy_with_new_env(available_variables=known).template(source, overrides=overrides)
            found[name] = json.loads(json.dumps(value, default=str).replace(str(directory), "/state"))
        except AnsibleError as error:
            found[name] = error
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    typed, texts = (tmp_path_factory.mktemp(name) for name in ("typed", "texts"))
    return rendered(variables(typed, texts=False), typed), rendered(variables(texts, texts=True), texts)


def test_all_of_it_is_rendered_here(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    typed, _ = both
    failed = {name: str(value) for name, value in typed.items() if isinstance(value, Exception)}
    assert failed.keys() == LEFT_OUT, failed


def test_texts_make_no_difference(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    typed, texts = both
    different = {
        name.removeprefix(f"{specs.ROLES}/"): _difference(value, texts[name])
        for name, value in typed.items()
        if not isinstance(value, Exception) and texts[name] != value
    }
    assert different == {}


def test_hosts_know_who_else_makes_backups(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Copies of hosts that are gone are anybody's to remove."""
    assert both[0]["__backup_configuration"]["hosts"] == ["one"]


def _difference(typed: Any, texts: Any) -> str:
    if isinstance(texts, Exception):
        return str(texts)
    before, after = (
        (value if isinstance(value, str) else json.dumps(value, indent=1, default=str)).splitlines()
        for value in (typed, texts)
    )
    return "; ".join(line.strip() for line in after if line not in before)
