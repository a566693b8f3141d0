"""Settings that cannot change during a cluster's life, compared with those that its hosts were installed with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.settings import Variables
from kubeproof.settings import fixed


def check_installed(hosts: Sequence[Variables]) -> Iterator[Finding]:
    """Compare each host's settings with those in its install manifest, if they are recorded there."""
    for variables in hosts:
        host, values = variables.host, variables.values
        before = host.report["installed"]["settings"] if host.report is not None else {}
        for name in sorted(before.keys() & fixed.REASONS.keys() & values.keys()):
            now = fixed.recorded(values[name])
            if now != before[name]:
                problem = f"`{name}` is {now}, and it was installed with {before[name]}: {fixed.REASONS[name]}"
                remediation = (
                    f"Set it back to {before[name]}. Only a new cluster can have another value: playbooks/reset.yml "
                    "uninstalls this one."
                )
                yield Finding("installed-setting", problem, remediation, name, host.name)
