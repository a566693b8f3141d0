#!/usr/bin/python
"""Compare a host's component files with what they must be, and put in place what was sent.

Called by the action plugin of the same name. Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from typing import IO, Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ansible.module_utils import host_runs, places, settled
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.manifest import Manifest, ManifestError

DOCUMENTATION = r"""
module: distribute_components
short_description: Install the fetched components on a host
description:
  - Installs on a host the binaries and image archives that its inventory groups need, in the versions that
    M(fetch_components) recorded in the inventory's lock, so that all hosts get the same files.
  - Compares the host with the lock in one round trip, which also installs what is staged there if nothing else is
    missing. Sends only missing and changed files, over the task's connection and compressed if both sides have zstd.
    The host verifies each SHA-256 and installs the file by rename, so that running processes keep the file that they
    were started from.
  - Records installed files in C(/var/lib/kubeproof/components.json), so that later comparisons need not read unchanged
    files, and in the install manifest C(/var/lib/kubeproof/manifest.json), so that a reset removes them. Records the
    versions of components, which M(preflight) compares with those that a run would install.
  - Fails if the facts of M(host_report) are missing, if a file is missing from the lock or from the cache of the
    controller, and if the SHA-256 of a file that was sent does not match. That file is not installed.
options:
  directories:
    description: Directories of binaries on the host.
    type: dict
    required: true
    suboptions:
      bin:
        description: Directory for programs.
        type: path
        required: true
      cni:
        description: Directory for CNI plugins.
        type: path
        required: true
  programs:
    description:
      - Names of binaries, or of components for all of their binaries. Only these are installed, as far as a host needs
        them, and the versions of components are not recorded, since other files may still be missing. If empty, all
        files that the host needs.
    type: list
    elements: str
    default: []
  stage:
    description:
      - Whether to send the files only, to C(/var/lib/kubeproof/staged), named by their SHA-256. Installing them later
        needs no transfer. Files that are replaced while this directory exists are kept there, too, so that they can
        be installed again.
    type: bool
    default: false
  groups:
    description: Groups whose components the host is to have besides those of its own.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [attributes, attributes.action, components, state_directory]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full, details: Shows checksums instead of contents.}
seealso:
  - module: fetch_components
  - module: runtime_images
"""

EXAMPLES = r"""
- name: Install the components on the host
  distribute_components:
    state_directory: "{{ cluster_state_directory }}"
    directories: {bin: /usr/local/bin, cni: /opt/cni/bin}

- name: Stage other versions on the host, and install one program of them
  distribute_components:
    state_directory: "{{ cluster_state_directory }}"
    directories: {bin: /usr/local/bin, cni: /opt/cni/bin}
    versions: {kubernetes: 1.37.2}
    stage: "{{ item.stage }}"
    programs: "{{ item.programs }}"
  loop:
    - {stage: true, programs: []}
    - {stage: false, programs: [kube-apiserver]}
"""

RETURN = r"""
changes:
  description: Installed files; in check mode those that would be installed.
  type: list
  elements: dict
  returned: success
  contains:
    path: {description: The file on the host., type: str}
    what: {description: "State of the file before: V(missing), V(different) or V(attributes).", type: str}
  sample: [{path: /usr/local/bin/etcd, what: missing}]
step:
  description: What a plan says of RV(changes), as C(reason), with C(kind) and C(text).
  type: dict
  returned: in check mode, if RV(changes) is not empty
ansible_facts:
  description: Facts to add to the host's.
  type: dict
  returned: success
  contains:
    kubeproof_components:
      description: Components on the host.
      type: dict
      contains:
        versions: {description: Versions by component and image., type: dict, sample: {etcd: 3.6.4}}
        images: {description: References by name of the image., type: dict}
        binaries: {description: "For each binary C(path) and C(sha256), by its name.", type: dict}
        image_archives:
          description: "Images to import, each with C(reference), C(archive) and C(digest): for M(runtime_images)."
          type: list
          elements: dict
