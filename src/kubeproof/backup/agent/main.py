"""The command line of ``kubeproof-backup``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pwd
import sys
import time
from pathlib import Path
from typing import Callable, Sequence

from kubeproof.backup.agent import backups, check, jobs, records, save
from kubeproof.backup.agent.configuration import PATH, Configuration
from kubeproof.backup.agent.errors import BackupError
from kubeproof.backup.agent.target import Found

Command = Callable[[Configuration, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the process's exit status."""
    given = parser().parse_args(arguments)
    os.umask(0o077)
    command: Command = given.command
    if command == _rehearse:
        return _rehearse(None, given)
    try:
        configuration = Configuration.load(given.config)
        if command is _drill:
            given.encryption = read_encryption(configuration)
        become(configuration.user)
        return command(configuration, given)
    except BackupError as error:
        print("kubeproof-backup: %s" % error, file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    whole = argparse.ArgumentParser(
        prog="kubeproof-backup", description="Backups of etcd, as docs/operations/backups.md has them."
    )
    whole.add_argument("--config", type=Path, default=PATH, help="default: %(default)s")
    commands = whole.add_subparsers(metavar="COMMAND", required=True)

    one = commands.add_parser("save", help="make one backup, verified and recorded, then remove what need not be kept")
    one.add_argument("--trigger", choices=save.TRIGGERS, default="hand", help="why it is made (default: %(default)s)")
    one.set_defaults(command=_save)

    one = commands.add_parser("list", help="the backups here, newest first, each with what is wrong with it")
    one.add_argument("target", nargs="?", help="the copies on this target, in place of the backups here")
    one.add_argument("--json", action="store_true", help="as data")
    one.add_argument("--read", action="store_true", help="read every backup completely, which detects any corruption")
    one.set_defaults(command=_list)

    one = commands.add_parser("check", help="is this directory a whole, undamaged backup of this cluster?")
    one.add_argument("path", type=Path, help="the backup's directory, or its name")
    one.set_defaults(command=_check)

    one = commands.add_parser("copy", help="copy backups to the targets")
    one.set_defaults(command=_copy)

    one = commands.add_parser("fetch", help="fetch a copy from a target; it is checked before it gets its name")
    one.add_argument("target", help="which, by its name in the settings")
    one.add_argument("name", help="which backup: `list TARGET` has them")
    one.add_argument("directory", type=Path, help="where it goes")
    one.set_defaults(command=_fetch)

    one = commands.add_parser("public-key", help="the key by which this host logs in to targets of type rsync")
    one.set_defaults(command=_public_key)

    one = commands.add_parser("drill", help="restore a backup into a scratch etcd, and compare")
    one.add_argument("name", nargs="?", help="which (default: the newest)")
    one.set_defaults(command=_drill)

    one = commands.add_parser("rehearse", help="have other versions read a backup: for upgrades")
    one.add_argument("settings", type=Path, help="a file, as the module upgrade_rehearsal writes it")
    one.set_defaults(command=_rehearse)

    one = commands.add_parser("status", help="what happened last, and what that means against the schedule")
    one.add_argument("--json", action="store_true", help="as data")
    one.set_defaults(command=_status)
    return whole


def read_encryption(configuration: Configuration) -> bytes | None:
    """What root alone may read, and a drill's API server has to: how the cluster's objects are encrypted."""
    path = (configuration.drill.get("apiserver") or {}).get("encryption")
    if not path or os.geteuid() != 0:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BackupError("%s cannot be read: %s" % (path, error.strerror)) from None


def become(user: str) -> None:
    """Who is root becomes the program's own user, so that all that it makes is that user's."""
    if os.geteuid() != 0 or user == "root":
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise BackupError("there is no user %s: run playbooks/cluster.yml, which creates it" % user) from None
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    # Where root was may be closed to this user, and programs that it starts would stumble over that.
    os.chdir("/")


def _save(configuration: Configuration, given: argparse.Namespace) -> int:
    return jobs.run(configuration, "save", lambda: save.save(configuration, given.trigger))


def _list(configuration: Configuration, given: argparse.Namespace) -> int:
    if given.target:
        return _list_target(configuration, given)
    etcdutl = configuration.programs.etcdutl if given.read else ""
    found = backups.listing(configuration.directory, configuration.etcd.ca_digest, etcdutl)
    proven = (records.Records(configuration.state).status()["proven"] or {}).get("name")
    if given.json:
        print(json.dumps([_as_data(backup, proven) for backup in found], indent=2))
        return 0
    for backup in found:
        about = backup.manifest
        told = "revision %d, %d keys, %d bytes" % (about.revision, about.keys, about.size) if about else backup.problem
        print("%s  %s%s" % (backup.name, told, "  proven" if backup.name == proven else ""))
    return 0


def _as_data(backup: backups.Backup, proven: str | None) -> dict[str, object]:
    about = json.loads(backup.manifest.render()) if backup.manifest else None
    return {
        "name": backup.name,
        "bytes": backup.bytes,
        "problem": backup.problem,
        "proven": backup.name == proven,
        "manifest": about,
    }


def _check(configuration: Configuration, given: argparse.Namespace) -> int:
    path = given.path if given.path.is_absolute() else configuration.directory / given.path
    found = check.check(path, configuration.programs.etcdutl, configuration.etcd.ca_digest)
    print("%s is whole: revision %d, %d keys" % (found.name, found.revision, found.keys))
    return 0


def _copy(configuration: Configuration, _: argparse.Namespace) -> int:
    targets = importlib.import_module("kubeproof.backup.agent.targets")
    return jobs.run(configuration, "copy", lambda: targets.copy(configuration))


def _list_target(configuration: Configuration, given: argparse.Namespace) -> int:
    targets = importlib.import_module("kubeproof.backup.agent.targets")
    found = targets.newest_first(targets.open_target(configuration, given.target).listing())
    if given.json:
        print(json.dumps([_copy_as_data(each) for each in found], indent=2))
        return 0
    for each in found:
        about = each.manifest
        told = "revision %d, %d keys, %d bytes" % (about.revision, about.keys, about.size) if about else ""
        print("%s  %s" % (each.name, each.problem or told))
    return 0


def _copy_as_data(found: Found) -> dict[str, object]:
    about = json.loads(found.manifest.render()) if found.manifest else None
    return {"name": found.name, "bytes": found.bytes, "problem": found.problem, "manifest": about}


def _fetch(configuration: Configuration, given: argparse.Namespace) -> int:
    targets = importlib.import_module("kubeproof.backup.agent.targets")
    target = targets.open_target(configuration, given.target)
    programs, ca_digest = configuration.programs, configuration.etcd.ca_digest
    print(targets.fetch(target, given.name, given.directory, programs.etcdutl, ca_digest))
    return 0


def _public_key(configuration: Configuration, _: argparse.Namespace) -> int:
    rsync = importlib.import_module("kubeproof.backup.agent.target_rsync")
    keys = sorted({str(target["key"]) for target in configuration.targets if target["type"] == "rsync"})
    if not keys:
        raise BackupError("there is no key, because no target is of type rsync")
    print("\n".join(rsync.public_key(Path(key)) for key in keys))
    return 0


def _drill(configuration: Configuration, given: argparse.Namespace) -> int:
    drill = importlib.import_module("kubeproof.backup.agent.drill")
    limit: float = drill.limit(configuration)
    return jobs.run(configuration, "drill", lambda: drill.drill(configuration, given.name, given.encryption), limit)


def _rehearse(_: Configuration | None, given: argparse.Namespace) -> int:
    """Without the configuration: an upgrade brings its own program, settings and user."""
    rehearsal = importlib.import_module("kubeproof.backup.agent.rehearsal")
    status: int = rehearsal.main(given.settings)
    return status


def _status(configuration: Configuration, given: argparse.Namespace) -> int:
    known, now = records.Records(configuration.state), time.time()
    status = known.status()
    problems = records.problems(status, configuration.overdue, now)
    problems += records.unproven(status, known.history(), configuration.drill.get("overdue"), now)
    if given.json:
        print(json.dumps({**status, "problems": problems}, indent=2))
    else:
        print("\n".join(problems) or "all is as scheduled")
    return 1 if problems else 0
