"""``drill``: prove that a backup restores, by restoring it."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator

from kubeproof.backup.agent import backups, check, drill_api, files, manifest, programs, scratch
from kubeproof.backup.agent.configuration import Configuration
from kubeproof.backup.agent.errors import BackupError, Damaged, Ended
from kubeproof.backup.agent.manifest import Manifest
from kubeproof.backup.agent.records import Records, now
from kubeproof.backup.agent.scratch import ScratchEtcd

RESULTS = "drills"
"""Directory of the results, in the state directory."""
_KEPT_RESULTS = 3
# A snapshot is restored once, and what the scratch programs write besides is small.
_ROOM = 1.2
_ROOM_BYTES = 128 << 20
# So many keys are read with their values, spread evenly.
_SAMPLE = 2000
_REGISTRY = "/registry/"


@dataclass
class Proof:
    """What a drill has seen. ``steps``: seconds of each; ``keys``: how many of each kind of key there are."""

    name: str
    revision: int
    began: float = field(default_factory=time.monotonic)
    steps: dict[str, float] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    sample: dict[str, int] = field(default_factory=dict)
    objects: dict[str, dict[str, str]] | None = None

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step, and name it in what goes wrong in it."""
        started = time.monotonic()
        try:
            yield
        except OSError as error:
            told = "%s: %s: %s" % (self.name, name, error)
            # A full disk is recognized by its number. One that timed out has none.
            raise (OSError(error.errno, told) if error.errno else BackupError(told)) from error
        except Ended as error:
            raise Ended("%s: %s: %s" % (self.name, name, error)) from None
        except BackupError as error:
            raise BackupError("%s: %s: %s" % (self.name, name, error)) from None
        finally:
            self.steps[name] = round(time.monotonic() - started, 3)


def drill(configuration: Configuration, name: str | None = None, encryption: bytes | None = None) -> str:
    """Restore the newest backup that is not proven yet, or the one named, and compare; says what was proven.

    ``encryption``: the API server's encryption configuration, if the unit does not have it. Raises BackupError
    that names the step, what was seen and what was expected.
    """
    with backups.reading(configuration.directory):
        path = _choose(configuration, name)
        if path is None:
            return "nothing to do: " + _why_nothing(configuration)
        proof = _prove(configuration, path, encryption)
    _record(configuration, proof)
    served = "" if proof.objects is None else ", %d objects served by an API server" % _count(proof.objects)
    told = (proof.name, proof.revision, sum(proof.keys.values()), served, proof.sample["objects"], _total(proof))
    return "%s is proven: revision %d, %d keys%s; %d of them read back; %.1f s" % told


def _choose(configuration: Configuration, name: str | None) -> Path | None:
    if name:
        path = configuration.directory / name
        if not manifest.is_name(name) or not path.is_dir():
            raise BackupError("there is no backup %s in %s: `kubeproof-backup list`" % (name, configuration.directory))
        return path
    # A damaged one is what drills are to find, too.
    listed = backups.future_last(backups.listing(configuration.directory), time.time())
    newest = next(iter(listed), None)
    return None if newest is None or newest.name == _proven(configuration) else newest.path


def _why_nothing(configuration: Configuration) -> str:
    proven = _proven(configuration)
    return "%s, the newest here, is proven" % proven if proven else "there is no backup on this host"


def _proven(configuration: Configuration) -> str:
    return str((Records(configuration.state).status()["proven"] or {}).get("name", ""))


def limit(configuration: Configuration) -> float:
    """How long a drill may take, in seconds."""
    return float(configuration.drill.get("timeout", configuration.timeout))


def _prove(configuration: Configuration, path: Path, encryption: bytes | None) -> Proof:
    # Of each step alone. That all together take no longer is the job's to see to.
    timeout = limit(configuration)
    try:
        expected = manifest.read(path)
    except Damaged as error:
        raise BackupError("%s: check: %s" % (path.name, error)) from None
    proof = Proof(path.name, expected.revision)
    with proof.step("check"):
        check.check(path, configuration.programs.etcdutl, configuration.etcd.ca_digest, timeout)
        _require_space(configuration, expected)
    with scratch.directory(configuration.directory) as where:
        snapshot = path / manifest.SNAPSHOT
        with proof.step("read"):
            content = scratch.content_hash(configuration.programs.etcdutl, snapshot, where, expected.revision, timeout)
        with proof.step("restore"):
            restored = scratch.Restored(configuration.programs, snapshot, where, timeout)
            compare_database(restored.database, expected, configuration.programs.etcdutl, timeout)
        with contextlib.ExitStack() as stack:
            with proof.step("start"):
                etcd = stack.enter_context(restored.running())
            with proof.step("compare"):
                compare_content(etcd, expected, content)
            with proof.step("read back"):
                read_back(etcd, proof, expected.revision)
            if configuration.drill.get("apiserver"):
                with proof.step("API server"):
                    settings = {**configuration.drill["apiserver"], "secret": encryption}
                    proof.objects = drill_api.objects(settings, etcd.url, where, expected.revision, timeout)
                    compare_objects(proof)
    return proof


