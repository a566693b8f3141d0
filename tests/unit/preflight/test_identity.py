"""Whether hosts carry what the controller keeps: both sides tell the same of the same files."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from ansible.module_utils import identity as on_host

from kubeproof.pki import cas
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.identity import NAMES, Kept, check_beginning, check_ends, check_identity

DAY = datetime.timedelta(days=1)
ENCRYPTION = """\
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - secretbox:
          keys:
            - name: key1
              secret: {}
      - identity: {{}}
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    cas.ensure_cas(tmp_path / "state" / "pki", "test", DAY)
    return tmp_path / "state"


def install(state: Path, root: Path) -> dict[str, list[str]]:
    """What a host tells on which the files of all components are, as roles put them there."""
    kept = state / "pki"
    for name, paths in on_host.FILES.items():
        for path in paths:
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if name == "encryption":
                target.write_text(ENCRYPTION.format((kept / "encryption.key").read_text()))
            else:
                shutil.copy(kept / f"{name}{'.pub' if name == 'service-account' else '.crt'}", target)
    found: dict[str, list[str]] = on_host.report(
        [path for paths in on_host.FILES.values() for path in paths], str(root)
    )
    return found


def findings(carried: Mapping[str, Sequence[str]], kept: Kept, *, may_lack: bool = False) -> list[Finding]:
    return list(check_identity({"cp1": carried}, kept, may_lack=may_lack))


def test_both_sides_tell_the_same(state: Path, tmp_path: Path) -> None:
    carried, kept = install(state, tmp_path / "host"), Kept.of(state)
    assert carried == {name: [digest] for name, digest in kept.digests.items()}
    assert set(carried) == set(NAMES)
    assert findings(carried, kept) == []


def test_no_secret_is_told(state: Path, tmp_path: Path) -> None:
    told = repr(install(state, tmp_path / "host")) + repr(Kept.of(state))
    assert (state / "pki" / "encryption.key").read_text() not in told


def test_files_that_are_not_ours_say_nothing(state: Path, tmp_path: Path) -> None:
    install(state, tmp_path / "host")
    assert on_host.report(["/etc/etcd/pki/ca.crt"], str(tmp_path / "host")).keys() == {"etcd"}


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "secret: ?\n"])
def test_files_that_say_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    assert on_host.digests(str(tmp_path / "file")) == []
    assert on_host.digests(str(tmp_path / "none")) == []


def test_of_several_cas_in_a_file_one_is_enough(state: Path, tmp_path: Path) -> None:
    cas.ensure_cas(tmp_path / "new" / "pki", "new", DAY)
    files = [directory / "pki" / "kubernetes.crt" for directory in (state, tmp_path / "new")]
    (tmp_path / "bundle").write_text("".join(file.read_text() for file in files))
    carried = {"kubernetes": on_host.digests(str(tmp_path / "bundle"))}
    assert len(carried["kubernetes"]) == 2
    assert findings(carried, Kept.of(state)) == findings(carried, Kept.of(tmp_path / "new")) == []


def test_all_is_lost(state: Path, tmp_path: Path) -> None:
    carried = install(state, tmp_path / "host")
    (finding,) = findings(carried, Kept.of(tmp_path / "empty", "mine/hosts.yml"))
    assert (finding.id, finding.host, finding.severity) == ("authorities-lost", "cp1", "error")
    assert "the CA kubernetes" in finding.problem
    assert "the encryption key" in finding.problem
    assert f"Put a copy of {tmp_path}/empty back." in finding.remediation
    assert "./kubeproof backup keys -i mine/hosts.yml" in finding.remediation
    assert findings(carried, Kept.of(tmp_path / "empty"), may_lack=True) == []


@pytest.mark.parametrize("name", ["encryption.key", "etcd.crt", "etcd.key", "service-account.pub"])
def test_one_half_is_lost(state: Path, tmp_path: Path, name: str) -> None:
    carried = install(state, tmp_path / "host")
    (state / "pki" / name).unlink()
    (finding,) = findings(carried, Kept.of(state))
    assert finding.id == "authorities-lost"
    assert Kept.of(state).missing == [name.partition(".")[0]]


def test_another_cluster_s(state: Path, tmp_path: Path) -> None:
    carried = install(state, tmp_path / "host")
    cas.ensure_cas(tmp_path / "other" / "pki", "other", DAY)
    other = Kept.of(tmp_path / "other")
    (finding,) = findings(carried, other)
    assert finding.id == "authorities-other"
    told = f"the CA etcd {carried['etcd'][0][:12]}… there, {other.digests['etcd'][:12]}… here"
    assert told in finding.problem
    assert (
        "playbooks/reset.yml. If the host is a leftover of another cluster: the same with --limit"
        in finding.remediation
    )
    # A restore that finds these would put its keys over the last copies of others.
    assert [finding.id for finding in findings(carried, other, may_lack=True)] == ["authorities-other"]


def test_hosts_with_nothing_are_new(state: Path, tmp_path: Path) -> None:
    assert findings({}, Kept.of(state)) == []
    assert findings({}, Kept.of(tmp_path / "empty")) == []


def test_new_ones_are_made_once_all_who_may_have_some_were_asked(state: Path, tmp_path: Path) -> None:
    empty = Kept.of(tmp_path / "empty")
    (finding,) = check_beginning(["cp1", "cp2"], ["cp2", "w1"], empty)
    assert (finding.id, finding.host) == ("authorities-left-out", "settings")
    assert "the run does not check whether cp1 has them" in finding.problem
    assert list(check_beginning(["cp1"], ["cp1"], empty)) == []
    assert list(check_beginning(["cp1", "cp2"], ["w1"], Kept.of(state))) == []


def test_cas_that_end_before_what_they_would_sign(state: Path) -> None:
    kept, now = Kept.of(state), datetime.datetime.now(datetime.UTC)
    # They are valid for a day.
    assert set(kept.ends) == set(cas.CAS)
    for later, severity, verb in ((0 * DAY, "warning", "is"), (2 * DAY, "error", "was")):
        found = list(check_ends(kept, now + later))
        assert {finding.reference for finding in found} == {f"authority-ends:{name}" for name in cas.CAS}
        assert {finding.severity for finding in found} == {severity}
        assert f"{verb} valid until {kept.ends[found[0].subject]:%Y-%m-%d}" in found[0].problem
        assert found[0].remediation.startswith("No run replaces a CA")
    assert list(check_ends(kept, now - 365 * DAY)) == []
    assert list(check_ends(Kept.of(state.parent / "none"), now)) == []
