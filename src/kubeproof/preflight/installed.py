"""Settings that a cluster keeps for its life, against those that its hosts were installed with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.settings import Variables
from kubeproof.settings import fixed


def check_installed(hosts: Sequence[Variables]) -> Iterator[Finding]:
    """Each host's settings against what it remembers. What it does not remember is not compared."""
    for variables in hosts:
        host, values = variables.host, variables.values
        before = host.report["installed"]["settings"] if host.report is not None else {}
        for name in sorted(before.keys() & fixed.REASONS.keys() & values.keys()):
            now = fixed.recorded(values[name])
            if now != before[name]:
                wrong = f"`{name}` is {now}, and it was installed with {before[name]}: {fixed.REASONS[name]}"
                mend = (
                    f"Set it back to {before[name]}. Only a new cluster can have another: playbooks/reset.yml takes "
                    "this one away."
                )
                yield Finding("installed-setting", wrong, mend, name, host.name)
