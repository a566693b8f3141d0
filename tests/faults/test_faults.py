"""Whatever breaks, one thing at a time: nothing is lost, no read is stale, one leads, and the cluster mends itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kubeproof.faults.campaign import Campaign
from kubeproof.faults.kinds import Kind
from kubeproof.inventory import Inventory
from kubeproof.verify import report

REPORT = Path("reports") / "faults.json"
"""In the inventory's state directory."""
# Generous: what a fault costs is measured, not tested; this is what nobody would call available.
_UNAVAILABLE_SECONDS = 60.0


def test_faults(
    campaign: Campaign,
    kinds: Sequence[Kind],
    described: Inventory,
    tell: Callable[[str], None],
    pytestconfig: pytest.Config,
) -> None:
    outcome = campaign.run(
        kinds,
        pytestconfig.getoption("count"),
        pytestconfig.getoption("seed"),
        pytestconfig.getoption("minutes") * 60,
    )
    document = outcome.document()
    path = described.state / REPORT
    report.write(document, path)
    tell("")
    tell(f"  {'kind':<28} {'times':>5} {'no write for':>13} {'no answer for':>14} {'whole after':>12}   governed by")
    for kind in document["kinds"]:
        tell(
            f"  {kind['kind']:<28} {kind['count']:>5} {kind['writes_unavailable']:>11.1f} s "
            f"{kind['application_unavailable']:>12.1f} s {kind['recovery']:>10.1f} s   {', '.join(kind['settings'])}"
        )
    for kind, reason in document["left_out"].items():
        tell(f"  {kind:<28} left out: {reason}")
    acknowledged = document["counts"].get("write", {}).get("ok", 0)
    tell(f"{len(document['faults'])} faults, {acknowledged} writes acknowledged, {document['lost']} of them lost")
    tell(f"Report: {path}")

    assert document["faults"], "no fault happened"
    assert acknowledged, "no write was acknowledged, so that none could have been lost"
    assert not document["violations"], "\n".join(each["what"] for each in document["violations"][:10])
    broken = [f"{each['kind']} on {each['host']}: {each['missing']}" for each in document["faults"] if each["missing"]]
    assert not broken, f"the cluster did not mend itself after {'; '.join(broken)}"
    for each in document["faults"]:
        for what in ("writes_unavailable", "application_unavailable"):
            assert each[what] < _UNAVAILABLE_SECONDS, f"{each['kind']} on {each['host']}: {what} for {each[what]} s"
