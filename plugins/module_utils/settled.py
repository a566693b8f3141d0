"""What an installation task left on a host, so that the next run's first round trip reports that it is still there.

A record has the digest of what the task asked for, and how everything that it asked about looked when it was done: it
is settled as long as it looks the same. There is one record per task. Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import grp
import hashlib
import json
import os
import pwd
import stat
from typing import Any, Dict, List, Optional

from ansible.module_utils import places
from ansible.module_utils.commands import CommandFailed, run

DIRECTORY = "/var/lib/kubeproof/settled"
# Larger files are not read: whatever changes their content changes their times, too.
LARGE = 1 << 20
# A containerd that hangs has no images to tell of.
IMAGES_SECONDS = 60

Subject = Dict[str, List[str]]
"""What a task is about, names by kind: ``files`` (and directories), ``users``, ``modules``, ``sysctls``, ``images``."""


def describe(path: str) -> Optional[List[Any]]:
    """Everything about a file or directory that a task sets; None if there is nothing.

    Of a link also what it leads to, where that is a directory, as that of etcd's data may be, or is missing.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return ["link", os.readlink(path), *_led_to(path)]
    found: List[Any] = [status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)]
    if not stat.S_ISREG(status.st_mode):
        return found
    if status.st_size > LARGE:
        return [*found, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    with open(path, "rb") as stream:
        return [*found, hashlib.sha256(stream.read()).hexdigest()]


def _led_to(link: str) -> List[Any]:
    try:
        status = os.stat(link)
    except OSError:
        return [None]
    return [status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)] if stat.S_ISDIR(status.st_mode) else []


def account(name: str) -> Optional[List[int]]:
    """A user's numbers; None if there is none."""
    with contextlib.suppress(KeyError):
        return [pwd.getpwnam(name).pw_uid, grp.getgrnam(name).gr_gid]
    return None


def module_present(name: str) -> bool:
    """Whether the kernel offers a module's function, however it came there."""
    effects = {
        "br_netfilter": "/proc/sys/net/bridge/bridge-nf-call-iptables",
        "nf_conntrack": "/proc/sys/net/netfilter/nf_conntrack_max",
    }
    if os.path.exists("/sys/module/" + name) or os.path.exists(effects.get(name, "/nonexistent")):
        return True
    return name in _text("/proc/filesystems").split()


def sysctl(name: str) -> str:
    """A kernel parameter's value; empty if there is none."""
    return _text(sysctl_path(name)).strip()


def sysctl_path(name: str, proc: str = "/proc") -> str:
    """The file of a kernel parameter. As for sysctl(8), a slash is a dot in the name of an interface (``eth0/100``)."""
    return os.path.join(proc, "sys", name.translate(str.maketrans("./", "/.")))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def image(name: str) -> Optional[List[str]]:
    """Digest and labels of an image, given as the path of ``ctr``, containerd's socket and the reference."""
    program, socket, reference = name.split(" ")
    return images(program, socket).get(reference)


@functools.lru_cache(maxsize=None)
def images(program: str, socket: str) -> Dict[str, List[str]]:
    """Digest and labels of the images of Kubernetes' namespace, by reference; none if containerd does not answer."""
    command = [program, "--address", socket, "--namespace", "k8s.io", "images", "list"]
    with contextlib.suppress(OSError, CommandFailed):
        return image_rows(run(command, timeout=IMAGES_SECONDS))
    return {}


def image_rows(listed: str) -> Dict[str, List[str]]:
    """Digest and labels by reference, from ``ctr images list``.

    Its columns: reference, type, digest, size and unit, platforms, labels.
    """
    rows = [line.split() for line in listed.splitlines()[1:] if line.strip()]
    return {row[0]: [row[2], row[-1]] for row in rows}


LOOKS = {"files": describe, "users": account, "modules": module_present, "sysctls": sysctl, "images": image}


def observe(subject: Subject) -> Dict[str, Dict[str, Any]]:
    """How all of it looks now, as it comes back from JSON."""
    found = {kind: {name: LOOKS[kind](name) for name in names} for kind, names in subject.items()}
    document: Dict[str, Dict[str, Any]] = json.loads(json.dumps(found))
    return document


def save(wanted: Dict[str, Any], answer: Any, directory: str = DIRECTORY) -> None:
    """Keep how a task left its subject.

    ``wanted``: its name (``task``), the ``digest`` of what it asked for, and its ``subject``. ``answer``: what it
    returned to the controller, which is returned again.
    """
    places.make_directories(directory, 0o700)
    subject = wanted["subject"]
    document = {"digest": wanted["digest"], "subject": subject, "observed": observe(subject), "answer": answer}
    path = record_path(wanted["task"], directory)
    text = json.dumps(document).encode()
    if places.read(path) != text:
        places.write(path, text, os.geteuid(), os.getegid(), 0o600)


def record_path(task: str, directory: str = DIRECTORY) -> str:
    """The file with a task's record."""
    return os.path.join(directory, hashlib.sha256(task.encode()).hexdigest()[:32] + ".json")


def asked_before(wanted: Dict[str, Any], directory: str = DIRECTORY) -> str:
    """Whether an earlier run's task has asked for this: ``never`` for anything, for the ``same``, or ``otherwise``."""
    try:
        with open(record_path(wanted["task"], directory), encoding="utf-8") as stream:
            digest = json.load(stream)["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return "never"
    return "same" if digest == wanted["digest"] else "otherwise"


def settled(directory: str = DIRECTORY) -> Dict[str, Any]:
    """The answers of the tasks whose subjects look as they were left, by the digest of what was asked for."""
    found: Dict[str, Any] = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.json"))):
        # Whatever can't be read or compared is not settled.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(path, encoding="utf-8") as stream:
            record = json.load(stream)
            digest, answer = record["digest"], record["answer"]
            if observe(record["subject"]) == record["observed"]:
                found[digest] = answer
    return found
