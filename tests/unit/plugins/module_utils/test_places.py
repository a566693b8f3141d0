"""Root does not follow links that others have made; and modes are as stated, whatever the umask."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import component_unit, places
from ansible.module_utils.manifest import Manifest
from ansible.module_utils.places import Changed, Unsafe
from ansible.module_utils.uninstall.account import Account
from ansible.module_utils.uninstall.files import Files

import distribute_components
import install_component

SOMEBODY = 65534
MODULES = Path(places.__file__).parent
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory of a component's user, with links to something that is not that user's."""
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o711)
    (precious / "shadow").write_text("secret")
    (precious / "shadow").chmod(0o600)
    directory = tmp_path / "theirs"
    directory.mkdir()
    (directory / "metrics").symlink_to(precious)
    (directory / "file").symlink_to(precious / "shadow")
    for path in (directory, directory / "metrics", directory / "file"):
        os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
    return directory


def untouched(theirs: Path) -> bool:
    precious = theirs.parent / "precious"
    seen = [(path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) for path in (precious, precious / "shadow")]
    return seen == [(0, 0o711), (0, 0o600)] and (precious / "shadow").read_text() == "secret"


@pytest.fixture
def host(tmp_path: Path) -> install_component.Host:
    return install_component.Host(check_mode=False, manifest=Manifest(str(tmp_path / "state")))


@ROOT
@pytest.mark.parametrize(
    "act",
    [
        lambda host, at: host.directory(f"{at}/metrics", SOMEBODY, SOMEBODY, 0o755),
        lambda host, at: host.directory(f"{at}/metrics/new", SOMEBODY, SOMEBODY, 0o755),
        lambda host, at: host.attributes(f"{at}/metrics/shadow", SOMEBODY, SOMEBODY, 0o644),
        lambda host, at: host.file({"path": f"{at}/metrics/x", "content": "", "owner": "nobody", "mode": "0644"}),
        lambda host, at: host.absent(f"{at}/metrics/shadow"),
        lambda host, at: host.data_directory(f"{at}/metrics"),
        lambda host, at: host.key({"path": f"{at}/metrics/x", "owner": "nobody"}),
    ],
)
def test_an_install_does_not_follow_a_link_that_somebody_planted(
    host: install_component.Host, theirs: Path, act: Callable[[Any, Path], None]
) -> None:
    with pytest.raises(
        Unsafe, match=r"theirs/metrics is a symbolic link to .*/precious that is not root's.*mount --bind"
    ):
        act(host, theirs)
    assert untouched(theirs)
    assert len(list((theirs.parent / "precious").iterdir())) == 1


@ROOT
def test_a_link_in_a_files_place_is_replaced_and_not_written_through(
    host: install_component.Host, theirs: Path
) -> None:
    host.file({"path": f"{theirs}/file", "content": "dGV4dA==", "owner": "nobody", "mode": "0644"})
    assert (theirs / "file").read_text() == "text"
    assert not (theirs / "file").is_symlink()
    assert untouched(theirs)


@ROOT
def test_a_hard_link_is_not_given_away(host: install_component.Host, theirs: Path) -> None:
    (theirs / "linked").hardlink_to(theirs.parent / "precious/shadow")
    with pytest.raises(Changed, match="known by another name"):
        host.attributes(f"{theirs}/linked", SOMEBODY, SOMEBODY, 0o644)
    assert untouched(theirs)


