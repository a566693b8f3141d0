"""What pages show of the terminal has nothing in it that is no longer there."""

from __future__ import annotations

import re

import pytest

from kubeproof.core import paths
from kubeproof.verify.engine import claims
from kubeproof.verify.pod_startup import drawing


def listings(page: str) -> list[str]:
    text = (paths.PROJECT / page).read_text()
    return [str(found) for found in re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]


def test_what_is_installed_are_roles_and_what_is_proven_are_claims() -> None:
    [shown] = [each for each in listings("README.md") if "Verification\n" in each]
    installed, verified = shown.split("Verification\n")
    roles = re.findall(r"^  ✔ (\S+)", installed, re.MULTILINE)
    proven = re.findall(r"^  ✔ (\S+)", verified, re.MULTILINE)
    assert roles
    assert set(roles) <= {path.name for path in (paths.PROJECT / "roles").iterdir()}
    assert proven
    assert set(proven) <= {claim.id for claim in claims.load().claims}


@pytest.mark.parametrize("page", ["README.md", "docs/verification.md"])
def test_a_pods_start_is_drawn_as_it_is_drawn_now(page: str) -> None:
    [lines] = [each.splitlines() for each in listings(page) if "kubectl  API server" in each]
    at = next(number for number, line in enumerate(lines) if "kubectl  API server" in line) - 1
    name, node, started = re.findall(r"pod (\S+) on (\S+), since (\S+)", lines[at])[0]
    way = {"pod": name, "node": node, "started": started, "steps": [], "problems": []}
    assert drawing.draw(way, width=100)[:2] == lines[at : at + 2]
