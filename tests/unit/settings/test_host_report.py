"""What of a host's report is at hand on the controller, and what that costs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kubeproof.settings.host_report import reported

ROOT = Path(__file__).resolve().parents[3]
VARIABLES = {"h1": {"ansible_facts": {"kubeproof_host": {"arch": "amd64"}}}, "h2": {}}


class _HostVars(Mapping[str, Any]):
    """As Ansible's: what is asked for in the usual way is rendered, all of it."""

    def __getitem__(self, name: str) -> Any:
        raise AssertionError("this renders all that is known of the host")

    def __iter__(self) -> Iterator[str]:
        return iter(VARIABLES)

    def __len__(self) -> int:
        return len(VARIABLES)

    def raw_get(self, name: str) -> Mapping[str, Any]:
        return VARIABLES[name]


@pytest.mark.parametrize("hostvars", [_HostVars(), VARIABLES], ids=["Ansible's", "a dictionary"])
def test_a_report_is_taken_as_it_is(hostvars: Mapping[str, Any]) -> None:
    assert reported(hostvars, "h1") == {"arch": "amd64"}
    assert reported(hostvars, "h2") == {}


def test_no_plugin_has_other_hosts_reports_rendered() -> None:
    """With thirty hosts one task took a tenth of a plan's time for that, and all of them waited for it."""
    rendered = re.compile(r"hostvars[^\n]*ansible_facts[^\n]*(kubeproof_host|HOST_FACT)")
    found = [
        path for part in ("src", "plugins") for path in (ROOT / part).rglob("*.py") if rendered.search(path.read_text())
    ]
    assert [path.name for path in found] == []
