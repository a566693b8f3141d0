"""``ansible_facts['kubeproof_host'] | host_settings`` is a ``kubeproof.host_settings.HostSettings``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ansible.errors import AnsibleFilterError

from kubeproof import host_settings as settings
from kubeproof.host_report import HostReport


def host_settings(report: object) -> settings.HostSettings:
    """Settings that follow from a host's report, each with its reason."""
    if not isinstance(report, dict) or "cgroup" not in report:
        raise AnsibleFilterError(
            "host_settings: this is no report of a host that could be examined; run host_report first"
        )
    return settings.derive(cast(HostReport, report))


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"host_settings": host_settings}
