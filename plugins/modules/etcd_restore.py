#!/usr/bin/python
"""What a restore does on an etcd host: look, make a snapshot of what is left, put restored data in place, join.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import errno
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from ansible.module_utils import etcd_member, places, running
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.static_pod import PodError, static_pods

DOCUMENTATION = r"""
module: etcd_restore
short_description: Carry out a step of an etcd restore on a host
description:
  - Reports the state of an etcd host, saves and restores snapshots, moves data aside, and removes and adds members.
    M(etcd_restore_plan) and M(etcd_replace_member_plan) decide what is restored or replaced.
  - Never deletes data of etcd. Old data is moved to C(kept-ID) in the data directory, which is often a separate disk.
  - Restored data contains the ID of the restore, in C(member/kubeproof-restore), so that completed steps are not
    repeated.
  - Fails if a step fails, with the error of its program.
options:
  operation:
    description:
      - V(look) reports etcd, its data and the backups on the host, and changes nothing.
      - V(changes) lists the keys that were written after O(revision).
      - V(snapshot) saves a snapshot of this member's data, from a copy of the data if etcd is not running.
      - V(stage) creates the directory for the snapshot.
      - V(check) compares the snapshot with O(manifest), and reads it with etcdutl.
      - V(stop) stops O(units), and static pods of the same names.
      - V(place) moves the old data aside, and restores the snapshot. etcd must be stopped.
      - V(aside) only moves the old data aside. etcd must be stopped.
      - V(backup) creates a backup with kubeproof-backup.
      - V(fetch) fetches the backup O(name) from O(target) with kubeproof-backup, to C(.fetch-ID) in
        O(backup_directory). V(discard) removes all such directories.
      - V(leave) removes the member O(name), V(join) adds it as a learner, and V(promote) promotes it to a voting
        member, through the members at O(endpoints).
    type: str
    required: true
    choices:
      [look, changes, snapshot, stage, check, stop, place, aside, backup, fetch, discard, leave, join, promote]
  id:
    description: ID of the restore. For V(snapshot), V(stage), V(check), V(place), V(aside) and V(fetch).
    type: str
    default: ''
  data_directory: {description: Data directory of etcd., type: path, default: /var/lib/etcd}
  backup_directory: {description: Directory of the host's backups., type: path, default: /var/backups/etcd}
  bin_directory: {description: Directory of etcd's programs., type: path, default: /usr/local/bin}
  pki: {description: Directory of etcd's certificates., type: path, default: /etc/etcd/pki}
  port: {description: Client port of this host's etcd member., type: int, default: 2379}
  endpoints:
    description: Client URLs of healthy members. For V(leave), V(join) and V(promote).
    type: list
    elements: str
    default: []
  revision:
    description: Revision of the backup. For V(changes).
    type: int
    default: 0
  units:
    description: Names or patterns of units to stop. For V(stop).
    type: list
    elements: str
    default: []
  name:
    description: Name of the member, or for V(fetch) of the backup.
    type: str
    default: ''
  target:
    description: Name of the backup target. For V(fetch).
    type: str
    default: ''
  peer_url:
    description: Peer URL of the member. For V(place), V(leave), V(join) and V(promote).
    type: str
    default: ''
  initial_cluster:
    description: Value of C(initial-cluster), all members with their peer URLs. For V(place).
    type: str
    default: ''
  token:
    description: Token of the new cluster. For V(place).
    type: str
    default: ''
  bump:
    description: Number by which revisions are increased, so that clients see none twice. For V(place).
    type: int
    default: 0
  manifest:
    description: Manifest of the backup. For V(stage) and V(check).
    type: dict
    default: {}
  timeout:
    description: Time limit for programs of etcd and for kubeproof-backup, in seconds.
    type: int
    default: 1800
extends_documentation_fragment: [attributes]
attributes:
  check_mode: {support: none}
  diff_mode: {support: none}
seealso:
  - module: etcd_restore_plan
  - module: etcd_restore_copy
"""

EXAMPLES = r"""
- name: Get the state of etcd, its data and the backups on the host
  etcd_restore:
    operation: look
  register: __etcd_look

- name: Stop etcd
  etcd_restore:
    operation: stop
    units: [etcd.service]

- name: Move the old data aside and restore the snapshot
  etcd_restore:
    operation: place
    id: 20261121T210000Z
    name: cp1
    peer_url: https://192.0.2.1:2380
    initial_cluster: cp1=https://192.0.2.1:2380
    token: example-20261121T210000Z
    bump: 1000000
"""

RETURN = r"""
there: {description: Whether the host has data of etcd., type: bool, returned: with V(look)}
placed: {description: ID of the restore that the data is from., type: str, returned: with V(look)}
active: {description: Whether etcd is running., type: bool, returned: with V(look)}
free: {description: "Free space for the data directory, in bytes.", type: int, returned: with V(look)}
live:
  description: State of the running member, and the other members that respond; empty if it does not respond.
  type: dict
  returned: with V(look)
problem: {description: Why the member does not respond., type: str, returned: with V(look)}
program: {description: Whether kubeproof-backup is installed., type: bool, returned: with V(look)}
backups:
  description: Backups on the host, the newest first, each with its manifest as text and the sizes of its files.
  type: list
  elements: dict
  returned: with V(look)
keys:
  description: Keys that were written, each with its create revision.
  type: list
  elements: dict
  returned: with V(changes)
path:
  description: Path of the snapshot, empty if the restored data is already in place; or of the fetched backup.
  type: path
  returned: with V(snapshot), V(stage) and V(fetch)
file: {description: "Size (C(bytes)) and C(sha256) of the snapshot.", type: dict, returned: with V(snapshot)}
begun: {description: "Start of the snapshot, RFC 3339 in UTC.", type: str, returned: with V(snapshot)}
finished: {description: "End of the snapshot, RFC 3339 in UTC.", type: str, returned: with V(snapshot)}
cluster_id: {description: "ID of the cluster, hexadecimal.", type: str, returned: with V(snapshot)}
member_id: {description: "ID of the member, hexadecimal.", type: str, returned: with V(snapshot)}
quorum: {description: "Always V(false), since a quorum is not needed.", type: bool, returned: with V(snapshot)}
status: {description: Output of C(etcdutl snapshot status)., type: dict, returned: with V(snapshot)}
versions: {description: Versions of programs and of the storage., type: dict, returned: with V(snapshot)}
kept:
  description: Directories with the old data of this restore.
  type: list
  elements: path
  returned: with V(place) and V(aside)
stopped: {description: Units and static pods that were stopped., type: list, elements: str, returned: with V(stop)}
said: {description: Output of kubeproof-backup., type: str, returned: with V(backup) and V(fetch)}
removed: {description: IDs of removed members., type: list, elements: str, returned: with V(leave)}
initial_cluster:
  description: Value of C(initial-cluster) for the new member.
  type: str
  returned: with V(join)
"""

MARK = etcd_member.RESTORED
STAGING = "restoring-"
FETCHED = ".fetch-"
PROGRAM = "kubeproof-backup"
USER = "etcd"
LOOK_SECONDS = 5
SCRATCH_SECONDS = 120
PROMOTE_SECONDS = 300

Answer = Dict[str, Any]


class Failed(Exception):
    """A step could not be done; the message is for the operator."""


def run(command: List[str], timeout: float) -> str:
    """Standard output of a program; what it complained of becomes the error."""
    said: str = running.run(command, timeout, Failed)
    return said


def run_as_etcd(command: List[str], timeout: float) -> str:
    """The same by etcd's user: what the program reads is not to be trusted, and where it writes is that user's."""
    said: str = running.run(command, timeout, Failed, become(*account()))
    return said


def account() -> Tuple[int, int]:
    """User and group of etcd; Failed on a host that never had it."""
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        raise Failed("there is no user %s on this host" % USER) from None
    return entry.pw_uid, entry.pw_gid


def become(uid: int, gid: int) -> Callable[[], None]:
    """For a new process: be that user for good. It can't be anybody else than who runs this, if that is not root."""

    def drop() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)

    return drop


@contextlib.contextmanager
def etcds_rights() -> Iterator[None]:
    """Work in etcd's directory with the rights of its user, so that a link there leads nowhere that it may not go."""
    if os.geteuid() != 0:
        yield
        return
    (uid, gid), groups = account(), os.getgroups()
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


class Systemd:
    """The few calls to systemctl that are needed."""

    @staticmethod
    def loaded(patterns: List[str]) -> List[str]:
        """Units that these names or patterns stand for, as far as systemd has loaded them: of others none runs."""
        shown = run(["systemctl", "list-units", "--all", "--plain", "--no-legend", *patterns], 30)
        return sorted(line.split()[0] for line in shown.splitlines() if line.strip())

    @staticmethod
    def state(unit: str) -> str:
        """``active``, ``inactive``, ``failed`` and so on."""
        shown = run(["systemctl", "show", unit, "--property=ActiveState"], 30)
        return shown.strip().partition("=")[2]


class Host:
    """This etcd host."""

    def __init__(self, parameters: Dict[str, Any]) -> None:
        self.parameters = parameters
        self.data = os.path.normpath(parameters["data_directory"])
        self.id: str = parameters["id"]

    def program(self, name: str) -> str:
        """The path of one of etcd's programs."""
        return os.path.join(self.parameters["bin_directory"], name)

    def ctl(self, *arguments: str, endpoints: str = "", timeout: float = LOOK_SECONDS) -> Any:
        """What etcdctl answers, as data. Without ``endpoints``, the member on this host is asked."""
        command = [*self.client(endpoints), "--dial-timeout", "3s", "--command-timeout", "%ds" % timeout, *arguments]
        return json.loads(run(command, timeout + 10))

    def client(self, endpoints: str = "", who: str = "operator") -> List[str]:
        """The beginning of a command to etcdctl, which answers in JSON; our own sockets want no certificate.

        ``who``: whose certificate is shown. The operator's key is root's, the V(server)'s is etcd's own.
        """
        command = [self.program("etcdctl"), "--write-out", "json"]
        if endpoints.startswith("unix:"):
            return [*command, "--endpoints", endpoints]
        pki = self.parameters["pki"]
        return [
            *command, "--endpoints", endpoints or "https://127.0.0.1:%d" % self.parameters["port"],
            "--cacert", pki + "/ca.crt", "--cert", "%s/%s.crt" % (pki, who), "--key", "%s/%s.key" % (pki, who),
        ]  # fmt: skip

    def version(self, program: str) -> str:
        """The version of one of etcd's programs."""
        return run([self.program(program), "version"], 30).partition(":")[2].split("\n", 1)[0].strip()

    @property
    def member(self) -> str:
        """Where etcd has its data: the one directory in the data directory that it looks into."""
        return os.path.join(self.data, "member")

    @property
    def staging(self) -> str:
        """Where a snapshot arrives and is made a member's: on the file system on which it will stay."""
        return os.path.join(self.data, STAGING + self.id)

    def placed(self) -> str:
        """The restore that this host's data is of; empty if of none."""
        with contextlib.suppress(OSError, Failed), etcds_rights(), open(
            os.path.join(self.member, MARK), "rb"
        ) as stream:
            return stream.read().decode(errors="replace").strip()
        return ""

    def require_stopped(self) -> None:
        """Refuse to touch data under a running etcd."""
        state = Systemd.state("etcd.service")
        if state not in ("inactive", "failed"):
            raise Failed("etcd.service is %s: its data is not touched while it may run" % state)


# Looking


def look(host: Host) -> Answer:
    """What is here, without changing anything."""
    parent = host.data
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    status = os.statvfs(parent)
    live, problem = alive(host)
    return {
        "there": os.path.isdir(host.member),
        "placed": host.placed(),
        "active": Systemd.state("etcd.service") == "active",
        "free": status.f_bavail * status.f_frsize,
        "live": live,
        "problem": problem,
        "program": os.path.exists(host.program(PROGRAM)),
        "backups": backups(host.parameters["backup_directory"]),
    }


def alive(host: Host) -> Tuple[Answer, str]:
    """What the running member says of itself and the others who answer; or why there is nothing."""
    try:
        status = host.ctl("endpoint", "status")[0]["Status"]
        members = host.ctl("member", "list", "--consistency=s")["members"]
    except (Failed, ValueError, LookupError) as error:
        return {}, str(error)
    mine = status["header"]["member_id"]
    known = [
        {
            "name": each.get("name", ""),
            "id": "%x" % each["ID"],
            "url": (each.get("clientURLs") or each.get("peerURLs") or [""])[0],
            "peer_url": (each.get("peerURLs") or [""])[0],
            "started": bool(each.get("clientURLs")),
            "learner": bool(each.get("isLearner")),
            "self": each["ID"] == mine,
        }
        for each in members
    ]
    return {
        "cluster_id": "%x" % status["header"]["cluster_id"],
        "member_id": "%x" % mine,
        "revision": int(status["header"]["revision"]),
        "size": int(status["dbSize"]),
        "version": status["version"],
        "storage": status.get("storageVersion", ""),
        "leader": bool(status.get("leader")),
        "members": known,
        "others": [each for each in known if each["started"] and not each["self"] and answers(host, each["url"])],
    }, ""


def answers(host: Host, url: str) -> bool:
    """Whether a member answers, whether or not it has a majority."""
    try:
        host.ctl("endpoint", "status", endpoints=url, timeout=2)
    except (Failed, ValueError):
        return False
    return True


def backups(directory: str) -> List[Answer]:
    """The backups here: names, manifests as text, and files' sizes. Judging is the controller's part."""
    found = []
    names = sorted(os.listdir(directory), reverse=True) if os.path.isdir(directory) else []
    for name in names:
        path = os.path.join(directory, name)
        if name.startswith(".") or not os.path.isdir(path):
            continue
        manifest = ""
        with contextlib.suppress(OSError, ValueError), open(
            os.path.join(path, "manifest.json"), encoding="utf-8"
        ) as stream:
            manifest = stream.read(1 << 20)
        with os.scandir(path) as entries:
            sizes = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}
        found.append({"name": name, "manifest": manifest, "files": sizes})
    return found


def changes(host: Host) -> Answer:
    """Keys that were written after a revision: their names and the revisions at which they were made."""
    after = str(host.parameters["revision"] + 1)
    found = host.ctl("get", "", "--prefix", "--keys-only", "--min-mod-rev", after, "--consistency=s", timeout=60)
    keys = [
        {"key": base64.b64decode(entry["key"]).decode(errors="replace"), "created": int(entry["create_revision"])}
        for entry in found.get("kvs", [])
    ]
    return {"keys": keys}


# A snapshot of what is left


def snapshot(host: Host) -> Answer:
    """A snapshot of this member's data in the staging directory, and what is known of it."""
    target = os.path.join(fresh_staging(host), "snapshot.db")
    if Systemd.state("etcd.service") == "active":
        try:
            # A member gives its data whether or not it has a majority.
            return saved(host, target, "")
        except Failed:
            # Copying the data takes a stop, to which nobody has agreed yet: not of a member that serves the cluster.
            if alive(host)[0].get("leader"):
                raise
    if not os.path.isdir(host.member):
        raise Failed("%s has no data" % host.data)
    with etcds_rights():
        scratch = tempfile.mkdtemp(prefix="scratch-", dir=host.staging)
    try:
        copy(host, os.path.join(scratch, "data", "member"))
        return from_copy(host, scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def copy(host: Host, target: str) -> None:
    """Copy the data while nobody writes it: an etcd that waits for a majority serves nobody, and is started again."""
    require_room(host, 2 * tree_size(host.member))
    waits = Systemd.state("etcd.service") not in ("inactive", "failed")
    if waits:
        run(["systemctl", "stop", "etcd.service"], 120)
    try:
        with etcds_rights():
            shutil.copytree(host.member, target, symlinks=True)
    finally:
        if waits:
            run(["systemctl", "start", "--no-block", "etcd.service"], 30)


def from_copy(host: Host, scratch: str, target: str) -> Answer:
    """Start an etcd on a copy of the data, alone and on sockets that nobody else reaches, and ask that one.

    As etcd's user, like the one whose data it is: nobody knows what is in it.
    """
    client, peer = ("unix://%s/%s.sock" % (scratch, name) for name in ("client", "peer"))
    command = [
        host.program("etcd"), "--name", "restore", "--data-dir", os.path.join(scratch, "data"), "--force-new-cluster",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
    ]  # fmt: skip
    with etcds_rights():
        log = open(os.path.join(scratch, "log"), "w+b")  # noqa: SIM115 - closed below
    with log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=running.environment(),
            preexec_fn=become(*account()),  # noqa: PLW1509 - this program has one thread
        )  # fmt: skip
        try:
            await_scratch(host, client, process, log)
            return saved(host, target, client)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            process.kill()
            process.wait()


def await_scratch(host: Host, client: str, process: subprocess.Popen[bytes], log: Any) -> None:
    """Wait until the scratch etcd has read its copy."""
    deadline = time.monotonic() + SCRATCH_SECONDS
    while True:
        try:
            # What `endpoint health` reads, too: it is answered once all of the log is applied. But health is bad for
            # good if an alarm is stored in the data: of a full database, for example.
            host.ctl("get", "health", "--keys-only", endpoints=client, timeout=3)
        except Failed as error:
            if process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            log.seek(0)
            raise Failed(
                "the data in %s cannot be read: an etcd that was started on a copy of it %s. Its last words: %s"
                % (host.data, "ended" if process.poll() is not None else "does not answer (%s)" % error,
                   running.last_words(log.read()))
            ) from None  # fmt: skip
        return


def saved(host: Host, target: str, endpoint: str) -> Answer:
    """Save a snapshot from the member on this host, or from another endpoint, and say what a manifest says of it."""
    begun, timeout = now(), host.parameters["timeout"]
    status = host.ctl("endpoint", "status", endpoints=endpoint, timeout=30)[0]["Status"]
    client = host.client(endpoint, who="server")
    run_as_etcd([*client, "--command-timeout", "%ds" % timeout, "snapshot", "save", target], timeout + 10)
    with etcds_rights():
        fsync(target)
    command = [host.program("etcdutl"), "snapshot", "status", target, "--write-out", "json"]
    read = json.loads(run_as_etcd(command, timeout))
    return {
        "path": target,
        "file": {"bytes": os.path.getsize(target), "sha256": sha256(target)},
        "begun": begun,
        "finished": now(),
        "cluster_id": "%x" % status["header"]["cluster_id"],
        "member_id": "%x" % status["header"]["member_id"],
        "quorum": False,
        "status": read,
        "versions": {
            "etcd": status["version"],
            "etcdctl": host.version("etcdctl"),
            "storage": str(read.get("version", "")),
        },
    }


# Putting data in place


def fresh_staging(host: Host) -> str:
    """An empty directory for this restore; what interrupted runs, and restores that came to nothing, sent is gone."""
    if not host.id:
        raise Failed("no restore's ID was given")
    for name in os.listdir(host.data):
        if name.startswith(STAGING):
            places.remove_tree(os.path.join(host.data, name))
    with etcds_rights():
        os.mkdir(host.staging, 0o700)
    return host.staging


def stage(host: Host) -> Answer:
    """Where the snapshot goes; empty if this host's data is this restore's already."""
    if host.placed() == host.id:
        return {"path": ""}
    require_room(host, 2 * int(host.parameters["manifest"]["size"]))
    return {"path": os.path.join(fresh_staging(host), "snapshot.db")}


def check(host: Host) -> Answer:
    """Have etcd's own program read the snapshot that arrived, and compare what it says with the manifest."""
    if host.placed() == host.id:
        return {}
    path = os.path.join(host.staging, "snapshot.db")
    manifest = host.parameters["manifest"]
    if sha256(path) != manifest["files"]["snapshot.db"]["sha256"]:
        raise Failed("the snapshot that arrived in %s has another SHA-256 than the backup's: run this again" % path)
    command = [host.program("etcdutl"), "snapshot", "status", path, "--write-out", "json"]
    status = json.loads(run_as_etcd(command, host.parameters["timeout"]))
    said = {"revision": "revision", "hash": "hash", "keys": "totalKey", "size": "totalSize"}
    for name, theirs in said.items():
        if int(status[theirs]) != int(manifest[name]):
            raise Failed("the snapshot has %s %s, its manifest says %s" % (name, status[theirs], manifest[name]))
    return {}


def place(host: Host) -> Answer:
    """Set the old data aside, and put the snapshot in its place as this member's. Killed anywhere, it can run again."""
    if host.placed() == host.id:
        shutil.rmtree(host.staging, ignore_errors=True)
        return {"changed": False, "kept": kept(host)}
    host.require_stopped()
    fresh = os.path.join(host.staging, "new")
    shutil.rmtree(fresh, ignore_errors=True)
    parameters = host.parameters
    command = [
        host.program("etcdutl"), "snapshot", "restore", os.path.join(host.staging, "snapshot.db"), "--data-dir", fresh,
        "--name", parameters["name"], "--initial-cluster", parameters["initial_cluster"],
        "--initial-cluster-token", parameters["token"], "--initial-advertise-peer-urls", parameters["peer_url"],
        "--bump-revision", str(parameters["bump"]), "--mark-compacted",
    ]  # fmt: skip
    run_as_etcd(command, parameters["timeout"])
    made = os.path.join(fresh, "member")
    with etcds_rights():
        # As bytes: a codec is imported when it is first wanted, which etcd's user may not be able to.
        with open(os.path.join(made, MARK), "wb") as stream:
            stream.write((host.id + "\n").encode())
        sync_tree(fresh)
        set_aside(host)
        os.rename(made, host.member)
        fsync(host.data)
    shutil.rmtree(host.staging, ignore_errors=True)
    return {"changed": True, "kept": kept(host)}


def aside(host: Host) -> Answer:
    """Only move the data away. The host knows of no member any more: the next one begins from nothing."""
    host.require_stopped()
    there = os.path.isdir(host.member)
    with etcds_rights():
        set_aside(host)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(etcd_member.LIVED)
    return {"changed": there, "kept": kept(host)}


def set_aside(host: Host) -> None:
    """Move the data to ``kept-ID``, never over something that is there."""
    if not os.path.isdir(host.member):
        return
    number = 1
    while True:
        target = os.path.join(host.data, "kept-" + host.id + (".%d" % number if number > 1 else ""))
        try:
            os.mkdir(target, 0o700)
            break
        except FileExistsError:
            number += 1
    os.rename(host.member, os.path.join(target, "member"))
    fsync(target)
    fsync(host.data)


def kept(host: Host) -> List[str]:
    """Where this restore put old data."""
    prefix = "kept-" + host.id
    return sorted(os.path.join(host.data, name) for name in os.listdir(host.data) if name.startswith(prefix))


def stop(host: Host) -> Answer:
    """Stop units and static pods that are there; those that are not need none."""
    running = [
        unit for unit in Systemd.loaded(host.parameters["units"]) if Systemd.state(unit) not in ("inactive", "failed")
    ]
    if running:
        run(["systemctl", "stop", *running], 300)
    pods = static_pods(host.parameters["units"])
    for pod in pods:
        pod.withdraw(300)
    stopped = running + [pod.name for pod in pods]
    return {"changed": bool(stopped), "stopped": stopped}


# Backups that the host's own program makes and fetches


def backup(host: Host) -> Answer:
    """Back up what is there before it is replaced, if this host makes backups."""
    if not os.path.exists(host.program(PROGRAM)):
        return {"said": "this host makes no backups; the old data is kept"}
    try:
        said = run([host.program(PROGRAM), "save", "--trigger", "restore"], host.parameters["timeout"])
    except Failed as error:
        raise Failed(
            "the current state could not be backed up, and nothing was stopped (%s). The old data directories are kept "
            "in any case; to continue without a backup: -e restore_backup_first=false" % error
        ) from None
    return {"changed": True, "said": said.strip()}


def fetch(host: Host) -> Answer:
    """Bring a backup back from a target, next to this host's own.

    Not among them: there may be one of that name, damaged, and a backup that begins meanwhile removes unfinished ones.
    """
    if not host.id:
        raise Failed("no restore's ID was given")
    discard(host)
    directory = os.path.join(host.parameters["backup_directory"], FETCHED + host.id)
    # The program makes the directory, as its own user.
    command = [host.program(PROGRAM), "fetch", host.parameters["target"], host.parameters["name"], directory]
    said = run(command, host.parameters["timeout"]).strip()
    return {"changed": True, "path": os.path.join(directory, host.parameters["name"]), "said": said}


def discard(host: Host) -> Answer:
    """Remove what was fetched, also by restores that were killed: no two are at work at once."""
    directory = host.parameters["backup_directory"]
    names = os.listdir(directory) if os.path.isdir(directory) else []
    fetched = [os.path.join(directory, name) for name in names if name.startswith(FETCHED)]
    for path in fetched:
        places.remove_tree(path)
    return {"changed": bool(fetched)}


# One member of a cluster that works


def leave(host: Host) -> Answer:
    """Take the members of a name out of the cluster, or with a peer URL that is not theirs any more."""
    gone = [each for each in cluster_members(host) if ours(host, each)]
    for each in gone:
        host.ctl("member", "remove", "%x" % each["ID"], endpoints=endpoints(host), timeout=30)
    return {"changed": bool(gone), "removed": ["%x" % each["ID"] for each in gone]}


def join(host: Host) -> Answer:
    """Add this member as a learner, and say how the cluster is now, as etcd's configuration wants it."""
    missing = not any(ours(host, each) for each in cluster_members(host))
    if missing:
        host.ctl(
            "member", "add", host.parameters["name"], "--learner", "--peer-urls", host.parameters["peer_url"],
            endpoints=endpoints(host), timeout=30,
        )  # fmt: skip
    members = cluster_members(host)
    named = [
        "%s=%s" % (host.parameters["name"] if ours(host, each) else each["name"], url)
        for each in members
        for url in each["peerURLs"]
    ]
    return {"changed": missing, "initial_cluster": ",".join(sorted(named))}


def promote(host: Host) -> Answer:
    """Make the learner a voter, as soon as it has caught up."""
    deadline, asked = time.monotonic() + PROMOTE_SECONDS, False
    while True:
        mine = [each for each in cluster_members(host) if ours(host, each)]
        if not mine:
            raise Failed("%s is not a member" % host.parameters["name"])
        if not mine[0].get("isLearner"):
            return {"changed": asked}
        try:
            asked = True
            host.ctl("member", "promote", "%x" % mine[0]["ID"], endpoints=endpoints(host), timeout=10)
        except Failed as error:
            if time.monotonic() > deadline:
                raise Failed(
                    "%s has not caught up with the others within %d s (%s); it stays a learner; run this "
                    "again to continue" % (host.parameters["name"], PROMOTE_SECONDS, error)
                ) from None
            time.sleep(0.5)


def cluster_members(host: Host) -> List[Answer]:
    """The members as the majority has them."""
    members: List[Answer] = host.ctl("member", "list", endpoints=endpoints(host), timeout=10)["members"]
    return members


def ours(host: Host, member: Answer) -> bool:
    """Whether it is the one in question: a learner that was never started has no name yet."""
    return member.get("name") == host.parameters["name"] or host.parameters["peer_url"] in member.get("peerURLs", [])


def endpoints(host: Host) -> str:
    """The healthy members."""
    return ",".join(host.parameters["endpoints"])


# Files


def require_room(host: Host, needed: int) -> None:
    """Refuse to fill the disk that etcd has its data on."""
    status = os.statvfs(host.data)
    free = status.f_bavail * status.f_frsize
    if free < needed + (256 << 20):
        raise Failed("%s: %d MiB are free, and %d are needed" % (host.data, free >> 20, (needed >> 20) + 256))


def tree_size(path: str) -> int:
    """Bytes in a directory and below."""
    return sum(os.path.getsize(os.path.join(parent, name)) for parent, _, names in os.walk(path) for name in names)


def walk(path: str) -> Iterator[str]:
    """A directory and all that is in it."""
    yield path
    for parent, directories, names in os.walk(path):
        for name in directories + names:
            yield os.path.join(parent, name)


def sync_tree(path: str) -> None:
    """Write all of it through to disk."""
    for each in walk(path):
        fsync(each)


def fsync(path: str) -> None:
    """Write a file or directory through to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems do not know it for directories.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def sha256(path: str) -> str:
    """A file's SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def now() -> str:
    """The time, RFC 3339 in UTC."""
    return datetime.datetime.now(tz=datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


OPERATIONS = {
    "look": look, "changes": changes, "snapshot": snapshot, "stage": stage, "check": check, "stop": stop,
    "place": place, "aside": aside, "backup": backup, "fetch": fetch, "discard": discard, "leave": leave, "join": join,
    "promote": promote,
}  # fmt: skip


def main() -> None:
    """Ansible's entry."""
    text: Dict[str, Any] = {"type": "str", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "operation": {"type": "str", "required": True, "choices": list(OPERATIONS)},
            "id": text,
            "data_directory": {"type": "path", "default": "/var/lib/etcd"},
            "backup_directory": {"type": "path", "default": "/var/backups/etcd"},
            "bin_directory": {"type": "path", "default": "/usr/local/bin"},
            "pki": {"type": "path", "default": "/etc/etcd/pki"},
            "port": {"type": "int", "default": 2379},
            "endpoints": {"type": "list", "elements": "str", "default": []},
            "revision": {"type": "int", "default": 0},
            "units": {"type": "list", "elements": "str", "default": []},
            "name": text,
            "target": text,
            "peer_url": text,
            "initial_cluster": text,
            "token": {"type": "str", "default": "", "no_log": False},
            "bump": {"type": "int", "default": 0},
            "manifest": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 1800},
        },
    )
    answer: Optional[Answer] = None
    try:
        answer = OPERATIONS[module.params["operation"]](Host(module.params))
    except (Failed, PodError, OSError, ValueError, KeyError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**{"changed": False, **(answer or {})})


if __name__ == "__main__":
    main()
