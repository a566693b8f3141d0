"""The cluster's keys for its backups: CAs, service-account key and encryption key, encrypted with age.

A backup of etcd alone restores no cluster: Secrets stay unreadable, and every credential is void. Hosts are given the
ciphertext only.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyrage
from cryptography import x509

from kubeproof.core import files, locking
from kubeproof.core.errors import KubeproofError
from kubeproof.pki import cas

How = Literal["encrypted", "plain", "none"]
IDENTITY = "backup-identity.txt"
"""The private key that is made where the settings name no recipients, in the inventory's state directory."""
_NAMES = frozenset(
    [f"{name}.{suffix}" for name in cas.CAS for suffix in ("crt", "key")]
    + [f"{cas.SERVICE_ACCOUNT}.pub", f"{cas.SERVICE_ACCOUNT}.key", f"{cas.ENCRYPTION_KEY}.key"]
)
_DIRECTORY = "pki"
# Each is a few kilobytes; a tar that claims more is none of ours.
_LARGEST = 1 << 20
# A first installation comes to its backups sooner after it has made the CAs.
_INSTALLATION = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Bundle:
    """What goes into each backup: the file's name and content. ``warning``: what its owner has to know of it."""

    name: str
    content: bytes
    warning: str = ""


def ensure(state: Path, how: How, recipients: Sequence[str]) -> Bundle | None:
    """The keys of the cluster with this state directory, as they go into its backups; None if they do not.

    Encryption gives other bytes each time, so that the ciphertext is kept, and only replaced if the keys or the
    recipients have changed.
    """
    if how == "none":
        return None
    plain = archive(state / "pki")
    if how == "plain":
        return Bundle("keys.tar", plain)
    directory = state / "backup-keys"
    directory.mkdir(mode=0o700, exist_ok=True)
    # All hosts of a play ask at once.
    with locking.locked(directory / ".lock"):
        had_identity = (state / IDENTITY).exists()
        wanted = sorted(set(recipients)) or [own_recipient(state)]
        made_of = {"keys": hashlib.sha256(plain).hexdigest(), "recipients": wanted}
        content, kept = directory / "keys.tar.age", directory / "made.json"
        if not _is_of(content, kept, made_of):
            encrypted = encrypt(plain, wanted)
            files.write_private(content, encrypted)
            files.write_private(kept, json.dumps({**made_of, "sha256": hashlib.sha256(encrypted).hexdigest()}))
        created = not had_identity and (state / IDENTITY).exists()
        return Bundle(content.name, content.read_bytes(), _only_the_new_one_opens(state) if created else "")


def _is_of(content: Path, kept: Path, made_of: Mapping[str, object]) -> bool:
    try:
        digest = hashlib.sha256(content.read_bytes()).hexdigest()
        return bool(json.loads(kept.read_text()) == {**made_of, "sha256": digest})
    except (FileNotFoundError, ValueError):
        return False


def _only_the_new_one_opens(state: Path) -> str:
    """What is to be said of a private key that was just made; nothing on a first installation."""
    made = x509.load_pem_x509_certificate((state / "pki" / "etcd.crt").read_bytes()).not_valid_before_utc
    if datetime.datetime.now(tz=datetime.UTC) - made < _INSTALLATION:
        return ""
    return (
        f"{state / IDENTITY} was missing and has been created anew: from now on the keys in backups can be decrypted "
        "with this file only. A copy of a former one decrypts older backups only. Copy it to where the backups are not"
    )


def own_recipient(state: Path) -> str:
    """The recipient whose private key is in the state directory; it is made if it is not there."""
    path = state / IDENTITY
    if not path.exists():
        _write_identity(path, pyrage.x25519.Identity.generate())
    return str(identities(path.read_text(), str(path))[0].to_public())


def _write_identity(path: Path, identity: pyrage.x25519.Identity) -> None:
    text = f"# Opens the keys in this cluster's backups. Keep a copy where the backups are not.\n{identity}\n"
    files.write_private(path, text)


def keep_identity(state: Path, encrypted: bytes, identity: Path, recipients: Sequence[str]) -> None:
    """Put the private key that decrypts ``encrypted`` into a state directory that has lost it.

    Otherwise another one would be made, and a copy of this one would decrypt no later backup. With ``recipients``, the
    cluster's, private keys are their owners' to keep.
    """
    path = state / IDENTITY
    if not recipients and not path.exists():
        _write_identity(path, next(each for each in _read(identity) if _decrypts(encrypted, each)))


