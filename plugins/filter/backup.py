"""Filters for the settings of backups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kubeproof.backup import calendar, target_settings
from kubeproof.settings import flags

# The API server's flags on which it depends how and where objects are in etcd, and which there are.
_STORAGE_FLAGS = (
    "emulated-version",
    "etcd-prefix",
    "feature-gates",
    "min-compatibility-version",
    "runtime-config",
    "storage-media-type",
)


def storage_flags(extra: Mapping[str, Any], service_network: str) -> list[str]:
    """What an API server has to be started with to read what the cluster's has stored; ``extra`` as the user set it."""
    chosen = {name: extra[name] for name in _STORAGE_FLAGS if name in extra}
    return [f"--service-cluster-ip-range={service_network}", *flags.render(chosen)]


# Admission plugins that do not start without a file of their own.
_WITH_FILES = frozenset({"EventRateLimit", "ImagePolicyWebhook"})


def rehearsal_flags(extra: Mapping[str, Any], service_network: str) -> list[str]:
    """The same for a rehearsal, which also writes: with the cluster's admission plugins, except for webhooks."""
    chosen: dict[str, list[str]] = {}
    for name in ("enable-admission-plugins", "disable-admission-plugins"):
        given = extra.get(name) or ()
        plugins = given.split(",") if isinstance(given, str) else list(given)
        kept = [each for each in plugins if each not in _WITH_FILES]
        chosen |= {name: kept} if kept else {}
    return [*storage_flags(extra, service_network), *flags.render(chosen)]


def unit_templates(units: Sequence[str]) -> list[dict[str, str]]:
    """Units, as ``install_component`` takes files that are made of templates."""
    return [{"template": f"etc/systemd/system/{unit}.j2"} for unit in units]


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "backup_target_files": target_settings.files,
            "backup_targets_for_hosts": target_settings.for_hosts,
            "calendar_interval": calendar.interval,
            "rehearsal_flags": rehearsal_flags,
            "storage_flags": storage_flags,
            "unit_templates": unit_templates,
        }