"""

STATE_DIRECTORY = "/var/lib/kubeproof"
# User and group of what is installed: root, or whoever tests this.
OWNER = (0, 0)
BLOCK = 1 << 20
# As the action plugin has it: what others sync meanwhile waits for no more than this.
STEP = 4 << 20
Entry = Dict[str, Any]


class Refused(Exception):
    """A file is not what it was announced to be, or its place is taken by something else."""


class Files:
    """The component files of this host, and the record of what they were when they were last looked into."""

    def __init__(self, directory: str = STATE_DIRECTORY) -> None:
        self.directory = directory
        self.staged = os.path.join(directory, "staged")
        self.path = os.path.join(directory, "components.json")
        self.manifest = Manifest(directory)
        document = read_json(self.path)
        self.record: Dict[str, Entry] = document.get("files", {})
        self._versions: Dict[str, str] = document.get("versions", {})
        self._dirty = False

    def find(self, wanted: Entry) -> str:
        """What is to be done about a file: ``""``, ``"missing"``, ``"different"`` or ``"attributes"``."""
        path = wanted["path"]
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return "missing"
        if stat.S_ISDIR(status.st_mode):
            raise Refused("%s is a directory; a file must go there" % path)
        if not stat.S_ISREG(status.st_mode) or self._sha256(path, status) != wanted["sha256"]:
            return "different"
        right = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (*OWNER, int(wanted["mode"], 8))
        return "" if right else "attributes"

    def attributes(self, wanted: Entry) -> None:
        """Right owner and mode of a file whose content is right."""
        with places.opened(wanted["path"]) as descriptor:
            os.fchown(descriptor, *OWNER)
            os.fchmod(descriptor, int(wanted["mode"], 8))
        self._remember(wanted["path"], wanted["sha256"])

    def has_staged(self, digest: str) -> bool:
        """Whether a file lies on the host, to be put in place without a transfer."""
        return os.path.exists(os.path.join(self.staged, digest))

    def stage(self, wanted: Entry, staging: str) -> None:
        """Keep a file that arrived for later, or refuse it."""
        places.make_directories(self.staged, 0o700)
        arrived, target = os.path.join(staging, wanted["sha256"]), os.path.join(self.staged, wanted["sha256"])
        if not os.path.exists(target):
            place(arrived, wanted, target)

    def keep(self, path: str) -> None:
        """Keep a file that is about to be replaced, if versions are staged: it may be wanted again.

        In a turn that is not confirmed it is noted, too, so that the host can put it back by itself.
        """
        turn = read_json(os.path.join(self.directory, "turn", "turn.json")).get("state") == "unconfirmed"
        if turn and not os.path.lexists(path):
            self._note(path, None)
        if not (turn or os.path.isdir(self.staged)) or os.path.islink(path) or not os.path.isfile(path):
            return
        status = os.lstat(path)
        digest = self._sha256(path, status)
        if not self.has_staged(digest):
            places.make_directories(self.staged, 0o700)
            self._keep(path, status, digest)
        if turn:
            self._note(path, {"sha256": digest, "mode": "%04o" % stat.S_IMODE(status.st_mode)})

    def _keep(self, path: str, status: os.stat_result, digest: str) -> None:
        """Have the very file under its digest, or a copy.

        Programs are replaced and never written to, and whoever puts one back verifies it. Not what others than root may
        write to, who could do so between.
        """
        kept = os.path.join(self.staged, digest)
        if status.st_uid == OWNER[0] and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            # Another file system, or one without links.
            with contextlib.suppress(OSError):
                os.link(path, kept, follow_symlinks=False)
                return
        copy_and_place(path, {"path": path, "sha256": digest, "mode": "0755"}, kept)

    def _note(self, path: str, before: Optional[Entry]) -> None:
        """Note what is about to be replaced, as it was when the turn began (kubeproof.upgrade.host_turn)."""
        noted = os.path.join(self.directory, "turn", "programs.json")
        known = read_json(noted)
        if path not in known:
            write_json(noted, {**known, path: before})

    def install(self, wanted: Entry, staging: str) -> None:
        """Put a file that arrived in place, or one that was staged, or refuse it."""
        path, staged = wanted["path"], os.path.join(staging, wanted["sha256"])
        if not os.path.exists(staged):
            staged = os.path.join(self.staged, wanted["sha256"])
        if not os.path.exists(staged):
            raise Refused("nothing arrived for %s" % path)
        self.keep(path)
        self._make_directory(os.path.dirname(path))
        if not self.manifest.knows("file", path):
            backup = self.manifest.backup(path) if os.path.lexists(path) else None
            self.manifest.add("file", path, backup=backup)
        try:
            place(staged, wanted, path)
        except OSError as error:
            # Another file system; or the same one, mounted at a second place, which no file's numbers tell.
            if error.errno != errno.EXDEV:
                raise
            copy_and_place(staged, wanted, path)
        self._remember(path, wanted["sha256"])

    def complete(self, versions: Dict[str, str]) -> None:
        """Remember versions by component and image: all files of these are in place. Not before, if a run is killed."""
        self._dirty = self._dirty or versions != self._versions
        self._versions = versions

    def save(self) -> None:
        """Write the record, if it changed."""
        if self._dirty:
            write_json(self.path, {"version": 1, "files": self.record, "versions": self._versions})

    def _sha256(self, path: str, status: os.stat_result) -> str:
        known = self.record.get(path)
        if known and known["stat"] == fingerprint(status):
            return str(known["sha256"])
        digest = sha256(path)
        self._remember(path, digest)
        return digest

    def _remember(self, path: str, digest: str) -> None:
        self.record[path] = {"sha256": digest, "stat": fingerprint(os.lstat(path))}
        self._dirty = True

    def _make_directory(self, path: str) -> None:
        if not places.is_directory(path):
            self._make_directory(os.path.dirname(path))
            self.manifest.add("directory", path)
            # Whatever the umask: programs that are not root's are started from there.
            places.make_directory(path, 0o755)


def fingerprint(status: os.stat_result) -> List[int]:
    """What changes whenever a file's content does, without reading it."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def place(staged: str, wanted: Entry, path: str) -> None:
    """Verify a file, write it through to disk, and give it its final name."""
    with open(staged, "rb") as stream:
        verify(hash_stream(stream), wanted)
        os.fchown(stream.fileno(), *OWNER)
        os.fchmod(stream.fileno(), int(wanted["mode"], 8))
        os.fsync(stream.fileno())
    os.replace(staged, path)


