from __future__ import annotations

import datetime
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pyrage
import pytest

from kubeproof.backup import keys
from kubeproof.core import files
from kubeproof.core.errors import KubeproofError
from kubeproof.pki import cas

DAY = datetime.timedelta(days=1)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    cas.ensure_cas(directory / "pki", "test", DAY)
    return directory


def contents(state: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (state / "pki").iterdir() if not path.name.startswith(".")}


def test_a_state_directory_is_rebuilt_from_a_backup(state: Path, tmp_path: Path) -> None:
    bundle = keys.ensure(state, "encrypted", [])
    assert bundle is not None
    assert bundle.name == "keys.tar.age"
    again = tmp_path / "again"
    made = keys.restore(keys.unpack(keys.decrypt(bundle.content, state / keys.IDENTITY)), again)
    assert sorted(made) == sorted(contents(state))
    assert contents(again) == contents(state)
    assert {path.stat().st_mode & 0o777 for path in (again / "pki").iterdir()} == {0o600}
    # What is there needs nothing, and is what a converge takes as it is.
    assert keys.restore(keys.unpack(keys.archive(again / "pki")), again) == []
    assert cas.ensure_cas(again / "pki", "test", DAY) == []


def test_it_is_made_anew_only_when_keys_or_recipients_change(state: Path) -> None:
    first = keys.ensure(state, "encrypted", [])
    assert keys.ensure(state, "encrypted", []) == first
    own = (state / keys.IDENTITY).read_text()
    other = str(pyrage.x25519.Identity.generate().to_public())
    second = keys.ensure(state, "encrypted", [other])
    assert second != first
    assert keys.ensure(state, "encrypted", [other, other]) == second
    files.write_private(state / "pki" / "encryption.key", b"another")
    third = keys.ensure(state, "encrypted", [other])
    assert third != second
    # A file that something else has changed is not brought to any host.
    (state / "backup-keys" / "keys.tar.age").write_bytes(b"")
    fourth = keys.ensure(state, "encrypted", [other])
    assert fourth is not None
    assert fourth.content
    assert (state / keys.IDENTITY).read_text() == own
    assert (state / keys.IDENTITY).stat().st_mode & 0o777 == 0o600


