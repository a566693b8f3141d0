"""Filters about a host's packages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

from ansible.errors import AnsibleFilterError

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import host_packages
from kubeproof.settings.host_report import HostReport


def missing_packages(
    packages: host_packages.Packages, report: Mapping[str, Any], groups: Collection[str], **settings: Any
) -> list[str]:
    """Packages that a host of these groups lacks; ``kubeproof.settings.host_packages`` decides."""
    try:
        found = host_packages.missing(packages, cast(HostReport, report), groups, settings)
    except KubeproofError as error:
        raise AnsibleFilterError(str(error)) from error
    return sorted(set(found.values()))


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"missing_packages": missing_packages}