def copy_and_place(staged: str, wanted: Entry, path: str) -> None:
    """The same for a file on another file system."""
    descriptor, temporary = tempfile.mkstemp(prefix=".kubeproof-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "wb") as target, open(staged, "rb") as source:
            copy_in_steps(source, target)
        place(temporary, wanted, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def copy_in_steps(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a file, each step written through to disk."""
    for data in iter(lambda: source.read(STEP), b""):
        target.write(data)
        target.flush()
        os.fdatasync(target.fileno())


def verify(digest: str, wanted: Entry) -> None:
    """Refuse content other than what was announced."""
    if digest != wanted["sha256"]:
        raise Refused("what arrived for %s has SHA-256 %s, not %s; it was not installed"
                      % (wanted["path"], digest, wanted["sha256"]))  # fmt: skip


def sha256(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hash_stream(stream)


def hash_stream(stream: IO[bytes]) -> str:
    """The SHA-256 of the rest of a stream, in hexadecimal."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(BLOCK), b""):
        digest.update(block)
    return digest.hexdigest()


def read_json(path: str) -> Dict[str, Any]:
    """A JSON object; empty if there is none, or if it is damaged and so says nothing."""
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def write_json(path: str, document: Dict[str, Any]) -> None:
    """Replace a file in one step."""
    places.make_directories(os.path.dirname(path))
    places.write(path, json.dumps(document, indent=1).encode(), os.geteuid(), os.getegid(), 0o644)


def compare(files: Files, wanted: List[Entry]) -> List[Entry]:
    """What is to be done, one entry for each file that is not as it must be; ``sent`` if nothing has to be sent."""
    found = ((entry, files.find(entry)) for entry in wanted)
    return [
        {
            "path": entry["path"],
            "sha256": entry["sha256"],
            "what": what,
            "sent": what == "attributes" or files.has_staged(entry["sha256"]),
        }
        for entry, what in found
        if what
    ]


def unstaged(files: Files, wanted: List[Entry]) -> List[Entry]:
    """What has to be sent so that all of it can be put in place without a transfer."""
    return [change for change in compare(files, wanted) if not change["sent"]]


def stage(files: Files, wanted: List[Entry], staging: str) -> List[Entry]:
    """Keep what arrived for later; returns what that was."""
    done = unstaged(files, wanted)
    by_path = {entry["path"]: entry for entry in wanted}
    for change in done:
        files.stage(by_path[change["path"]], staging)
    return done


def converge(files: Files, wanted: List[Entry], staging: str) -> List[Entry]:
    """Put in place what arrived and right what needed no transfer; returns what was done."""
    done = compare(files, wanted)
    by_path = {entry["path"]: entry for entry in wanted}
    for change in done:
        if change["what"] == "attributes":
            files.attributes(by_path[change["path"]])
        else:
            files.install(by_path[change["path"]], staging)
    return done


class Work(NamedTuple):
    """How files are compared, and what becomes of those that arrive."""

    compare: Callable[[Files, List[Entry]], List[Entry]]
    converge: Callable[[Files, List[Entry], str], List[Entry]]


CONVERGE = Work(compare, converge)
STAGE = Work(unstaged, stage)


def work(
    files: Files,
    wanted: List[Entry],
    versions: Optional[Dict[str, str]],
    staging: str,
    how: Work = CONVERGE,
) -> Tuple[List[Entry], str]:
    """Converge with what was sent, or compare, and make a place to send to; returns the changes, and that place.

    If nothing has to be sent, that is all in one, and there is no such place. ``versions``: those that the host has
    then, ``None`` if only some of its files are its business.
    """
    try:
        if staging:
            changes, left = how.converge(files, wanted, staging), []
            shutil.rmtree(staging, ignore_errors=True)
            # Unless a run that was killed still writes to its own.
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(staging))
        else:
            changes = left = how.compare(files, wanted)
            if changes and all(change["sent"] for change in changes):
                changes, left = how.converge(files, wanted, files.staged), []
            staging = prepare_staging(bool(left), files.directory)
        if not left and versions is not None:
            files.complete(versions)
    finally:
        files.save()
    return changes, staging


def prepare_staging(needed: bool, directory: str = STATE_DIRECTORY) -> str:
    """A new directory for files to arrive in, if one is needed; what interrupted runs left is removed.

    Each run has its own: one that was killed on the controller may still run here for a while. Only root can reach
    into it, so that what was verified is what is installed.
    """
    parent = os.path.join(directory, "staging")
    shutil.rmtree(parent, ignore_errors=True)
    if not needed:
        return ""
    places.make_directories(os.path.dirname(parent))
    # It is still there if a run that was killed is still writing to it.
    places.make_directories(parent, 0o700)
    return tempfile.mkdtemp(dir=parent)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "_files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "sha256": {"type": "str", "required": True},
                    "mode": {"type": "str", "required": True},
                },
            },
            "_staging": {"type": "path"},
            "_settle": {"type": "dict", "required": True},
            "_versions": {"type": "dict"},
            "_stage": {"type": "bool", "default": False},
            "_run": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    wanted, staging = module.params["_files"], module.params["_staging"] or ""
    try:
        host_runs.claim(module.params["_run"])
        files = Files()
    except (ManifestError, host_runs.OtherRun) as error:
        module.fail_json(msg=str(error))
    how = STAGE if module.params["_stage"] else CONVERGE
    try:
        if module.check_mode:
            changes = how.compare(files, wanted)
        else:
            sent = bool(staging)
            changes, staging = work(files, wanted, module.params["_versions"], staging, how)
            if sent or not staging:
                settled.save(module.params["_settle"], {})
    except (OSError, Refused) as error:
        module.fail_json(msg=str(error))
    # For a plan, which says why.
    before = {"asked_before": settled.asked_before(module.params["_settle"])} if module.check_mode else {}
    zstd = bool(shutil.which("zstd"))
    module.exit_json(changed=bool(changes), changes=changes, staging=staging, zstd=zstd, **before)


if __name__ == "__main__":
    main()
