"""Metrics for node_exporter's textfile collector."""

from __future__ import annotations

import contextlib
from typing import Any, Mapping

from kubeproof.backup.agent import files
from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.records import epoch

NAME = "etcd_backup.prom"


def write(configuration: Configuration, status: Mapping[str, Any]) -> None:
    """Replace the file."""
    directory = configuration.state / "metrics"
    directory.mkdir(exist_ok=True)
    # Whatever the umask: node_exporter reads it as another user.
    directory.chmod(0o755)
    files.write(directory / NAME, render(configuration, status).encode(), 0o644)


def render(configuration: Configuration, status: Mapping[str, Any]) -> str:
    """The metrics' text. What has never happened has no value: an alert on its absence is what one wants then."""
    lines: list[str] = []

    def add(metric: str, kind: str, text: str, samples: Mapping[str, Any]) -> None:
        known = {labels: value for labels, value in samples.items() if value is not None}
        if known:
            lines.extend(["# HELP %s %s" % (metric, text), "# TYPE %s %s" % (metric, kind)])
            lines.extend("%s%s %s" % (metric, labels, _number(value)) for labels, value in sorted(known.items()))

    backup: Mapping[str, Any] = status["backup"] or {}
    cluster: Mapping[str, Any] = status["cluster"] or {}
    proven: Mapping[str, Any] = status["proven"] or {}
    attempts: Mapping[str, Mapping[str, Any]] = status["attempts"]
    targets: Mapping[str, Mapping[str, Any]] = status["targets"]
    add("etcd_backup_interval_seconds", "gauge", "Longest time between two runs of the schedule.",
        {"": configuration.interval})  # fmt: skip
    add("etcd_backup_last_success_timestamp_seconds", "gauge", "When this host's last good backup was finished.",
        {"": _time(backup.get("finished"))})  # fmt: skip
    add("etcd_backup_cluster_last_success_timestamp_seconds", "gauge",
        "When the last good backup that this host knows of was finished, on whichever host.",
        {"": _time(cluster.get("finished"))})  # fmt: skip
    add("etcd_backup_duration_seconds", "gauge", "How long this host's last good backup took.",
        {"": backup.get("seconds")})  # fmt: skip
    add("etcd_backup_size_bytes", "gauge", "Size of the snapshot in this host's last good backup.",
        {"": backup.get("size")})  # fmt: skip
    add("etcd_backup_revision", "gauge", "etcd's revision in this host's last good backup.",
        {"": backup.get("revision")})  # fmt: skip
    add("etcd_backup_last_attempt_timestamp_seconds", "gauge", "When a job was last tried.",
        {_labels(job=job): _time(attempt.get("at")) for job, attempt in attempts.items()})  # fmt: skip
    add("etcd_backup_last_attempt_success", "gauge", "Whether a job's last attempt succeeded.",
        {_labels(job=job): int(bool(attempt.get("ok"))) for job, attempt in attempts.items()})  # fmt: skip
    add("etcd_backup_failures_total", "counter", "Attempts that failed.",
        {_labels(job=job): count for job, count in status["failures"].items()})  # fmt: skip
    add("etcd_backup_target_success", "gauge", "Whether the last copy to a target succeeded.",
        {_labels(target=name): int(bool(target.get("ok"))) for name, target in targets.items()})  # fmt: skip
    add("etcd_backup_last_proven_restore_timestamp_seconds", "gauge", "When a backup was last restored as a drill.",
        {"": _time(proven.get("at"))})  # fmt: skip
    return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    pairs = ('%s="%s"' % (name, _escaped(value)) for name, value in labels.items())
    return "{%s}" % ",".join(pairs)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _time(text: Any) -> float | None:
    with contextlib.suppress(ValueError, TypeError):
        return epoch(text)
    return None


def _number(value: Any) -> str:
    return "%d" % value if float(value).is_integer() else "%.3f" % value
