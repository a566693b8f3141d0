"""Restores in real plays, on made looks at etcd, up to the question. No host but this one is touched."""

from __future__ import annotations

import datetime
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.ansible_program import ansible
from tests.unit.restore import made
from tests.unit.restore.test_record import restore

from kubeproof.backup import keys
from kubeproof.backup.agent import manifest
from kubeproof.core import paths
from kubeproof.pki import cas
from kubeproof.preflight import identity
from kubeproof.restore import checking, losses
from kubeproof.restore.record import Records, Restore, new_id

SEEN = {
    "there": True,
    "active": False,
    "free": 10 * made.GIBIBYTE,
    "placed": "",
    "live": {},
    "problem": "",
    "program": True,
    "backups": [],
}
REPORT = {"arch": "amd64", "work_seconds": 0.01}


class Play:
    """Plays on three control-plane hosts and a worker, whose ``__etcd_look`` and report are made in the first task."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / ".kubeproof"
        members = {host: {"cluster_host_address": f"10.0.0.{host[-1]}"} for host in ("cp1", "cp2", "cp3")}
        self.inventory: dict[str, Any] = {
            "all": {
                "vars": {
                    "ansible_connection": "local",
                    "ansible_python_interpreter": sys.executable,
                    "cluster_name": "example",
                    # Defaults of the role that really looks at etcd.
                    "etcd_peer_port": 2380,
                    "etcd_data_directory": "/var/lib/etcd",
                },
                "children": {
                    "etcd": {"hosts": members},
                    "control_plane": {"hosts": members},
                    "workers": {"hosts": {"w1": {}}},
                },
            }
        }

    def run(
        self, *tasks: dict[str, Any], options: tuple[str, ...] = (), **seen: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run tasks with the variables of the role; ``seen``: what looks at etcd see besides."""
        look = {"name": "Look", "ansible.builtin.set_fact": {"kubeproof_host": REPORT, "cacheable": True}}
        seen = {"name": "See", "ansible.builtin.set_fact": {"__etcd_look": {**SEEN, **seen}}}
        (self.directory / "hosts.yml").write_text(yaml.safe_dump(self.inventory))
        gather: dict[str, Any] = {"hosts": "all", "gather_facts": False, "tasks": [look]}
        play = {"hosts": "etcd", "gather_facts": False, "any_errors_fatal": True, "roles": ["cluster"]}
        play["tasks"] = [seen, *tasks]
        (self.directory / "play.yml").write_text(yaml.safe_dump([gather, play]))
        files = ("--inventory", str(self.directory / "hosts.yml"), str(self.directory / "play.yml"))
        return ansible("playbook", *files, *options)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def of_role(role: str, tasks: str) -> dict[str, Any]:
    return {"name": "Run", "ansible.builtin.include_role": {"name": role, "tasks_from": tasks}}


def choose(play: Play, source: Path | str, *options: str, **seen: Any) -> subprocess.CompletedProcess[str]:
    given = ("-e", json.dumps({"restore_from": str(source)}), *options)
    return play.run(of_role("restore", "choose"), options=given, **seen)


@pytest.fixture
def backup(play: Play) -> Path:
    """A backup of a cluster whose keys the controller has lost, all but what decrypts those in the backup."""
    cas.ensure_cas(play.state / "pki", "example", datetime.timedelta(days=1))
    bundle = keys.ensure(play.state, "encrypted", [])
    assert bundle is not None
    path = made.backup(play.directory / "backups", authority=checking.ca_digest_of(play.state))
    told = manifest.read(path)
    file = manifest.File(len(bundle.content), hashlib.sha256(bundle.content).hexdigest())
    (path / bundle.name).write_bytes(bundle.content)
    (path / "manifest.json").write_bytes(replace(told, files={**told.files, bundle.name: file}).render())
    shutil.rmtree(play.state / "pki")
    return path


