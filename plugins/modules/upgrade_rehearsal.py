#!/usr/bin/python
"""Have other versions of Kubernetes and etcd read a backup on a host that has one, apart from the cluster.

The action plugin of this name sends the program, follows it, and displays what it says. Standard library only;
Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import json
import os
import pwd
import shutil
import sys
import time
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.commands import CommandFailed, run

DOCUMENTATION = r"""
module: upgrade_rehearsal
short_description: Have other versions of Kubernetes and etcd read a backup
description:
  - Restores the newest backup of the host into an etcd of its own and has the present API server read it, then the
    target's, which also writes one object of each kind; then the present one reads all of it again. Fails if the target
    does not read all objects, or the present version does not read them afterwards.
  - Runs as a transient systemd unit of an unprivileged user without a network, with what memory and processor time the
    cluster leaves. Removes everything afterwards; what a rehearsal has left that was killed is removed first.
  - Needs staged versions, see M(distribute_components). The result is C(reports/upgrade-rehearsal.json) in the state
    directory.
options:
  versions:
    description: Versions to rehearse, of C(kubernetes) and, unless it is to be the present one, C(etcd).
    type: dict
    required: true
  forward:
    description: Whether all resources have to be served of which there are objects. Older versions lack some.
    type: bool
    default: true
  bin_directory:
    description: Directory of the present programs.
    type: path
    required: true
  backup_directory:
    description: Directory of backups.
    type: path
    required: true
  backup:
    description:
      - Name of a backup of another host, for a host that has no etcd. It is in C(rehearsal) in the state directory,
        which is removed at the end. The rehearsal uses it instead of O(backup_directory), and the staged etcd of
        O(versions) instead of an installed one, and runs as the API server's user.
    type: str
    default: ""
  arguments:
    description: Flags of the API server, see the filter C(rehearsal_flags).
    type: list
    elements: str
    default: []
  encryption:
    description: The API server's encryption configuration.
    type: path
    required: true
  timeout:
    description: Timeout, in seconds.
    type: int
    default: 1800
  memory:
    description: Memory limit, in bytes.
    type: int
    default: 2147483648
extends_documentation_fragment: [attributes]
attributes:
  check_mode: {support: none}
  diff_mode: {support: none}
seealso:
  - module: upgrade_plan
"""

EXAMPLES = r"""
- name: Have the target read the backup
  upgrade_rehearsal:
    versions: {kubernetes: 1.37.2, etcd: 3.7.3}
    bin_directory: /usr/local/bin
    backup_directory: /var/backups/etcd
    encryption: /etc/kubernetes/apiserver/encryption.yaml
"""

RETURN = r"""
rehearsal:
  description: What was read and written, in what time, and problems.
  type: dict
  returned: success
"""

UNIT = "kubeproof-rehearsal.service"
# Who has the backups, or where there are none, who could read all of their content from etcd anyway.
USER = "etcd-backup"
OTHER_USER = "kube-apiserver"
# Not below /var/lib/kubeproof, which is closed to that user.
DIRECTORY = "/var/lib/kubeproof-rehearsal"
# In memory: the key with which Secrets are encrypted.
RUNTIME = "/run/kubeproof-rehearsal"
STAGED = "/var/lib/kubeproof/staged"
# A snapshot is restored once, each of three API servers writes a little, and etcd keeps what was before.
ROOM = 2.0
ROOM_BYTES = 512 << 20
# An API server has all objects in its cache, decoded; it needs so much without any.
DECODED = 6
MEMORY_BYTES = 768 << 20
SKIP = "or do without, at your own risk: upgrade_rehearsal: false"


class Refused(Exception):
    """A rehearsal is not possible here; the message says why, and what to do."""


def remove(of: str = "") -> None:
    """End a rehearsal, and remove all that it has made. ``of``: only if it is that one, by its name.

    A run that was killed leaves processes on the controller, which may end when the next run's rehearsal has begun.
    """
    if of and owner() not in ("", of):
        return
    for command in (["systemctl", "stop", UNIT], ["systemctl", "reset-failed", UNIT]):
        # It fails if there is none.
        with contextlib.suppress(CommandFailed):
            run(command, timeout=60)
    for path in (DIRECTORY, RUNTIME):
        shutil.rmtree(path, ignore_errors=True)
        if os.path.lexists(path):
            raise Refused("%s, which a rehearsal has left, cannot be removed: remove it manually" % path)


def owner() -> str:
    """The name of the rehearsal that is here; empty if there is none, or it has none yet."""
    try:
        with open(os.path.join(RUNTIME, "owner"), encoding="ascii") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def snapshot_bytes(directory: str) -> int:
    """The size of the newest backup's snapshot; 0 if there is none."""
    try:
        names = sorted((each for each in os.listdir(directory) if not each.startswith(".")), reverse=True)
    except FileNotFoundError:
        return 0
    for name in names:
        path = os.path.join(directory, name, "snapshot.db")
        if os.path.isfile(path):
            return os.stat(path).st_size
    return 0


