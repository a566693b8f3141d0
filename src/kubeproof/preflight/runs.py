"""Whether another run is changing the hosts: one of a controller, or of a user, that this state directory is not of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kubeproof.core.active_run import EXPIRES, ActiveRun
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.identity import Kept
from kubeproof.preflight.model import Host
from kubeproof.settings import state
from kubeproof.settings.host_report import HostRun


def check_runs(hosts: Sequence[Host], active: str | None) -> Iterator[Finding]:
    """A finding for each other run that has not ended. ``active``: this one; ``None`` if it changes nothing."""
    if active is not None:
        yield from other_runs({host.name: host.report["runs"] for host in hosts if host.report is not None}, active)


def check_upgrade(kept: Kept) -> Iterator[Finding]:
    """An upgrade that has begun and not ended: hosts have different versions, which a converge would change at once."""
    if (kept.state / state.UPGRADE).exists():
        yield Finding(
            "upgrade-unfinished",
            "an upgrade of this cluster is not finished, and hosts may have different versions",
            f"Finish it: ansible-playbook -i {kept.inventory} playbooks/upgrade.yml, or ./kubeproof upgrade. To go "
            "back: the same with -e upgrade_direction=back, or ./kubeproof upgrade back.",
        )


def other_runs(found: Mapping[str, Sequence[HostRun]], active: str) -> Iterator[Finding]:
    """A finding for each run by the hosts that know of it. Records that cannot be read name no run."""
    runs: dict[str, ActiveRun] = {}
    ages: dict[str, dict[str, float]] = {}
    for host, entries in found.items():
        for entry in entries:
            run = ActiveRun.parse(entry["record"])
            if run is not None and entry["id"] != active:
                runs[entry["id"]] = run
                ages.setdefault(entry["id"], {})[host] = entry["age"]
    for identity, run in runs.items():
        # It is one run: what it did last, on whichever host, is its sign of life.
        age = min(ages[identity].values())
        if not run.over(age):
            yield _at_work(run, age, list(ages[identity]))


def _at_work(run: ActiveRun, age: float, hosts: Sequence[str]) -> Finding:
    problem = f"another run is changing {', '.join(hosts)}: {run.described(age)}"
    elsewhere = (
        f"Wait until it has ended, on {run.machine.name}. If it has failed or was killed, it can be run again there; "
        f"from here the hosts are free {EXPIRES / 60:.0f} minutes after its last sign of life, or at once with "
        "other-run in preflight_ignore."
    )
    remediation = run.remediation(elsewhere)
    return Finding("other-run", problem, remediation[0].upper() + remediation[1:], run.id)
