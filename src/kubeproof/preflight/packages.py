"""Whether the packages that a host lacks can be installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import Host
from kubeproof.settings.host_packages import MANAGERS, missing, needed


def check_packages(host: Host, values: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings that would make the role `host` fail."""
    if host.report is None:
        return
    packages, manager = values["host_packages"], host.report["package_manager"]
    if not manager:
        # Of a system that is made as a whole, whose packages have no names here.
        commands = [
            each for each in sorted(needed(packages, host.groups, values)) if not host.report["commands"].get(each)
        ]
        if commands:
            problem = f"it lacks {', '.join(commands)}, and has no package manager"
            remediation = "Add them to its image, or as a system extension (systemd-sysext)."
            yield Finding("packages", problem, remediation, host=host.name)
        return
    try:
        lacking = missing(packages, host.report, host.groups, values)
    except KubeproofError as error:
        yield Finding("packages", str(error.args[0]), f"{error.hint[:1].upper()}{error.hint[1:]}.", host=host.name)
        return
    if lacking and manager not in MANAGERS:
        commands, names = list(lacking), " ".join(sorted(set(lacking.values())))
        problem = f"it lacks {', '.join(commands)}, and kubeproof installs packages with {' or '.join(MANAGERS)} only"
        yield Finding("packages", problem, f"Install these packages manually: {names}.", host=host.name)
