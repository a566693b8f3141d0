"""Which add-ons are on: the same for the controller's commands as for the playbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from tests.unit.roles.test_texts import variables

from kubeproof.components import pins
from kubeproof.settings import addons

ALL: dict[str, Any] = {
    "metrics_server_enabled": True,
    "metallb_addresses": ["192.0.2.64/28"],
    "gateway_api_enabled": True,
    "traefik_enabled": True,
    "local_path_enabled": True,
    "containerd_runtimes": [{"name": "sandboxed", "type": "gvisor"}],
}
NONE: dict[str, Any] = {
    "metrics_server_enabled": False,
    "metallb_addresses": [],
    "gateway_api_enabled": False,
    "traefik_enabled": False,
    "local_path_enabled": False,
    "containerd_runtimes": [],
}


@pytest.mark.parametrize("settings", [ALL, NONE, *({**NONE, name: value} for name, value in ALL.items())])
def test_playbooks_and_commands_agree(tmp_path: Path, settings: dict[str, Any]) -> None:
    known = {**variables(tmp_path, texts=False), **settings}
    rendered = Templar(loader=DataLoader(), variables=known).template(trust_as_template("{{ __components_addons }}"))
    assert rendered == addons.switched_on(settings)


def test_all_are_known_to_components() -> None:
    assert tuple(addons.switched_on(ALL)) == pins.ADDONS
    assert addons.switched_on(NONE) == []