def free_memory(text: str) -> int:
    """Bytes that may be used, by /proc/meminfo."""
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def shortage(size: int, disk: int, memory: int, limit: int) -> str:
    """What is too little for a snapshot of this size; empty if nothing is. All in bytes."""
    needed = int(size * ROOM) + ROOM_BYTES
    if disk < needed:
        return "%s has %d MiB free, and a rehearsal needs %d: free disk space" % (DIRECTORY, disk >> 20, needed >> 20)
    needed = size * DECODED + MEMORY_BYTES
    if memory < needed:
        return "%d MiB of memory are available, and a rehearsal needs %d: free memory" % (memory >> 20, needed >> 20)
    if limit < needed:
        return "upgrade_rehearsal_memory is %d MiB, and this rehearsal needs %d: raise it" % (limit >> 20, needed >> 20)
    return ""


def user(parameters: Dict[str, Any]) -> str:
    """Who rehearses."""
    return OTHER_USER if parameters["backup"] else USER


def backup_directory(parameters: Dict[str, Any]) -> str:
    """Where the backup is, or is going to be if the controller has it."""
    if parameters["backup"]:
        return os.path.join(DIRECTORY, "backups")
    return str(parameters["backup_directory"])


def require(parameters: Dict[str, Any]) -> None:
    """Refuse before anything is made."""
    size = parameters["_bytes"] or snapshot_bytes(parameters["backup_directory"])
    if not size:
        raise Refused("there is no backup in %s: run `kubeproof-backup save`" % parameters["backup_directory"])
    about = os.statvfs(os.path.dirname(DIRECTORY))
    with open("/proc/meminfo", encoding="ascii") as stream:
        memory = free_memory(stream.read())
    problem = shortage(size, about.f_bavail * about.f_frsize, memory, parameters["memory"])
    if problem:
        raise Refused("%s, %s" % (problem, SKIP))


def sha256(path: str) -> str:
    """A file's SHA-256 in hex; empty if there is none."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


def find(name: str, digest: str, bin_directory: str) -> str:
    """Where a program of the target is: staged, or already installed."""
    for path in (os.path.join(STAGED, digest), os.path.join(bin_directory, name)):
        if digest and sha256(path) == digest:
            return path
    raise Refused("the target's %s is not staged on this host: run the upgrade again" % name)


def provide(source: str, target: str) -> str:
    """The same file where the unprivileged user can reach it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        os.chmod(target, 0o755)  # noqa: S103 - a program
    return target


def prepare(parameters: Dict[str, Any]) -> Dict[str, str]:
    """Make directories, programs and settings; returns where the program goes, and a backup from the controller."""
    name = user(parameters)
    try:
        account, group = pwd.getpwnam(name), grp.getgrnam(name)
    except KeyError:
        creator = "apiserver" if parameters["backup"] else "backup creates (backup_enabled)"
        raise Refused("there is no user %s, whom the role %s" % (name, creator)) from None
    os.mkdir(DIRECTORY)
    os.chmod(DIRECTORY, 0o755)  # noqa: S103 - of programs that are no secret
    os.mkdir(RUNTIME)
    os.chown(RUNTIME, 0, group.gr_gid)
    os.chmod(RUNTIME, 0o750)  # noqa: S103 - for that user's group alone
    put(os.path.join(RUNTIME, "owner"), parameters["_name"].encode(), group.gr_gid)
    work, present = os.path.join(DIRECTORY, "work"), parameters["bin_directory"]
    backups = backup_directory(parameters)
    own = [backups, os.path.join(backups, parameters["backup"])] if parameters["backup"] else []
    for path in (work, *own):
        os.mkdir(path, 0o700)
        os.chown(path, account.pw_uid, account.pw_gid)
    programs = {name: os.path.join(present, name) for name in ("etcd", "etcdutl", "kube-apiserver")}
    for name, digest in parameters["_etcd"].items():
        programs[name] = provide(find(name, digest, present), os.path.join(DIRECTORY, "present-" + name))
    missing = [path for path in programs.values() if not os.path.exists(path)]
    if missing:
        raise Refused("%s is not on this host, which therefore cannot rehearse" % missing[0])
    target = dict(programs)
    for name, digest in parameters["_programs"].items():
        target[name] = provide(find(name, digest, present), os.path.join(DIRECTORY, "target-" + name))
    versions = parameters["versions"]
    settings = {
        "directory": backups,
        "where": work,
        "timeout": parameters["timeout"] // 3,
        "present": {**programs, "version": parameters["_present"]},
        "target": {**target, "version": versions["kubernetes"], "etcd_version": versions.get("etcd", "as it is")},
        "arguments": parameters["arguments"],
        "encryption": "",
        "unserved": parameters["forward"],
    }
    if os.path.exists(parameters["encryption"]):
        settings["encryption"] = os.path.join(RUNTIME, "encryption.yaml")
        with open(parameters["encryption"], "rb") as stream:
            put(settings["encryption"], stream.read(), group.gr_gid)
    put(os.path.join(RUNTIME, "settings.json"), json.dumps(settings).encode(), group.gr_gid)
    return {"program": os.path.join(DIRECTORY, "program"), "backup": own[-1] if own else ""}


