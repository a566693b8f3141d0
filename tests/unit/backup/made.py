"""Configurations of the program on the host that makes backups, made for tests."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from kubeproof.backup.agent.configuration import Configuration
from kubeproof.pki import cas


def configuration(directory: Path, **more: Any) -> Configuration:
    """One of the host cp1, with all that it works on in a directory, and a CA of etcd's there."""
    for name in ("backups", "state"):
        (directory / name).mkdir(exist_ok=True)
    cas.ensure_cas(directory / "pki", "test", datetime.timedelta(days=1))
    etcd = {name: str(directory / "pki" / f"client.{name}") for name in ("certificate", "key")}
    url = "https://127.0.0.1:1"
    return Configuration.parse(
        {
            "cluster": "test",
            "host": "cp1",
            "user": "root",
            "directory": str(directory / "backups"),
            "state": str(directory / "state"),
            "keys": "",
            "etcd": {**etcd, "endpoint": url, "endpoints": [url], "ca": str(directory / "pki" / "etcd.crt")},
            "interval": 3600,
            "overdue": 7200,
            "timeout": 30,
            "keep": {"last": 1, "hourly": 0, "daily": 0, "weekly": 0, "bytes": 0, "free": 0},
            **more,
        }
    )