def compare_database(database: Path, expected: Manifest, etcdutl: str, timeout: float) -> None:
    """Compare what was restored, before an etcd runs on it, with the manifest. Raises BackupError.

    The hash is another one than the snapshot's: a restore writes the new cluster's members beside the keys.
    """
    status = programs.snapshot_status(etcdutl, database, timeout)
    for name in ("revision", "keys"):
        seen, written = getattr(status, name), getattr(expected, name)
        if seen != written:
            raise BackupError("the restored data has %s %d, the manifest says %d" % (name, seen, written))


def compare_content(etcd: ScratchEtcd, expected: Manifest, content: int | None) -> None:
    """Compare what the scratch etcd serves with the manifest and with the snapshot itself. Raises BackupError.

    ``content``: the hash of the snapshot's keys, if it is known.
    """
    revision = etcd.revision()
    # Later than the snapshot it is once a lease has ended, which on a slow host is before it is asked.
    if revision < expected.revision:
        raise BackupError("etcd serves revision %d, the manifest says %d" % (revision, expected.revision))
    found = etcd.hash_kv(expected.revision)
    if content is not None and found != content:
        raise BackupError(
            "etcd's keys have hash %d at revision %d, the snapshot's %d" % (found, expected.revision, content)
        )


def read_back(etcd: ScratchEtcd, proof: Proof, revision: int) -> None:
    """Count all keys of a revision by kind, and read a sample of them with their values. Raises BackupError."""
    keys = list(etcd.keys(revision))
    count = etcd.count(revision)
    if len(keys) != count:
        raise BackupError("etcd lists %d keys of the %d that it has" % (len(keys), count))
    for key in keys:
        proof.keys[kind(key)] = proof.keys.get(kind(key), 0) + 1
    stride = max(1, len(keys) // _SAMPLE)
    read = 0
    sample = keys[::stride]
    for key in sample:
        found = etcd.get(key, revision)
        if found is None:
            raise BackupError("etcd lists %s, but cannot read it" % key)
        if key.startswith(_REGISTRY) and not found.value:
            raise BackupError("%s is empty" % key)
        read += len(found.value)
    proof.sample = {"objects": len(sample), "bytes": read}


def kind(key: str) -> str:
    """Of what kind a key is: in Kubernetes' part of etcd its resource, with the group if there is one; else its top."""
    parts = key.strip("/").split("/")
    if parts[0] != "registry" or len(parts) < 2:
        return parts[0]
    return "/".join(parts[1:3]) if "." in parts[1] and len(parts) > 3 else parts[1]


def compare_objects(proof: Proof) -> None:
    """An API server that lists nothing where there are keys has not read them. Raises BackupError."""
    served = _count(proof.objects or {})
    if proof.keys.get("namespaces", 0) != len((proof.objects or {}).get("namespaces", {})):
        raise BackupError(
            "the API server lists %d namespaces, etcd has %d"
            % (len((proof.objects or {}).get("namespaces", {})), proof.keys.get("namespaces", 0))
        )
    if not served and any(count for name, count in proof.keys.items()):
        raise BackupError("the API server lists nothing, and etcd has %d keys" % sum(proof.keys.values()))


def _count(objects: dict[str, dict[str, str]]) -> int:
    return sum(map(len, objects.values()))


def _total(proof: Proof) -> float:
    return round(time.monotonic() - proof.began, 3)


def _require_space(configuration: Configuration, expected: Manifest) -> None:
    about = os.statvfs(str(configuration.directory))
    free, needed = about.f_bavail * about.f_frsize, int(expected.size * _ROOM) + _ROOM_BYTES + configuration.keep.free
    if free < needed:
        raise BackupError(
            "%s has %d bytes free; restoring %d bytes there takes %d, of which backup_keep_free must stay free: "
            "free disk space" % (configuration.directory, free, expected.size, needed)
        )


def _record(configuration: Configuration, proof: Proof) -> None:
    """Note what was proven, and keep the result with all that was listed."""
    about: dict[str, Any] = {
        "name": proof.name,
        "at": now(),
        "seconds": _total(proof),
        "revision": proof.revision,
        "steps": proof.steps,
        "keys": sum(proof.keys.values()),
        "objects": None if proof.objects is None else _count(proof.objects),
    }
    results = configuration.state / RESULTS
    results.mkdir(mode=0o700, exist_ok=True)
    whole = {"schema": 1, **about, "kinds": proof.keys, "sample": proof.sample, "objects": proof.objects}
    files.write(results / (proof.name + ".json"), files.render(whole))
    for old in sorted(results.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-_KEPT_RESULTS]:
        old.unlink()
    records = Records(configuration.state)
    with records.changing() as status:
        status["proven"] = about
    records.tell("drill", **about)