def archive(directory: Path) -> bytes:
    """The keys in a directory as a tar: the same keys are the same bytes."""
    missing = sorted(name for name in _NAMES if not (directory / name).is_file())
    if missing:
        raise KubeproofError(
            f"{directory} lacks {', '.join(missing)}", hint="run playbooks/cluster.yml, or restore them from a backup"
        )
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(_NAMES):
            content = (directory / name).read_bytes()
            entry = tarfile.TarInfo(f"{_DIRECTORY}/{name}")
            entry.size, entry.mode = len(content), 0o600
            tar.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def unpack(plain: bytes) -> dict[str, bytes]:
    """The keys in a tar, by file name. Raises KubeproofError unless it has all of them, and nothing else."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
            for entry in tar:
                directory, _, name = entry.name.partition("/")
                stream = tar.extractfile(entry) if entry.isreg() and entry.size <= _LARGEST else None
                if directory != _DIRECTORY or name not in _NAMES or stream is None:
                    raise KubeproofError(f"the archive of keys has an unexpected entry {entry.name!r}")
                found[name] = stream.read()
    except tarfile.TarError as error:
        raise KubeproofError(f"the archive of keys cannot be read: {error}") from None
    if missing := sorted(_NAMES - found.keys()):
        raise KubeproofError(f"the archive of keys lacks {', '.join(missing)}")
    return found


def missing(keys: Mapping[str, bytes], state: Path) -> list[str]:
    """The names of those keys that a state directory lacks, in the order in which they are to be put back.

    Raises KubeproofError if one that is there is another: they belong to another cluster.
    """
    directory = state / "pki"
    there = {name: (directory / name).read_bytes() for name in keys if (directory / name).exists()}
    different = sorted(name for name, content in there.items() if content != keys[name])
    if different:
        raise KubeproofError(
            f"{directory} has other keys than the backup ({', '.join(different)})",
            hint="restore with another inventory, or move that directory away first",
        )
    # Private halves first, as when they are made: half a pair is never taken for a whole one.
    return sorted(keys.keys() - there.keys(), key=lambda name: (not name.endswith(".key"), name))


def restore(keys: Mapping[str, bytes], state: Path) -> list[str]:
    """Put keys back into a state directory; returns the names of those that were missing.

    Raises KubeproofError, and changes nothing, if one that is there is another.
    """
    names = missing(keys, state)
    directory = state / "pki"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        files.write_private(directory / name, keys[name])
    return names


def encrypt(plain: bytes, recipients: Sequence[str]) -> bytes:
    """Encrypt for age public keys; ``age --decrypt`` reads it too."""
    return bytes(pyrage.encrypt(plain, [_recipient(text) for text in recipients]))


def decrypt(encrypted: bytes, identity: Path) -> bytes:
    """Decrypt with the private keys in a file, as ``age-keygen`` writes it."""
    try:
        return bytes(pyrage.decrypt(encrypted, _read(identity)))
    except pyrage.DecryptError as error:
        raise KubeproofError(
            f"the keys in the backup cannot be decrypted with {identity}: {error}",
            hint="give the private key of one of the recipients for which they were encrypted",
        ) from None


def _decrypts(encrypted: bytes, identity: pyrage.x25519.Identity) -> bool:
    try:
        pyrage.decrypt(encrypted, [identity])
    except pyrage.DecryptError:
        return False
    return True


def _read(identity: Path) -> list[pyrage.x25519.Identity]:
    try:
        text = identity.read_text()
    except OSError as error:
        raise KubeproofError(
            f"{identity} cannot be read ({error.strerror})",
            hint="it must have the private key of one of backup_recipients, which decrypts the keys in the backup",
        ) from None
    return identities(text, str(identity))


def identities(text: str, source: str) -> list[pyrage.x25519.Identity]:
    """The private keys in a text as ``age-keygen`` writes it."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in lines]
    except pyrage.IdentityError:
        # Without the reason, which may repeat the key.
        raise KubeproofError(f"{source} has something that is not an age private key") from None
    if not found:
        raise KubeproofError(f"{source} has no age private key")
    return found


def wrong_recipients(recipients: Iterable[str]) -> list[str]:
    """What is wrong with those that are no public keys of age."""
    wrong = []
    for text in recipients:
        try:
            _recipient(text)
        except KubeproofError as error:
            wrong.append(str(error.args[0]))
    return wrong


def _recipient(text: str) -> pyrage.x25519.Recipient:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        # Somebody may have taken the private key for it, which is not to be repeated anywhere.
        shown = text if text.startswith("age1") else f"{text[:5]}…"
        raise KubeproofError(f"{shown!r} is not an age public key", hint="`age-keygen` creates them: age1…") from None
