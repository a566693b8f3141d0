"""The module that compares a host's component files and puts them in place."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.components.release_host import sha256

import distribute_components
from distribute_components import Files, Refused

OLD, NEW = b"the old program", b"the new program"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory in place of the host's, for a user in place of root."""
    directory = tmp_path / "state"
    monkeypatch.setattr(distribute_components, "OWNER", (os.getuid(), os.getgid()))
    return directory


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "opt/bin/program"


def wanted(path: Path, content: bytes = NEW, mode: str = "0755") -> dict[str, Any]:
    return {"path": str(path), "sha256": sha256(content), "mode": mode}


def files(state: Path) -> Files:
    return Files(str(state))


def stage(state: Path, content: bytes, name: str = "") -> str:
    staging = distribute_components.prepare_staging(needed=True, directory=str(state))
    Path(staging, name or sha256(content)).write_bytes(content)
    return staging


def install(state: Path, entry: dict[str, Any], content: bytes = NEW) -> list[dict[str, Any]]:
    staging = stage(state, content)
    present = files(state)
    done = distribute_components.converge(present, [entry], staging)
    present.save()
    return done


def manifest(state: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((state / "manifest.json").read_text())["entries"]
    return entries


def test_a_missing_file_is_put_in_place(state: Path, program: Path) -> None:
    entry = wanted(program)
    assert distribute_components.compare(files(state), [entry]) == [
        {"path": str(program), "sha256": sha256(NEW), "what": "missing", "sent": False}
    ]
    assert [change["what"] for change in install(state, entry)] == ["missing"]
    assert program.read_bytes() == NEW
    assert program.stat().st_mode & 0o7777 == 0o755
    assert distribute_components.compare(files(state), [entry]) == []


def test_what_was_made_is_remembered_for_a_reset(state: Path, program: Path) -> None:
    install(state, wanted(program))
    assert manifest(state) == [
        {"kind": "directory", "path": str(program.parent.parent)},
        {"kind": "directory", "path": str(program.parent)},
        {"kind": "file", "path": str(program), "backup": None},
    ]


def test_a_file_that_was_there_before_is_kept(state: Path, program: Path) -> None:
    program.parent.mkdir(parents=True)
    program.write_bytes(OLD)
    program.chmod(0o700)
    install(state, wanted(program))
    install(state, wanted(program, b"newer"), b"newer")
    (entry,) = manifest(state)
    backup = Path(entry["backup"])
    assert backup == Path(f"{state}/backup{program}")
    assert (backup.read_bytes(), backup.stat().st_mode & 0o777) == (OLD, 0o700)


def test_a_link_in_the_way_is_replaced_and_kept(state: Path, program: Path, tmp_path: Path) -> None:
    program.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(NEW)
    program.symlink_to(tmp_path / "elsewhere")
    assert [change["what"] for change in install(state, wanted(program))] == ["different"]
    assert not program.is_symlink()
    assert Path(manifest(state)[0]["backup"]).readlink() == tmp_path / "elsewhere"


def test_a_directory_in_the_way_is_refused(state: Path, program: Path) -> None:
    program.mkdir(parents=True)
    with pytest.raises(Refused, match="is a directory; a file must go there"):
        distribute_components.compare(files(state), [wanted(program)])


def test_a_program_in_use_keeps_its_file(state: Path, program: Path) -> None:
    install(state, wanted(program, OLD), OLD)
    with program.open("rb") as running:
        install(state, wanted(program))
        assert running.read() == OLD
    assert program.read_bytes() == NEW


def test_a_comparison_hashes_only_what_changed(state: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(state, wanted(program))
    hashed: list[str] = []

    def digest(path: str) -> str:
        hashed.append(path)
        return sha256(OLD)

    monkeypatch.setattr(distribute_components, "sha256", digest)
    assert distribute_components.compare(files(state), [wanted(program)]) == []
    assert hashed == []
    program.write_bytes(NEW[::-1])
    assert distribute_components.compare(files(state), [wanted(program)])[0]["what"] == "different"
    assert hashed == [str(program)]


def test_content_of_the_same_size_and_time_is_noticed(state: Path, program: Path) -> None:
    install(state, wanted(program))
    before = program.stat()
    program.write_bytes(NEW[::-1])
    os.utime(program, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert distribute_components.compare(files(state), [wanted(program)])[0]["what"] == "different"


def test_a_file_that_nothing_is_known_of_is_hashed(state: Path, program: Path) -> None:
    install(state, wanted(program))
    (state / "components.json").write_text("{damaged")
    assert distribute_components.compare(files(state), [wanted(program)]) == []


def test_a_wrong_mode_is_righted_without_a_transfer(state: Path, program: Path) -> None:
    install(state, wanted(program))
    program.chmod(0o600)
    done = distribute_components.converge(files(state), [wanted(program)], "/nonexistent")
    assert [change["what"] for change in done] == ["attributes"]
    assert program.stat().st_mode & 0o7777 == 0o755


def test_what_arrived_damaged_is_refused(state: Path, program: Path) -> None:
    install(state, wanted(program, OLD), OLD)
    staging = stage(state, b"the new progr", name=sha256(NEW))
    with pytest.raises(Refused, match="it was not installed"):
        distribute_components.converge(files(state), [wanted(program)], staging)
    assert program.read_bytes() == OLD
    assert [path.name for path in program.parent.iterdir()] == ["program"]


def test_what_did_not_arrive_is_refused(state: Path, program: Path) -> None:
    staging = stage(state, OLD)
    with pytest.raises(Refused, match="nothing arrived for"):
        distribute_components.converge(files(state), [wanted(program)], staging)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EROFS])
def test_what_cannot_be_renamed_to_its_place_is_copied_there(
    state: Path, program: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A directory that is mounted at a second place has the same device as the first, and takes no rename either."""
    replace = os.replace

    def refuse(source: str, target: str, **more: Any) -> None:
        if Path(target) == program and Path(source).parent != program.parent:
            raise OSError(number, os.strerror(number))
        replace(source, target, **more)

    monkeypatch.setattr("os.replace", refuse)
    if number == errno.EXDEV:
        install(state, wanted(program))
        assert program.read_bytes() == NEW
        assert [path.name for path in program.parent.iterdir()] == ["program"]
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            install(state, wanted(program))


def test_another_file_system_takes_a_copy(state: Path, program: Path) -> None:
    """What ``install`` does when a rename would fail."""
    program.parent.mkdir(parents=True)
    staged = Path(stage(state, NEW), sha256(NEW))
    distribute_components.copy_and_place(str(staged), wanted(program), str(program))
    assert program.read_bytes() == NEW
    staged.write_bytes(OLD)
    with pytest.raises(Refused):
        distribute_components.copy_and_place(str(staged), wanted(program), str(program))
    assert [path.name for path in program.parent.iterdir()] == ["program"]


def test_a_copy_is_written_in_steps(state: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What etcd syncs meanwhile waits for no more than one of them."""
    content = b"0123456789"
    monkeypatch.setattr(distribute_components, "STEP", 4)
    sizes: list[int] = []
    monkeypatch.setattr("os.fdatasync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    program.parent.mkdir(parents=True)
    staged = Path(stage(state, content), sha256(content))
    distribute_components.copy_and_place(str(staged), wanted(program, content), str(program))
    assert program.read_bytes() == content
    assert sizes == [4, 8, 10]


def test_what_an_interrupted_run_staged_is_removed(state: Path) -> None:
    first = Path(stage(state, b"half"))
    second = Path(distribute_components.prepare_staging(needed=True, directory=str(state)))
    assert not first.exists()
    assert second.stat().st_mode & 0o777 == 0o700
    assert distribute_components.prepare_staging(needed=False, directory=str(state)) == ""
    assert not (state / "staging").exists()


def test_two_runs_do_not_stage_in_one_place(state: Path) -> None:
    assert stage(state, b"half") != stage(state, b"half")


def test_a_killed_run_that_goes_on_writing_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Path(distribute_components.prepare_staging(needed=True, directory=str(tmp_path)))
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    second = Path(distribute_components.prepare_staging(needed=True, directory=str(tmp_path)))
    assert second.parent == first.parent
    assert second != first
    assert second.parent.stat().st_mode & 0o777 == 0o700


class TestStaging:
    """Versions that are to be put in place later, and those that were there before."""

    def work(self, state: Path, entry: dict[str, Any], staging: str = "", *, only_stage: bool) -> list[dict[str, Any]]:
        how = distribute_components.STAGE if only_stage else distribute_components.CONVERGE
        done, _ = distribute_components.work(files(state), [entry], None, staging, how)
        return done

    def test_puts_nothing_in_place(self, state: Path, program: Path) -> None:
        install(state, wanted(program, OLD), OLD)
        assert [change["what"] for change in self.work(state, wanted(program), only_stage=True)] == ["different"]
        self.work(state, wanted(program), stage(state, NEW), only_stage=True)
        assert program.read_bytes() == OLD
        assert (state / "staged" / sha256(NEW)).read_bytes() == NEW
        assert self.work(state, wanted(program), only_stage=True) == []
        assert self.work(state, wanted(program, OLD), only_stage=True) == [], "what is in place need not be staged"

    def test_refuses_what_is_not_what_was_announced(self, state: Path, program: Path) -> None:
        with pytest.raises(Refused):
            self.work(state, wanted(program), stage(state, OLD, sha256(NEW)), only_stage=True)
        assert not (state / "staged" / sha256(NEW)).exists()

    def test_needs_no_transfer_later_and_none_for_the_way_back(self, state: Path, program: Path) -> None:
        install(state, wanted(program, OLD), OLD)
        self.work(state, wanted(program), stage(state, NEW), only_stage=True)
        for content in (NEW, OLD, NEW):
            done, staging = distribute_components.work(files(state), [wanted(program, content)], None, "")
            assert [change["what"] for change in done] == ["different"]
            assert staging == "", "there is nothing to send"
            assert program.read_bytes() == content
            assert program.stat().st_mode & 0o777 == 0o755
            assert self.work(state, wanted(program, content), only_stage=False) == []

    def test_what_lies_there_waits_for_what_has_to_be_sent(self, state: Path, program: Path) -> None:
        install(state, wanted(program, OLD), OLD)
        self.work(state, wanted(program), stage(state, NEW), only_stage=True)
        both = [wanted(program), wanted(program.with_name("more"), b"more")]
        done, staging = distribute_components.work(files(state), both, None, "")
        assert [change["sent"] for change in done] == [True, False]
        assert program.read_bytes() == OLD
        Path(staging, sha256(b"more")).write_bytes(b"more")
        distribute_components.work(files(state), both, None, staging)
        assert (program.read_bytes(), program.with_name("more").read_bytes()) == (NEW, b"more")

    def test_attributes_alone_are_righted_at_once(self, state: Path, program: Path) -> None:
        install(state, wanted(program))
        program.chmod(0o600)
        (change,) = self.work(state, wanted(program), only_stage=False)
        assert change["what"] == "attributes"
        assert program.stat().st_mode & 0o7777 == 0o755

    def test_what_is_replaced_is_the_same_file_still(self, state: Path, program: Path) -> None:
        """For a copy of each program, the machine would read and write it once more."""
        install(state, wanted(program, OLD), OLD)
        before = program.stat().st_ino
        self.work(state, wanted(program), stage(state, NEW), only_stage=True)
        self.work(state, wanted(program), only_stage=False)
        assert (state / "staged" / sha256(OLD)).stat().st_ino == before

    @pytest.mark.parametrize("obstacle", ["another file system", "others may write"])
    def test_or_a_copy(self, state: Path, program: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str) -> None:
        install(state, wanted(program, OLD), OLD)
        before = program.stat().st_ino
        self.work(state, wanted(program), stage(state, NEW), only_stage=True)
        if obstacle == "others may write":
            program.chmod(0o775)
        else:

            def refuse(*_: Any, **__: Any) -> None:
                raise OSError(errno.EXDEV, "Invalid cross-device link")

            monkeypatch.setattr("os.link", refuse)
        self.work(state, wanted(program), only_stage=False)
        kept = state / "staged" / sha256(OLD)
        assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (OLD, 0o755)
        assert kept.stat().st_ino != before

    def test_what_was_written_to_meanwhile_is_not_put_back(self, state: Path, program: Path) -> None:
        install(state, wanted(program, OLD), OLD)
        self.work(state, wanted(program), stage(state, NEW), only_stage=True)
        with program.open("r+b") as other:
            self.work(state, wanted(program), only_stage=False)
            other.write(b"THE")
        with pytest.raises(Refused, match="it was not installed"):
            self.work(state, wanted(program, OLD), only_stage=False)
        assert program.read_bytes() == NEW

    def test_nothing_is_kept_where_nothing_is_staged(self, state: Path, program: Path) -> None:
        install(state, wanted(program, OLD), OLD)
        install(state, wanted(program))
        assert not (state / "staged").exists()


class TestVersions:
    """Those that the preflight compares are of what is in place as a whole."""

    def recorded(self, state: Path) -> dict[str, str]:
        document = json.loads((state / "components.json").read_text())
        return dict(document["versions"])

    def test_nothing_that_was_sent_stays(self, state: Path, program: Path) -> None:
        self.work(state, "1.0.0", stage(state, NEW), wanted(program))
        assert not (state / "staging").exists()
        # That of a run that was killed on the controller, and is still writing here.
        one = stage(state, NEW)
        other = Path(one).with_name("other")
        other.mkdir()
        self.work(state, "1.0.0", one, wanted(program))
        assert list((state / "staging").iterdir()) == [other]

    def work(self, state: Path, version: str, staging: str, *entries: dict[str, Any]) -> list[dict[str, Any]]:
        done, _ = distribute_components.work(files(state), list(entries), {"program": version}, staging)
        return done

    def test_are_recorded_when_all_is_in_place(self, state: Path, program: Path) -> None:
        assert self.work(state, "1.0.0", "", wanted(program))
        assert not (state / "components.json").exists()
        self.work(state, "1.0.0", stage(state, NEW), wanted(program))
        assert self.recorded(state) == {"program": "1.0.0"}
        # A part of the files says nothing of versions.
        distribute_components.work(files(state), [wanted(program)], None, "")
        assert self.recorded(state) == {"program": "1.0.0"}
        # The same bytes may have another version.
        assert self.work(state, "1.0.1", "", wanted(program)) == []
        assert self.recorded(state) == {"program": "1.0.1"}

    def test_stay_as_they_were_when_a_change_is_not_completed(self, state: Path, program: Path) -> None:
        self.work(state, "1.0.0", stage(state, OLD), wanted(program, OLD))
        assert self.work(state, "2.0.0", "", wanted(program))
        assert self.recorded(state) == {"program": "1.0.0"}
        with pytest.raises(Refused):
            self.work(state, "2.0.0", stage(state, NEW), wanted(program), wanted(program.with_name("more"), OLD))
        assert self.recorded(state) == {"program": "1.0.0"}
        assert program.read_bytes() == NEW
