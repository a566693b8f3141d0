"""Whatever breaks, one at a time: nothing is lost, no read is stale, one leads, the cluster recovers by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kubeproof.settings.inventory import Inventory
from kubeproof.verify.engine import results
from kubeproof.verify.faults import page
from kubeproof.verify.faults.campaign import Campaign
from kubeproof.verify.faults.kinds import Kind

REPORT = Path("reports") / "faults.json"
"""In the inventory's state directory, with its page beside it."""


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
    results.write(document, path)
    page.write(document, path.with_suffix(".html"))
    tell("")
    tell(f"  {'kind':<28} {'times':>5} {'no write for':>13} {'no answer for':>14} {'whole after':>12}   governed by")
    for kind in document["kinds"]:
        tell(
            f"  {kind['kind']:<28} {kind['count']:>5} {kind['writes_unavailable']:>11.1f} s "
            f"{kind['application_unavailable']:>12.1f} s {kind['recovery']:>10.1f} s   {', '.join(kind['settings'])}"
        )
        if "outside_unavailable" in kind:
            tell(f"  {'':<28} {'':>5} a client outside had no answer for {kind['outside_unavailable']:.1f} s")
    for kind, reason in document["left_out"].items():
        tell(f"  {kind:<28} left out: {reason}")
    acknowledged = document["counts"].get("write", {}).get("ok", 0)
    tell(f"{len(document['faults'])} faults, {acknowledged} writes acknowledged, {document['lost']} of them lost")
    tell(f"Report: {path}")
    tell(f"Page:   {path.with_suffix('.html')}")

    if outcome.interrupted:
        raise KeyboardInterrupt
    assert document["verdict"] == "survived", "\n".join(document["failures"][:10])
