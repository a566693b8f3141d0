"""What the machine is given back when the last local host leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeproof.errors import KubeproofError
from kubeproof.hosts import machine


@pytest.fixture
def forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that does not forward packets, with all modules."""
    setting = tmp_path / "ip_forward"
    setting.write_text("0\n")
    monkeypatch.setattr(machine, "RUN", tmp_path / "run")
    monkeypatch.setattr(machine, "_IP_FORWARD", setting)
    monkeypatch.setattr(machine, "_MODULES", {"overlay": str(tmp_path)})
    return setting


def test_forwarding_is_put_back_by_the_last_network(forward: Path) -> None:
    for name in ("one", "two"):
        machine.claim(name)
        machine.forward_packets()
    machine.release("one")
    assert forward.read_text().strip() == "1"
    machine.release("two")
    assert forward.read_text() == "0\n"
    assert not machine.RUN.exists()


def test_forwarding_that_was_on_stays_on(forward: Path) -> None:
    forward.write_text("1\n")
    machine.claim("one")
    machine.forward_packets()
    machine.release("one")
    assert forward.read_text() == "1\n"


def test_releasing_what_was_never_claimed_is_no_error(forward: Path) -> None:
    machine.release("one")
    assert forward.read_text() == "0\n"


def test_a_module_that_cannot_be_loaded_is_named(
    forward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_MODULES", {"br_netfilter": str(tmp_path / "absent")})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KubeproofError, match="no br_netfilter"):
        machine.claim("one")
    assert forward.read_text() == "0\n"