@ROOT
def test_a_link_that_appears_while_the_way_is_walked(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_is_link", lambda *_: False)
    with pytest.raises((Unsafe, NotADirectoryError)):
        places.open_directory(f"{theirs}/metrics")
    monkeypatch.undo()
    with places.directory(str(theirs)) as there, pytest.raises(Unsafe):
        places._open("file", os.O_RDONLY, there, "file")


@ROOT
def test_a_reset_removes_the_link_and_not_what_it_points_to(theirs: Path) -> None:
    account = Account()
    entries: list[dict[str, Any]] = [
        {"kind": "data", "path": str(theirs)},
        {"kind": "attributes", "path": f"{theirs}/metrics", "uid": SOMEBODY, "gid": SOMEBODY, "mode": 0o777},
    ]
    Files(account, entries, lambda _path: False).undo()
    assert list(theirs.iterdir()) == []
    assert untouched(theirs)
    assert account.problems == []


@ROOT
def test_a_reset_goes_on_where_a_link_is_in_its_way(theirs: Path, tmp_path: Path) -> None:
    account = Account()
    (tmp_path / "ours").touch()
    entries: list[dict[str, Any]] = [
        {"kind": "file", "path": f"{theirs}/metrics/shadow", "backup": None},
        {"kind": "attributes", "path": f"{theirs}/metrics", "uid": SOMEBODY, "gid": SOMEBODY, "mode": 0o777},
        {"kind": "file", "path": str(tmp_path / "ours"), "backup": None},
    ]
    Files(account, entries, lambda _path: False).undo()
    assert untouched(theirs)
    assert not (tmp_path / "ours").exists()
    assert ["theirs/metrics is a symbolic link" in problem for problem in account.problems] == [True, True]


@ROOT
def test_what_was_there_before_is_kept_as_it_was_links_too(tmp_path: Path, theirs: Path) -> None:
    manifest = Manifest(str(tmp_path / "state"))
    kept = Path(manifest.backup(f"{theirs}/file"))
    assert kept.readlink() == theirs.parent / "precious/shadow"
    plain = tmp_path / "plain"
    plain.write_text("text")
    plain.chmod(0o640)
    os.utime(plain, (1, 2))
    copy = Path(manifest.backup(str(plain)))
    assert (copy.read_text(), copy.stat().st_mtime, stat.S_IMODE(copy.stat().st_mode)) == ("text", 2, 0o640)


def test_an_administrators_own_links_are_followed(host: install_component.Host, tmp_path: Path) -> None:
    """/var/lib/etcd -> /data/etcd is what people do who have a disk for it."""
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "etcd").symlink_to("disk")
    (tmp_path / "absolute").symlink_to(tmp_path / "etcd")
    host.directory(str(tmp_path / "absolute"), os.getuid(), os.getgid(), 0o750)
    assert stat.S_IMODE((tmp_path / "disk").stat().st_mode) == 0o750
    host.directory(str(tmp_path / "absolute/below"), os.getuid(), os.getgid(), 0o700)
    assert (tmp_path / "disk/below").is_dir()


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(Unsafe):
        places.open_directory(str(tmp_path / "a"))


def test_what_is_not_there_or_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="/nothing"):
        places.open_directory(str(tmp_path / "nothing/there"))
    with pytest.raises(NotADirectoryError):
        places.open_directory(str(tmp_path / "file/below"))
    with pytest.raises(ValueError, match="not an absolute path"):
        places.open_directory("relative")
    assert places.status(str(tmp_path / "nothing/there")) is None
    assert not places.is_directory(str(tmp_path / "file"))


@pytest.fixture(params=[0o077, 0o027, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(root: Path) -> dict[str, str]:
    paths = sorted(root.rglob("*"))
    return {str(path.relative_to(root)): oct(stat.S_IMODE(path.stat().st_mode)) for path in paths}


def test_modes_are_as_stated_whatever_the_umask(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    host = install_component.Host(check_mode=False, manifest=Manifest(str(state)))
    uid, gid = os.getuid(), os.getgid()
    host.directory(str(tmp_path / "etc/pki"), uid, gid, 0o755)
    monkeypatch.setattr(host, "owner", lambda *_: (uid, gid))
    host.file({"path": str(tmp_path / "etc/unit/x.service"), "content": "", "owner": "", "mode": "0644"})
    monkeypatch.setattr(distribute_components, "OWNER", (uid, gid))
    staging = Path(distribute_components.prepare_staging(needed=True, directory=str(state)))
    digest = distribute_components.hash_stream((tmp_path / "etc/unit/x.service").open("rb"))
    (staging / digest).touch()
    files = distribute_components.Files(str(state))
    files.install({"path": str(tmp_path / "opt/bin/etcd"), "sha256": digest, "mode": "0755"}, str(staging))
    files.save()
    component_unit.Record("x.service", str(state)).save({"inputs": {}})
    staging.rmdir()
    assert modes(tmp_path) == {
        "etc": "0o755", "etc/pki": "0o755", "etc/unit": "0o755", "etc/unit/x.service": "0o644",
        "opt": "0o755", "opt/bin": "0o755", "opt/bin/etcd": "0o755",
        "state": "0o755", "state/components.json": "0o644", "state/manifest.json": "0o644", "state/staging": "0o700",
        "state/units": "0o755", "state/units/x.service.json": "0o600",
    }  # fmt: skip


def test_a_tree_goes_with_what_its_links_are_and_not_with_what_they_point_to(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/link").symlink_to(tmp_path / "users")
    places.remove_tree(str(tmp_path / "tree"))
    assert [path.name for path in tmp_path.iterdir()] == ["users"]


def test_a_directory_of_users_that_is_mounted_in_a_tree_is_not_emptied(tmp_path: Path) -> None:
    """Of the same file system, too: so a local volume is mounted in the directory of its pod."""
    users, inside = tmp_path / "users", tmp_path / "tree/pod/volume"
    for path in (users, inside):
        path.mkdir(parents=True)
    (users / "precious").touch()
    remove = "import sys; sys.path.insert(0, sys.argv[1]); import places; places.remove_tree(sys.argv[2])"
    script = f"mount --bind {users} {inside} && exec {sys.executable} -c '{remove}' {MODULES} {tmp_path}/tree"
    alone = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    done = subprocess.run([*alone, "sh", "-c", script], check=False, capture_output=True, text=True)
    assert f"Changed: something is mounted at {inside}" in done.stderr
    assert (users / "precious").exists()