def test_members_that_a_run_leaves_out_are_named(play: Play, backup: Path) -> None:
    done = choose(play, backup, "--limit", "!cp1:!cp3", "-e", "restore_confirmed=true")
    assert done.returncode == 2
    assert "Nothing was stopped: a restore begins a new etcd on all hosts of the group `etcd`" in done.stdout
    assert "this run leaves out cp1, cp3" in done.stdout


def test_nodes_are_named_before_the_question(play: Play, backup: Path) -> None:
    done = choose(play, backup, "--limit", "!w1", "-e", "restore_confirmed=true")
    assert done.returncode == 0, done.stdout
    assert "absent  w1, which this run leaves out" in done.stdout


def test_keys_are_written_once_the_restore_is_agreed_to(play: Play, backup: Path) -> None:
    refused = choose(play, backup)
    assert refused.returncode == 2
    assert "Will be taken from the backup, since they are missing from" in refused.stdout
    assert "Nothing was changed. To restore, answer with the cluster's name, example" in refused.stdout
    assert not (play.state / "pki").exists()
    agreed = choose(play, backup, "-e", "restore_confirmed=true")
    assert agreed.returncode == 0, agreed.stdout
    assert identity.Kept.of(play.state).missing == []


@pytest.mark.parametrize("recipients", [[], ["age1mine"]])
def test_so_is_what_decrypted_them_unless_it_is_a_recipients(play: Play, backup: Path, recipients: list[str]) -> None:
    own = play.state / keys.IDENTITY
    safe = own.rename(play.directory / "safe.txt")
    given = {"restore_identity": str(safe), "restore_confirmed": True, "backup_recipients": recipients}
    done = choose(play, backup, "-e", json.dumps(given))
    assert done.returncode == 0, done.stdout
    assert own.exists() == (not recipients)
    assert (f"Restored {own} from {safe}" in done.stdout) == (not recipients)


def begin(play: Play, backup: Path, **changes: Any) -> Restore:
    """A restore of this backup that has begun just now, but for what is changed."""
    records = Records(play.state)
    members = {f"cp{number}": f"https://10.0.0.{number}:2380" for number in (1, 2, 3)}
    now = datetime.datetime.now(tz=datetime.UTC)
    told = manifest.read(backup)
    fresh = {"members": members, "request": str(backup), "began": now.isoformat(), "manifest": asdict(told)}
    begun = replace(restore(backup, new_id(now)), **{**fresh, **changes})
    records.save(begun)
    return begun


def test_an_unfinished_restore_is_resumed_without_asking(play: Play, backup: Path) -> None:
    begun = begin(play, backup)
    done = choose(play, backup)
    assert done.returncode == 0, done.stdout
    assert f"Resuming the restore {begun.id}" in done.stdout
    assert "Restore of the cluster" not in done.stdout


@pytest.mark.parametrize(
    ("changes", "seen", "why"),
    [
        ({"began": "2026-01-01T00:00:00+00:00"}, {}, "that is not within the last 24 hours"),
        ({}, {"live": made.live("cp1")}, "etcd on cp1, cp2, cp3 has quorum, with data that is not of this restore"),
    ],
    ids=["old", "another cluster"],
)
def test_one_that_nobody_may_want_any_more_is_asked_about(
    play: Play, backup: Path, changes: dict[str, Any], seen: dict[str, Any], why: str
) -> None:
    begun = begin(play, backup, **changes)
    refused = choose(play, backup, **seen)
    assert refused.returncode == 2
    assert f"started at {begun.began}, is not resumed: {why}" in refused.stdout
    assert "Restore of the cluster example on cp1, cp2, cp3" in refused.stdout
    assert "Nothing was changed. To restore, answer with the cluster's name, example" in refused.stdout


def test_revisions_begin_above_those_of_an_earlier_restore(play: Play, backup: Path) -> None:
    begin(play, backup, bump=losses.LEAST_BUMP, done="2026-11-21T21:00:00+00:00")
    say = {"name": "Say", "ansible.builtin.debug": {"msg": "bump {{ ansible_facts.kubeproof_restore.bump }}."}}
    given = ("-e", json.dumps({"restore_from": str(backup), "restore_confirmed": True}))
    done = play.run(of_role("restore", "choose"), say, options=given)
    assert f"bump {2 * losses.LEAST_BUMP}." in done.stdout, done.stdout


