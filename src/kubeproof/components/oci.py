"""Container images made here from a static program: an OCI image layout in one tar, the same bytes for the same input.

The archive can be imported by containerd (``ctr images import``), podman and skopeo. Layers are not compressed:
unpacking them is most of what an import costs a node, and the archive crosses the network once.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OCI = "application/vnd.oci.image"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Contents:
    """What an image holds. ``files``: source and mode by path in the image; ``links``: target by path."""

    reference: str
    arch: str
    files: Mapping[str, tuple[Path, int]]
    links: Mapping[str, str]
    directories: Sequence[str]
    user: str
    entrypoint: Sequence[str]
    arguments: Sequence[str]
    ports: Sequence[str]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class _Descriptor:
    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.data).hexdigest()

    def json(self, **extra: Any) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **extra}


def write_archive(contents: Contents, target: Path) -> str:
    """Write the image to ``target`` and return its digest (``sha256:…``), under which a runtime lists it."""
    layer = _Descriptor(f"{_OCI}.layer.v1.tar", _layer(contents))
    config = _document(f"{_OCI}.config.v1+json", _config(contents, layer.digest))
    manifest = _document(
        f"{_OCI}.manifest.v1+json",
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": config.json(),
            "layers": [layer.json()],
        },
    )
    index = _document(
        f"{_OCI}.index.v1+json",
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.index.v1+json",
            "manifests": [
                manifest.json(
                    platform={"architecture": contents.arch, "os": "linux"},
                    # containerd names the image by the first, podman and skopeo by the second.
                    annotations={
                        "io.containerd.image.name": contents.reference,
                        "org.opencontainers.image.ref.name": contents.reference,
                    },
                )
            ],
        },
    )
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        _add_bytes(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add_bytes(archive, "index.json", index.data)
        for blob in (manifest, config, layer):
            _add_bytes(archive, "blobs/" + blob.digest.replace(":", "/"), blob.data)
    return manifest.digest


def _config(contents: Contents, layer: str) -> dict[str, Any]:
    return {
        "architecture": contents.arch,
        "os": "linux",
        "config": {
            "User": contents.user,
            "ExposedPorts": {port: {} for port in sorted(contents.ports)},
            "Env": [_PATH],
            "Entrypoint": list(contents.entrypoint),
            "Cmd": list(contents.arguments),
            "WorkingDir": "/",
            "Labels": dict(contents.labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "history": [{"created_by": "kubeproof", "comment": "made from a locally built program"}],
    }


def _document(media_type: str, value: Mapping[str, Any]) -> _Descriptor:
    return _Descriptor(media_type, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def _layer(contents: Contents) -> bytes:
    """The file system as a tar: sorted, owned by root, dated 1970. Parents come before what is in them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(contents.directories):
            entry = _entry(path, 0o1777)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for path, (source, mode) in sorted(contents.files.items()):
            entry = _entry(path, mode)
            entry.size = source.stat().st_size
            with source.open("rb") as stream:
                archive.addfile(entry, stream)
        for path, link in sorted(contents.links.items()):
            entry = _entry(path, 0o777)
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
    return buffer.getvalue()


def _entry(path: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.mode = mode
    return entry


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = _entry(name, 0o644)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
