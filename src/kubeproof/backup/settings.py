"""What is wrong with the settings of backups, said before a host is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from kubeproof.backup import calendar, target_settings
from kubeproof.core.errors import KubeproofError

_NOT_NEGATIVE = (
    "backup_keep_hourly",
    "backup_keep_daily",
    "backup_keep_weekly",
    "backup_keep_bytes",
    "backup_keep_free",
    "backup_random_delay",
)
_LONGEST_TIMEOUT = 86400
# An etcd and an API server with nothing in them take 350 MB.
_LEAST_MEMORY = 1 << 29


def problems(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings of the right type that mean nothing, each with what is wrong."""
    return [*_schedule(values), *_numbers(values), *_recipients(values), *_paths(values), *_others(values)]


def _schedule(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "backup_schedule" not in values:
        return
    try:
        interval = calendar.interval(str(values["backup_schedule"]))
    except KubeproofError as error:
        yield "backup_schedule", f"{error.args[0]}; {error.hint}"
        return
    delay = int(values.get("backup_random_delay", 0))
    if delay * 2 >= interval:
        # A host whose turn comes late would take the last run's backup for the one of this run.
        yield "backup_random_delay", f"{delay} s is not less than half of the {interval} s between two runs"


def _others(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Copies and drills."""
    for problem in target_settings.problems(values.get("backup_targets") or ()):
        yield "backup_targets", problem
    for name in ("backup_copy_schedule", "backup_drill_schedule"):
        if name in values:
            try:
                calendar.interval(str(values[name]))
            except KubeproofError as error:
                yield name, f"{error.args[0]}; {error.hint}"
    if not 1 <= int(values.get("backup_drill_timeout", 1)) <= _LONGEST_TIMEOUT:
        wrong = f"{values['backup_drill_timeout']} is not a number of seconds from 1 to {_LONGEST_TIMEOUT}"
        yield "backup_drill_timeout", wrong
    if int(values.get("backup_drill_memory", _LEAST_MEMORY)) < _LEAST_MEMORY:
        yield "backup_drill_memory", f"{values['backup_drill_memory']} bytes are less than {_LEAST_MEMORY}"


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _NOT_NEGATIVE:
        if int(values.get(name, 0)) < 0:
            yield name, f"{values[name]} is less than 0"
    if int(values.get("backup_keep_last", 1)) < 1:
        yield "backup_keep_last", f"{values['backup_keep_last']} is less than 1: the newest backup is always kept"
    if not 1 <= int(values.get("backup_timeout", 1)) <= _LONGEST_TIMEOUT:
        yield "backup_timeout", f"{values['backup_timeout']} is not a number of seconds from 1 to {_LONGEST_TIMEOUT}"


def _recipients(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    recipients = values.get("backup_recipients") or ()
    if recipients:
        from kubeproof.backup import keys

        for problem in keys.wrong_recipients(map(str, recipients)):
            yield "backup_recipients", problem


def _paths(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    directory = PurePosixPath(str(values.get("backup_directory", "/var/backups/etcd")))
    data = PurePosixPath(str(values.get("etcd_data_directory", "/var/lib/etcd")))
    if directory == data or data in directory.parents:
        yield "backup_directory", f"{directory} is in etcd's own data directory, and goes when that goes"
    hook = values.get("backup_on_failure") or ()
    if hook and not str(hook[0]).startswith("/"):
        yield "backup_on_failure", f"{hook[0]!r} is not the absolute path of a command"
