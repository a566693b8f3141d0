"""Backups and hosts as restores meet them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from kubeproof.backup.agent.manifest import File, Manifest
from kubeproof.restore.checking import Look

CA_DIGEST = "a" * 64
GIBIBYTE = 1 << 30


def manifest(**changes: Any) -> Manifest:
    """A manifest, but for what is changed."""
    made = Manifest(
        name="20261121T174502Z-cp1",
        cluster="example",
        authority=CA_DIGEST,
        cluster_id="1f",
        member="cp1",
        member_id="2f",
        trigger="schedule",
        begun="2026-11-21T17:45:02Z",
        finished="2026-11-21T17:45:03Z",
        seconds=1.0,
        revision=1000,
        hash=7,
        keys=300,
        size=4096,
        quorum=True,
        versions={"etcd": "3.6.1", "etcdctl": "3.6.1", "storage": "3.6.0"},
        files={"snapshot.db": File(1, "0" * 64)},
    )
    return replace(made, **changes)


def backup(directory: Path, **changes: Any) -> Path:
    """A whole backup, as far as it can be without etcd: pages, the digest behind them, and a manifest."""
    told = manifest(**changes)
    path = directory / told.name
    path.mkdir(parents=True)
    pages = bytes(range(256)) * 16
    content = pages + hashlib.sha256(pages).digest()
    (path / "snapshot.db").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    whole = replace(told, files={"snapshot.db": File(len(content), digest)})
    (path / "manifest.json").write_bytes(whole.render())
    return path


def look(host: str, **changes: Any) -> Look:
    """A host with a member that is well."""
    return replace(Look(host=host, there=True, active=True, free=10 * GIBIBYTE, live=live(host)), **changes)


def live(host: str, *, members: str = "cp1 cp2 cp3", learners: str = "", **changes: Any) -> dict[str, Any]:
    """What a member that is well says. IDs are made of names."""
    known = [
        {
            "name": name,
            "id": f"id-{name}",
            "url": f"https://{name}:2379",
            "peer_url": f"https://{name}:2380",
            "started": True,
            "learner": name in learners.split(),
            "self": name == host,
        }
        for name in members.split()
    ]
    return {
        "cluster_id": "1f",
        "member_id": f"id-{host}",
        "revision": 1200,
        "leader": True,
        "members": known,
        "others": [each for each in known if each["name"] != host],
        **changes,
    }
