"""Images made here: their layout, and that the same input gives the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kubeproof.components import oci


@pytest.fixture
def contents(tmp_path: Path) -> oci.Contents:
    program = tmp_path / "program"
    program.write_bytes(b"program's bytes")
    return oci.Contents(
        reference="localhost/kubeproof/test:1.0.0",
        arch="arm64",
        files={"/program": (program, 0o755)},
        links={"/alias": "program"},
        directories=("/tmp",),  # noqa: S108 -- in the image
        user="65532:65532",
        entrypoint=("/program",),
        arguments=("pause",),
        ports=("53/udp", "53/tcp"),
        labels={"org.opencontainers.image.version": "1.0.0"},
    )


class Archive:
    """An OCI image archive, read as a runtime does: every blob by its digest."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path)  # noqa: SIM115 -- as long as the test
        self.index = json.loads(self._read("index.json"))
        self.descriptor = self.index["manifests"][0]
        self.manifest = self.document(self.descriptor)
        self.config = self.document(self.manifest["config"])
        self.layer = self.blob(self.manifest["layers"][0])

    def document(self, descriptor: dict[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.blob(descriptor))
        return document

    def blob(self, descriptor: dict[str, Any]) -> bytes:
        data = self._read("blobs/" + descriptor["digest"].replace(":", "/"))
        assert "sha256:" + hashlib.sha256(data).hexdigest() == descriptor["digest"]
        assert len(data) == descriptor["size"]
        return data

    def _read(self, name: str) -> bytes:
        stream = self._tar.extractfile(name)
        assert stream is not None
        return stream.read()


def test_every_part_is_found_by_its_digest(contents: oci.Contents, tmp_path: Path) -> None:
    digest = oci.write_archive(contents, tmp_path / "image.tar")
    archive = Archive(tmp_path / "image.tar")
    assert archive.descriptor["digest"] == digest
    assert archive.descriptor["platform"] == {"architecture": "arm64", "os": "linux"}
    assert set(archive.descriptor["annotations"].values()) == {contents.reference}
    assert archive.config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(archive.layer).hexdigest()]


def test_the_configuration_says_how_to_run_it(contents: oci.Contents, tmp_path: Path) -> None:
    oci.write_archive(contents, tmp_path / "image.tar")
    config = Archive(tmp_path / "image.tar").config["config"]
    assert (config["Entrypoint"], config["Cmd"], config["User"]) == (["/program"], ["pause"], "65532:65532")
    assert set(config["ExposedPorts"]) == {"53/udp", "53/tcp"}
    assert config["Labels"] == {"org.opencontainers.image.version": "1.0.0"}


def test_the_file_system_is_roots_and_has_the_files(contents: oci.Contents, tmp_path: Path) -> None:
    oci.write_archive(contents, tmp_path / "image.tar")
    with tarfile.open(fileobj=io.BytesIO(Archive(tmp_path / "image.tar").layer)) as layer:
        entries = {entry.name: entry for entry in layer}
        program = layer.extractfile("program")
        assert program is not None
        assert program.read() == b"program's bytes"
    assert {name: entry.mode for name, entry in entries.items()} == {"tmp": 0o1777, "program": 0o755, "alias": 0o777}
    assert entries["alias"].linkname == "program"
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries.values()} == {(0, 0, 0)}


def test_the_same_input_gives_the_same_bytes(contents: oci.Contents, tmp_path: Path) -> None:
    first = oci.write_archive(contents, tmp_path / "first.tar")
    contents.files["/program"][0].touch()
    again = dataclasses.replace(contents, ports=("53/tcp", "53/udp"))
    assert oci.write_archive(again, tmp_path / "second.tar") == first
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


def test_another_program_is_another_image(contents: oci.Contents, tmp_path: Path) -> None:
    first = oci.write_archive(contents, tmp_path / "first.tar")
    contents.files["/program"][0].write_bytes(b"other bytes")
    assert oci.write_archive(contents, tmp_path / "second.tar") != first