def test_revisions_begin_above_those_of_newer_backups(play: Play, backup: Path) -> None:
    told = replace(manifest.read(backup), name="20261121T190000Z-cp1", revision=5000)
    listed = [{"name": told.name, "manifest": told.render().decode(), "files": {}}]
    say = {"name": "Say", "ansible.builtin.debug": {"msg": "bump {{ ansible_facts.kubeproof_restore.bump }}."}}
    given = ("-e", json.dumps({"restore_from": str(backup), "restore_confirmed": True}))
    done = play.run(of_role("restore", "choose"), say, options=given, backups=listed)
    assert f"bump {losses.LEAST_BUMP + 4000}." in done.stdout, done.stdout


def test_what_latest_has_skipped_is_told_before_the_question(play: Play, backup: Path) -> None:
    newer = replace(manifest.read(backup), name="20261121T190000Z-cp1", trigger="restore")
    listed = [
        {"name": each.name, "manifest": each.render().decode(), "files": {n: f.bytes for n, f in each.files.items()}}
        for each in (newer, manifest.read(backup))
    ]
    done = choose(play, "latest", "-e", f"backup_directory={backup.parent}", backups=listed)
    assert "Nothing was changed. To restore" in done.stdout, done.stdout
    assert f"backup  cp3:{backup.name}: 2026-11-21" in done.stdout
    assert "skipped cp3:20261121T190000Z-cp1: a restore made it of the state that it was to replace" in done.stdout


def test_a_copy_on_a_target_is_fetched_apart_from_a_damaged_one(play: Play, backup: Path) -> None:
    live, programs = play.directory / "live", play.directory / "bin"
    (live / backup.name).mkdir(parents=True)
    programs.mkdir()
    program = programs / "kubeproof-backup"
    program.write_text(f'#!/bin/sh\nmkdir "$4" && cp -r {shlex.quote(str(backup))} "$4/$3"\n')
    program.chmod(0o755)
    given = {"backup_directory": str(live), "cluster_bin_directory": str(programs), "restore_confirmed": True}
    done = choose(play, f"far/{backup.name}", "-e", json.dumps(given))
    assert done.returncode == 0, done.stdout
    (copy,) = (play.state / "restore").glob(f"*/{backup.name}")
    assert (copy / "snapshot.db").read_bytes() == (backup / "snapshot.db").read_bytes()
    assert [path.name for path in live.iterdir()] == [backup.name]


def test_what_was_fetched_goes_also_if_it_cannot_be_copied(play: Play, backup: Path) -> None:
    live, programs = play.directory / "live", play.directory / "bin"
    live.mkdir()
    programs.mkdir()
    program = programs / "kubeproof-backup"
    program.write_text('#!/bin/sh\nmkdir "$4"\necho "the target is away" >&2\nexit 1\n')
    program.chmod(0o755)
    given = {"backup_directory": str(live), "cluster_bin_directory": str(programs)}
    done = choose(play, f"far/{backup.name}", "-e", json.dumps(given))
    assert done.returncode == 2
    assert "the target is away" in done.stdout
    assert list(live.iterdir()) == []


def test_what_was_chosen_is_known_on_hosts_of_other_groups(play: Play, backup: Path) -> None:
    """The first host of the group may be one that has no part in the run."""
    fact = {"kubeproof_restore": {"id": "I"}, "kubeproof_replacement": {"id": "R"}, "cacheable": True}
    known = {"name": "Know", "ansible.builtin.set_fact": fact}
    files = {"name": "Variables", "ansible.builtin.include_vars": str(paths.PROJECT / "roles/restore/vars/main.yml")}
    say = {"name": "Say", "ansible.builtin.debug": {"msg": "{{ __restore_chosen.id }}{{ __restore_replacement.id }}"}}
    done = play.run(known, files, say, options=("--limit", "!cp1"))
    assert done.returncode == 0, done.stdout
    assert '"msg": "IR"' in done.stdout