def put(path: str, content: bytes, group: int) -> None:
    """A file of root's that the group may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        os.fchown(stream.fileno(), 0, group)
        os.fchmod(stream.fileno(), 0o640)


def command(parameters: Dict[str, Any]) -> List[str]:
    """The transient unit: of low weight, with a time limit, without a network, and cleaning up however it ends."""
    properties = {
        "User": user(parameters),
        "MemoryMax": parameters["memory"],
        "CPUWeight": 10,
        "IOWeight": 10,
        "Nice": 15,
        "IOSchedulingClass": "idle",
        "OOMScoreAdjust": 1000,
        "RuntimeMaxSec": parameters["timeout"],
        "StandardOutput": "file:%s/log" % RUNTIME,
        "ExecStopPost": "+/bin/rm -rf --one-file-system %s %s/encryption.yaml" % (DIRECTORY, RUNTIME),
        "PrivateNetwork": "yes",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "ProtectSystem": "strict",
        "ReadWritePaths": "%s/work %s" % (DIRECTORY, backup_directory(parameters)),
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "PrivateDevices": "yes",
        "ProtectKernelTunables": "yes",
        "ProtectKernelModules": "yes",
        "ProtectControlGroups": "yes",
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        "RestrictNamespaces": "yes",
        "RestrictSUIDSGID": "yes",
        "LockPersonality": "yes",
        "SystemCallArchitectures": "native",
        "UMask": "0077",
    }
    words = ["systemd-run", "--quiet", "--collect", "--unit=" + UNIT]
    words += ["--property=%s=%s" % item for item in properties.items()]
    program = os.path.join(DIRECTORY, "program")
    # A host without it has given this module another one.
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    return [*words, python, "-I", program, "rehearse", os.path.join(RUNTIME, "settings.json")]


def follow(seconds: float) -> Dict[str, Any]:
    """What it has said so far, and whether it has ended, after at most this time."""
    deadline = time.monotonic() + seconds
    while True:
        state = run(["systemctl", "show", "--property=ActiveState", "--value", UNIT], timeout=60).strip()
        ended = state not in ("active", "activating", "deactivating", "reloading")
        if ended or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    try:
        with open(os.path.join(RUNTIME, "log"), encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()
    except FileNotFoundError:
        lines = []
    return {"ended": ended, "lines": lines}


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            "versions": {"type": "dict", "required": True},
            "forward": {"type": "bool", "default": True},
            "bin_directory": {"type": "path", "required": True},
            "backup_directory": {"type": "path", "required": True},
            "backup": {"type": "str", "default": ""},
            "arguments": {"type": "list", "elements": "str", "default": []},
            "encryption": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 1800},
            "memory": {"type": "int", "default": 2 << 30},
            # The action's: what to do, the rehearsal's name, digests of the target's programs by name, the present
            # version; with a backup of the controller digests of etcd's programs, and the snapshot's size.
            "_step": {"type": "str", "choices": ["prepare", "start", "follow", "remove"], "default": "prepare"},
            "_name": {"type": "str", "default": ""},
            "_programs": {"type": "dict", "default": {}},
            "_present": {"type": "str", "default": ""},
            "_etcd": {"type": "dict", "default": {}},
            "_bytes": {"type": "int", "default": 0},
        }
    )
    parameters, step = module.params, module.params["_step"]
    found: Dict[str, Any] = {}
    try:
        if step == "prepare":
            remove()
            require(parameters)
            found = dict(prepare(parameters))
        elif step == "start":
            run(command(parameters), timeout=120)
        elif step == "follow":
            found = follow(10)
        else:
            remove(parameters["_name"])
    except (Refused, CommandFailed, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
