"""The rules of network policies: who has lost them is restarted, and nobody else."""

from __future__ import annotations

import json
import time

import pytest
from tests.unit.install.pod_network.conftest import Node

_UNIT = "kube-network-policy.service"
_RESTARTED = [f"is-active --quiet {_UNIT}", f"--no-block try-restart {_UNIT}"]
# As kube-router makes them.
_RULES = "; ".join(
    (
        *(f"iptables -N {chain}" for chain in ("KUBE-ROUTER-INPUT", "KUBE-ROUTER-FORWARD", "KUBE-NWPLCY-TAIL")),
        "iptables -I INPUT -m comment --comment x -j KUBE-ROUTER-INPUT",
        "iptables -I FORWARD -m comment --comment x -j KUBE-ROUTER-FORWARD",
        "iptables -A KUBE-ROUTER-FORWARD -m comment --comment x -j KUBE-NWPLCY-TAIL",
    )
)


class Engine:
    """A node with a network policy engine: a systemctl that reports its state, and writes down its arguments."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._report = node.directory / "report"
        self._told = node.directory / "told"
        (node.directory / "bin").mkdir()
        systemctl = node.directory / "bin" / "systemctl"
        systemctl.write_text(
            f'#!/bin/sh\nif [ "$1" = show ]; then cat {self._report}; else echo "$@" >> {self._told}; fi\n'
        )
        systemctl.chmod(0o755)
        node.network_policy.write_text(json.dumps({"unit": _UNIT}))
        self.runs(seconds=600)

    def runs(self, *, seconds: float, state: str = "active") -> None:
        """Report a state, and how long ago the unit became active."""
        since = max(0, round((time.monotonic() - seconds) * 1e6))
        self._report.write_text(f"ActiveState={state}\nActiveEnterTimestampMonotonic={since}\n")

    @property
    def told(self) -> list[str]:
        """What systemctl was called with, except to report."""
        return self._told.read_text().splitlines() if self._told.exists() else []


@pytest.fixture
def engine(node: Node) -> Engine:
    """An engine that has run for long."""
    return Engine(node)


@pytest.mark.parametrize(
    "lost",
    ["nft flush ruleset", "iptables -F FORWARD", "iptables -F INPUT", "iptables -F KUBE-ROUTER-FORWARD"],
)
def test_an_engine_that_has_lost_its_rules_is_restarted(engine: Engine, lost: str) -> None:
    node = engine.node
    node.run(_RULES)
    with node.watched():
        node.healed()
        assert engine.told == []
        node.run(lost)
        node.until(lambda: len(engine.told) >= len(_RESTARTED))
        engine.runs(seconds=0)
        told = engine.told
        time.sleep(1.5)
        assert engine.told == told, "one that is starting has not written its rules yet"
    assert engine.told[: len(_RESTARTED)] == _RESTARTED
    assert "put back: the rules of network policies, by a restart of their engine" in node.log.read_text()


@pytest.mark.parametrize(("seconds", "state"), [(5, "active"), (600, "inactive"), (600, "activating")])
def test_one_that_starts_or_does_not_run_is_left_alone(engine: Engine, seconds: float, state: str) -> None:
    engine.runs(seconds=seconds, state=state)
    with engine.node.watched():
        engine.node.healed()
        time.sleep(1.5)
    assert engine.told == []


def test_missing_rules_are_reported(engine: Engine) -> None:
    assert "the rules of network policies are gone" in engine.node.check()
    engine.node.run(_RULES)
    assert "the rules of network policies are gone" not in engine.node.check()


def test_without_an_engine_nobody_asks_for_rules(node: Node) -> None:
    assert not node.network_policy.exists()
    assert "the rules of network policies are gone" not in node.check()
