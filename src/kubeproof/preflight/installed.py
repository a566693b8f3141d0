"""Settings that cannot change during a cluster's life, compared with those that its hosts were installed with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubeproof.preflight import service_proxy
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.settings import Variables
from kubeproof.settings import fixed, local_path


def check_installed(hosts: Sequence[Variables]) -> Iterator[Finding]:
    """Compare each host's settings with those in its install manifest, or else in the files that it was given."""
    for variables in hosts:
        host, values = variables.host, variables.values
        before = host.report["installed"]["settings"] if host.report is not None else {}
        for name in sorted(before.keys() & fixed.REASONS.keys() & values.keys()):
            now, then = fixed.recorded(values[name], name), fixed.recorded(before[name], name)
            if now != then and not _without_effect(name, values):
                problem = f"`{name}` is {now}, and it was installed with {then}: {fixed.REASONS[name]}"
                remediation = (
                    f"Set it back to {then}. Only a new cluster can have another value: playbooks/reset.yml "
                    "uninstalls this one."
                )
                yield Finding("installed-setting", problem, remediation, name, host.name)
        yield from service_proxy.check_change(host, values)


def _without_effect(name: str, values: Mapping[str, Any]) -> bool:
    """Whether nothing is installed that reads a setting, which may then be left out of the inventory."""
    return name == local_path.DIRECTORY and not local_path.on(values)