def test_a_private_key_that_is_made_anew_is_told_and_not_on_a_first_installation(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keys.ensure(state, "encrypted", [])
    assert first is not None
    assert first.warning == ""
    (state / keys.IDENTITY).unlink()
    monkeypatch.setattr(keys, "_INSTALLATION", datetime.timedelta(0))
    other = str(pyrage.x25519.Identity.generate().to_public())
    for recipients, warns in (([other], False), ([], True), ([], False)):
        bundle = keys.ensure(state, "encrypted", recipients)
        assert bundle is not None
        assert (f"{state / keys.IDENTITY} was missing" in bundle.warning) == warns


def test_the_private_key_that_opened_them_is_kept_where_it_was_lost(state: Path, tmp_path: Path) -> None:
    bundle = keys.ensure(state, "encrypted", [])
    assert bundle is not None
    own, another = (state / keys.IDENTITY).rename(tmp_path / "safe.txt"), pyrage.x25519.Identity.generate()
    text = own.read_text()
    own.write_text(f"{another}\n{text}")
    keys.keep_identity(state, bundle.content, own, [str(another.to_public())])
    assert not (state / keys.IDENTITY).exists()
    keys.keep_identity(state, bundle.content, own, [])
    assert (state / keys.IDENTITY).read_text() == text
    assert (state / keys.IDENTITY).stat().st_mode & 0o777 == 0o600
    # Nothing is encrypted again for it.
    assert keys.ensure(state, "encrypted", []) == bundle
    (state / keys.IDENTITY).write_text(f"{another}\n")
    keys.keep_identity(state, bundle.content, own, [])
    assert (state / keys.IDENTITY).read_text() == f"{another}\n"


def test_a_file_with_several_private_keys_has_the_first_ones_recipient(state: Path) -> None:
    first, second = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    (state / keys.IDENTITY).write_text(f"{first}\n{second}\n")
    assert keys.own_recipient(state) == str(first.to_public())


def test_plain_and_none_have_to_be_asked_for(state: Path) -> None:
    plain = keys.ensure(state, "plain", [])
    assert plain == keys.Bundle("keys.tar", keys.archive(state / "pki"))
    assert keys.ensure(state, "none", []) is None
    assert not (state / keys.IDENTITY).exists()


def test_ciphertext_says_nothing(state: Path) -> None:
    bundle = keys.ensure(state, "encrypted", [])
    assert bundle is not None
    for content in contents(state).values():
        assert content[:40] not in bundle.content


def test_another_clusters_keys_are_left_alone(state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    cas.ensure_cas(other / "pki", "other", DAY)
    before = contents(other)
    with pytest.raises(KubeproofError, match="has other keys than the backup"):
        keys.restore(keys.unpack(keys.archive(state / "pki")), other)
    assert contents(other) == before


def test_a_state_directory_that_lost_a_key_makes_no_archive(state: Path) -> None:
    (state / "pki" / "encryption.key").unlink()
    with pytest.raises(KubeproofError, match=r"lacks encryption\.key"):
        keys.ensure(state, "encrypted", [])


def test_a_wrong_identity_opens_nothing(state: Path, tmp_path: Path) -> None:
    bundle = keys.ensure(state, "encrypted", [])
    assert bundle is not None
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(f"# created: today\n{pyrage.x25519.Identity.generate()}\n")
    with pytest.raises(KubeproofError, match="cannot be decrypted with"):
        keys.decrypt(bundle.content, wrong)
    with pytest.raises(KubeproofError, match="cannot be read"):
        keys.decrypt(bundle.content, tmp_path / "none.txt")
    wrong.write_text("AGE-SECRET-KEY-1SECRET\n")
    with pytest.raises(KubeproofError) as raised:
        keys.decrypt(bundle.content, wrong)
    assert "1SECRET" not in str(raised.value)
    with pytest.raises(KubeproofError, match="cannot be decrypted"):
        keys.decrypt(bundle.content[:-20], state / keys.IDENTITY)


def tar(*names: str, content: bytes = b"x") -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as made:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return written.getvalue()


@pytest.mark.parametrize("archive", [b"", b"x" * 600, tar("../../etc/shadow"), tar("pki/evil"), tar("pki/etcd.key")])
def test_archives_of_another_kind_are_refused(archive: bytes) -> None:
    with pytest.raises(KubeproofError, match="the archive of keys"):
        keys.unpack(archive)


def test_recipients_that_are_none_are_named_and_secrets_are_not() -> None:
    good, secret = str(pyrage.x25519.Identity.generate().to_public()), str(pyrage.x25519.Identity.generate())
    assert keys.wrong_recipients([good]) == []
    typo = good[:-1] + ("q" if good[-1] != "q" else "p")
    wrong = keys.wrong_recipients([typo, secret, good])
    assert len(wrong) == 2
    assert typo in wrong[0]
    assert secret[10:] not in wrong[1]


@pytest.mark.skipif(not shutil.which("age"), reason="the program age is not installed")
def test_the_program_age_opens_it_and_makes_what_is_opened_here(state: Path, tmp_path: Path) -> None:
    bundle = keys.ensure(state, "encrypted", [])
    assert bundle is not None
    identity = state / keys.IDENTITY
    command = ["age", "--decrypt", "--identity", str(identity)]
    opened = subprocess.run(command, input=bundle.content, capture_output=True, check=True).stdout
    assert keys.unpack(opened) == contents(state)

    subprocess.run(["age-keygen", "-o", str(tmp_path / "id.txt")], capture_output=True, check=True)
    command = ["age-keygen", "-y", str(tmp_path / "id.txt")]
    recipient = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert keys.decrypt(keys.encrypt(opened, [recipient]), tmp_path / "id.txt") == opened
    sealed = subprocess.run(["age", "-r", recipient], input=opened, capture_output=True, check=True).stdout
    assert keys.decrypt(sealed, tmp_path / "id.txt") == opened
