"""Whether the packages that a host lacks can be installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import Host
from kubeproof.settings.host_packages import MANAGERS, missing


def check_packages(host: Host, values: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings that would make the role `host` fail."""
    if host.report is None:
        return
    try:
        lacking = missing(values["host_packages"], host.report, host.groups, values)
    except KubeproofError as error:
        yield Finding("packages", str(error.args[0]), f"{error.hint[:1].upper()}{error.hint[1:]}.", host=host.name)
        return
    if lacking and host.report["package_manager"] not in MANAGERS:
        commands, packages = ", ".join(lacking), " ".join(sorted(set(lacking.values())))
        if host.report["package_manager"]:
            problem = f"it lacks {commands}, and kubeproof installs packages with {' or '.join(MANAGERS)} only"
            remediation = f"Install these packages manually: {packages}."
        else:
            problem = f"it lacks {commands}, and has no package manager"
            remediation = (
                f"Add what these packages have to its image, or as a system extension (systemd-sysext): {packages}."
            )
        yield Finding("packages", problem, remediation, host=host.name)
