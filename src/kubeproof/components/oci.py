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
from typing import IO, Any

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
class Digests:
    """What an image is known by: containerd names that of its manifest, the CRI that of its configuration."""

    manifest: str
    configuration: str


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
    with target.open("wb") as stream:
        return pack(stream, contents.reference, contents.arch, _config(contents), _layer(contents)).manifest


def pack(stream: IO[bytes], reference: str, arch: str, settings: Mapping[str, Any], content: bytes) -> Digests:
    """Write an image of one layer, the tar ``content``. ``settings``: more of its configuration."""
    layer = _Descriptor(f"{_OCI}.layer.v1.tar", content)
    config = _document(
        f"{_OCI}.config.v1+json",
        {
            "architecture": arch,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
            **settings,
        },
    )
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
                    platform={"architecture": arch, "os": "linux"},
                    # containerd names the image by the first, podman and skopeo by the second.
                    annotations={
                        "io.containerd.image.name": reference,
                        "org.opencontainers.image.ref.name": reference,
                    },
                )
            ],
        },
    )
    layout = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index.data}
    blobs = {"blobs/" + blob.digest.replace(":", "/"): blob.data for blob in (manifest, config, layer)}
    write_tar(stream, {**layout, **blobs})
    return Digests(manifest.digest, config.digest)


def write_tar(stream: IO[bytes], files: Mapping[str, bytes]) -> None:
    """Write files as a tar: owned by root, dated 1970, in the order in which they are given."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            entry = _entry(name, 0o644)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def _config(contents: Contents) -> dict[str, Any]:
    return {
        "config": {
            "User": contents.user,
            "ExposedPorts": {port: {} for port in sorted(contents.ports)},
            "Env": [_PATH],
            "Entrypoint": list(contents.entrypoint),
            "Cmd": list(contents.arguments),
            "WorkingDir": "/",
            "Labels": dict(contents.labels),
        },
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
