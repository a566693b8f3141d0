#!/usr/bin/python
"""Bring users, directories, files, keys, kernel modules and sysctls of one component into a wanted state, in one call.

Called by the action plugin of the same name. Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import base64
import contextlib
import grp
import json
import os
import pwd
import shlex
import stat
import tempfile
from typing import Any, Collection, Dict, List, Optional, Tuple

from ansible.module_utils import host_runs, places, settled
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.commands import CommandFailed, run
from ansible.module_utils.manifest import Manifest
from ansible.module_utils.transaction import finish_interrupted

DOCUMENTATION = r"""
module: install_component
short_description: Install a component's users, directories, certificates and files
description:
  - Creates on a host everything that a component needs before it is started, in one round trip, or two if certificates
    are issued. Changes only what differs. M(component_service) starts the component.
  - Private keys are generated on the host and never leave it. The controller signs the public keys. A key of an earlier
    run that is damaged is generated again, and its certificate issued.
  - Records what it created in the install manifest C(/var/lib/kubeproof/manifest.json), with the previous content,
    owner and mode of files that it replaced, so that a reset can undo the changes.
  - Fails if an option is invalid, if a CA or key is missing on the controller, if O(files.validate) rejects a file, and
    if a change on the host fails. Changes made until then stay, and the next run continues.
options:
  users:
    description: System users to create, each with a group of the same name, without a home directory or a shell.
    type: list
    elements: str
    default: []
  directories:
    description: Directories to create. Missing parents are created too, owned by root and with mode 0755.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The directory.
        type: path
        required: true
      owner:
        description: Owner.
        type: str
        default: root
      group:
        description: Group. Defaults to the group of O(directories.owner).
        type: str
      mode:
        description: Mode, in octal.
        type: str
        default: '0755'
      data:
        description: Whether the component keeps its data here, so that a reset empties the directory.
        type: bool
        default: false
      own:
        description:
          - Whether O(files) are all that the component has in it and below. Files there that an earlier run has written
            and that are not among them any more are removed, with the directories that were made for them. What
            others have put there stays.
        type: bool
        default: false
  certificates:
    description:
      - Certificates to issue, each for its own P-256 key. They are valid for 365 days, and renewed if less than a third
        of that is left, or if key, CA, subject, names or usages do not match.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path without suffix. The key is C(PATH.key), with mode 0600, the certificate C(PATH.crt).
        type: path
        required: true
      authority:
        description: CA that signs the certificate.
        type: str
        choices: [kubernetes, etcd, front-proxy]
        required: true
      common_name:
        description: CN of the subject, the user name for Kubernetes and etcd.
        type: str
        required: true
      usages:
        description: Extended key usages.
        type: list
        elements: str
        choices: [server, client]
        required: true
      organizations:
        description: O of the subject, the user's groups for Kubernetes.
        type: list
        elements: str
        default: []
      names:
        description: DNS subject alternative names.
        type: list
        elements: str
        default: []
      addresses:
        description: IP subject alternative names.
        type: list
        elements: str
        default: []
      owner:
        description: Owner of key and certificate.
        type: str
        default: root
      group:
        description: Group of key and certificate. Defaults to the group of O(certificates.owner).
        type: str
      mode:
        description: Mode of the certificate, in octal.
        type: str
        default: '0644'
  files:
    description:
      - Files to write, each with exactly one source, O(files.template), O(files.content), O(files.kubeconfig),
        O(files.authority), O(files.authority_key), O(files.service_account), O(files.program) or O(files.cluster_keys).
        All except templates need O(files.dest). Diffs do not show files that are binary or not world-readable.
    type: list
    elements: dict
    default: []
    suboptions:
      template:
        description:
          - Template in the role's C(templates), by its path on the host. V(etc/etcd/etcd.yaml.j2) becomes
            C(/etc/etcd/etcd.yaml), unless O(files.dest) is set.
          - A file of this name in C(ROLE) of the setting C(cluster_template_overrides) replaces it.
        type: path
      merge:
        description: Dictionary that is merged over the rendered O(files.template), which must be YAML or TOML.
        type: dict
        default: {}
      content:
        description: Text.
        type: str
      kubeconfig:
        description: Kubeconfig that refers to its certificates by path, and so contains no secret.
        type: dict
        suboptions:
          cluster: {description: Name of cluster and context., type: str, required: true}
          user: {description: Name of the user., type: str, required: true}
          server: {description: URL of the API server., type: str, required: true}
          authority: {description: File on the host with the CA certificate., type: path, required: true}
          certificate: {description: File on the host with the client certificate., type: path, required: true}
          key: {description: File on the host with its private key., type: path, required: true}
      authority:
        description: Certificate of this CA.
        type: str
        choices: [kubernetes, etcd, front-proxy]
      authority_key:
        description: Private key of this CA, for a component that signs certificates.
        type: str
        choices: [kubernetes, etcd, front-proxy]
      service_account:
        description: Public or private key for service account tokens.
        type: str
        choices: [public, private]
      program:
        description: Python package of this project to install as one executable file, for example
          V(kubeproof.backup.agent).
        type: str
      cluster_keys:
        description: Archive of the cluster's CAs and keys, for backups.
        type: dict
        suboptions:
          how: {description: Whether it is encrypted with age., type: str, choices: [encrypted, plain], required: true}
          recipients:
            description: Public keys of age for the encryption. If empty, the one of the state directory is used.
            type: list
            elements: str
            required: true
      dest:
        description: Path of the file on the host.
        type: path
      owner:
        description: Owner.
        type: str
        default: root
      group:
        description: Group. Defaults to the group of O(files.owner).
        type: str
      mode:
        description: Mode, in octal.
        type: str
        default: '0644'
      validate:
        description: >-
          Command on the host that checks the file, V(%s), before it is installed. In check mode not for a file that is
          new, since neither the command nor what the file names need be there yet.
        type: str
  modules:
    description: Kernel modules to load.
    type: list
    elements: str
    default: []
  sysctls:
    description: Kernel parameters to set, by name. A file in C(/etc/sysctl.d) has to set them at boot.
    type: dict
    default: {}
  absent:
    description: Files to remove. Directories are refused.
    type: list
    elements: path
    default: []
  settings:
    description:
      - Settings of the component that cannot be changed later, with their values. They are recorded on the host,
        reported by M(host_report), and M(preflight) refuses other values.
    type: dict
    default: {}
  remember:
    description: State of the kernel that components will change. It is recorded, so that a reset can restore it.
    type: dict
    default: {}
    suboptions:
      sysctls:
        description: Names of kernel parameters.
        type: list
        elements: str
        default: []
      firewall:
        description: Whether to record the names of nftables tables and chains.
        type: bool
        default: false
extends_documentation_fragment: [attributes, attributes.action]
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
notes:
  - CAs and keys are read from the state directory, the variable C(cluster_state_directory).
seealso:
  - module: component_service
  - module: pki_authorities
  - module: reset_host
"""

EXAMPLES = r"""
- name: Install etcd
  install_component:
    users: [etcd]
    directories:
      - {path: /etc/etcd/pki}
      - {path: /var/lib/etcd, owner: etcd, mode: "0700", data: true}
    certificates:
      - path: /etc/etcd/pki/server
        authority: etcd
        common_name: "{{ inventory_hostname }}"
        usages: [server, client]
        names: ["{{ inventory_hostname }}", localhost]
        addresses: ["{{ cluster_host_address }}", 127.0.0.1]
        owner: etcd
    files:
      - {authority: etcd, dest: /etc/etcd/pki/ca.crt}
      - {template: etc/etcd/etcd.yaml.j2, merge: "{{ etcd_extra_config }}"}
      - {template: etc/systemd/system/etcd.service.j2}

- name: Prepare the kernel for pods
  install_component:
    modules: [overlay, br_netfilter]
    sysctls: {net.ipv4.ip_forward: "1"}
    remember: {sysctls: [net.netfilter.nf_conntrack_max], firewall: true}
"""

RETURN = r"""
changes:
  description: Changes, in order; in check mode those that would be made.
  type: list
  elements: dict
  returned: always
  contains:
    path: {description: "The file or directory, or another object, for example V(user etcd).", type: str}
    what: {description: "The change, for example V(created), V(content) or V(issued: there is none).", type: str}
  sample: [{path: /etc/etcd/etcd.yaml, what: content}]
step:
  description: What a plan says of RV(changes), as C(reason), with C(kind) and C(text).
  type: dict
  returned: in check mode, if RV(changes) is not empty
"""

Change = Dict[str, str]


def left_group(name: str) -> Optional[int]:
    """The number of a group of this name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def taken(number: int) -> bool:
    """Whether a user has this number."""
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


class Host:
    """The host's state, and the changes made to it (or, in check mode, that would be made)."""

    def __init__(self, check_mode: bool, manifest: Manifest, changes: Optional[List[Change]] = None) -> None:
        self.check_mode = check_mode
        self.manifest = manifest
        self.changes: List[Change] = [] if changes is None else changes
        self.diffs: List[Dict[str, str]] = []

    def changed(self, path: str, what: str) -> None:
        """Note a change."""
        self.changes.append({"path": path, "what": what})

    def owner(self, name: str, group: str) -> Tuple[int, int]:
        """Numeric owner and group. A user that check mode only pretends to have made has what can be foretold.

        A number is that of a pod's user, of which hosts need to know nothing.
        """
        if name.isdigit():
            return int(name), grp.getgrnam(group).gr_gid if group else int(name)
        try:
            user = pwd.getpwnam(name)
            return user.pw_uid, grp.getgrnam(group).gr_gid if group else user.pw_gid
        except KeyError:
            if self.check_mode:
                number, left = self.number(name), left_group(name)
                return number or 0, left if left is not None else number or 0
            raise

    def user(self, name: str) -> None:
        """Make a system user with a group of its own. Of the two one may be left, as after `groupdel`."""
        with contextlib.suppress(KeyError):
            self.group(name, pwd.getpwnam(name).pw_gid)
            return
        self.changed("user " + name, "created")
        if self.check_mode:
            return
        number, left = self.number(name), left_group(name)
        self.manifest.add("user", name)
        group = ["--user-group"] if left is None else ["--gid", str(left)]
        if number is not None:
            group += ["--uid", str(number)]
        run(["useradd", "--system", *group, "--no-create-home", "--home-dir", "/nonexistent",
             "--shell", "/usr/sbin/nologin", name])  # fmt: skip
        self.manifest.update("user", name, number=pwd.getpwnam(name).pw_uid)

    def number(self, name: str) -> Optional[int]:
        """The number that a missing user had, which is still that of its files, if it is free."""
        for entry in self.manifest.entries:
            if (entry["kind"], entry.get("name")) == ("user", name):
                number: Optional[int] = entry.get("number")
                return number if number is not None and not taken(number) else None
        return None

    def group(self, name: str, number: int) -> None:
        """Have the group of a user that is there."""
        with contextlib.suppress(KeyError):
            grp.getgrgid(number)
            return
        self.changed("group " + name, "created")
        if not self.check_mode:
            run(["groupadd", "--system", "--gid", str(number), name])

    def data_directory(self, path: str) -> None:
        """Remember that a component keeps its data here, so that a reset empties it; not if others' data is in it."""
        known = self.manifest.knows("data", path)
        if self.check_mode or known:
            return
        if places.is_directory(path):
            with places.directory(path) as there:
                # What a file system of its own has from the start is nobody's data.
                if set(os.listdir(there)) - {"lost+found"}:
                    return
        self.manifest.add("data", path)

    def directory(self, path: str, uid: int, gid: int, mode: int, ours: bool = True) -> None:
        """Make ``path`` and its parents. Parents are root's; only the last is given owner and mode."""
        if not places.is_directory(path):
            parent = os.path.dirname(path)
            if not places.is_directory(parent) and parent != path:
                self.directory(parent, 0, 0, 0o755)
            self.changed(path, "created")
            if not self.check_mode:
                self.manifest.add("directory", path)
                places.make_directory(path, mode, uid, gid)
        elif ours:
            self.attributes(path, uid, gid, mode)

    def attributes(self, path: str, uid: int, gid: int, mode: int) -> None:
        """Set owner and mode."""
        with places.opened(path) as descriptor:
            status = os.fstat(descriptor)
            if (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) != (uid, gid, mode):
                self._remember_attributes(path, status)
            if (status.st_uid, status.st_gid) != (uid, gid):
                self.changed(path, "owner")
                if not self.check_mode:
                    os.fchown(descriptor, uid, gid)
            if status.st_mode & 0o7777 != mode:
                self.changed(path, "mode")
                if not self.check_mode:
                    os.fchmod(descriptor, mode)

    def file(self, wanted: Dict[str, Any]) -> None:
        """Write a file if its content differs; set owner and mode."""
        path, content = wanted["path"], base64.b64decode(wanted["content"])
        uid, gid = self.owner(wanted["owner"], wanted.get("group", ""))
        mode = int(wanted["mode"], 8)
        self.directory(os.path.dirname(path), 0, 0, 0o755, ours=False)
        # A link is none of the wanted files, whatever it points to: it is replaced.
        there, before = places.status(path) is not None, places.read(path)
        if before == content:
            self.attributes(path, uid, gid, mode)
            return
        self.changed(path, "content" if there else "created")
        if not wanted.get("secret"):
            self.diffs.append({"before_header": path, "after_header": path,
                               "before": (before or b"").decode(errors="replace"),
                               "after": content.decode(errors="replace")})  # fmt: skip
        # A plan has installed nothing: what checks a new file, and what that names, may be about to come.
        if wanted.get("validate") and not (self.check_mode and not there):
            validate(path, content, wanted["validate"])
        if self.check_mode:
            return
        self._remember_file(path, there)
        places.write(path, content, uid, gid, mode)

    def _remember_attributes(self, path: str, status: os.stat_result) -> None:
        """What was here before us gets its owner and mode back; of what we made nothing needs to be known."""
        ours = self.manifest.knows("directory", path) or self.manifest.knows(*identify(path))
        if not self.check_mode and not ours:
            mode = stat.S_IMODE(status.st_mode)
            self.manifest.add("attributes", path, uid=status.st_uid, gid=status.st_gid, mode=mode)

    def _remember_file(self, path: str, there: bool) -> None:
        kind, identity = identify(path)
        if not self.manifest.knows(kind, identity):
            backup = self.manifest.backup(path) if there else None
            details = unit_before(identity) if kind == "unit" else {}
            self.manifest.add(kind, identity, backup=backup, **details)

    def key(self, wanted: Dict[str, Any]) -> Dict[str, str]:
        """Make the private key of a certificate if there is none that can be read; certificate and public key, PEM."""
        path = wanted["path"] + ".key"
        uid, gid = self.owner(wanted["owner"], wanted.get("group", ""))
        self.directory(os.path.dirname(path), 0, 0, 0o755, ours=False)
        wrong = self._wrong_with_key(path)
        # One that is damaged is issued again.
        certificate = (places.read(wanted["path"] + ".crt") or b"").decode(errors="replace")
        if wrong:
            self.changed(path, wrong)
            if self.check_mode:
                return {"certificate": certificate, "public_key": ""}
            # P-256: what upstream's own tools use by default since kubeadm 1.31 offers it; small and fast to sign with.
            key = run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
            self._remember_file(path, there=False)
            places.write(path, key.encode(), uid, gid, 0o600)
        self.attributes(path, uid, gid, 0o600)
        return {"certificate": certificate, "public_key": public_key(path)}

    def _wrong_with_key(self, path: str) -> str:
        """Why a private key has to be made, as a change; empty if it is there. A disk that fails leaves empty ones."""
        if places.status(path) is None:
            return "created"
        try:
            public_key(path)
        except CommandFailed:
            if not self.manifest.knows("file", path):
                # An administrator's, who can repair it.
                raise
            return "created again: it was no private key"
        return ""

    def module(self, name: str) -> None:
        """Load a kernel module. One that is built in, or that a container's machine has loaded, is present already."""
        if settled.module_present(name):
            return
        self.changed("kernel module " + name, "loaded")
        if self.check_mode:
            return
        run(["modprobe", name])
        self.manifest.add("module", name)

    def sysctl(self, name: str, value: str) -> None:
        """Set a sysctl now; a file under /etc/sysctl.d does it at boot."""
        before = settled.sysctl(name)
        # The kernel separates several numbers by tabs.
        if before.split() == value.split():
            return
        self.changed("sysctl " + name, before + " -> " + value)
        if self.check_mode:
            return
        self.manifest.add("sysctl", name, before=before)
        # What a reset puts back only as long as it is still there.
        self.manifest.update("sysctl", name, set=value)
        try:
            with open(settled.sysctl_path(name), "w", encoding="ascii") as stream:
                stream.write(value)
        except OSError as error:
            raise RuntimeError(
                "sysctl %s cannot be set to %s on this host (%s): correct host_sysctls, if it is from there"
                % (name, value, error.strerror)
            ) from None

    def remember(self, wanted: Dict[str, Any]) -> None:
        """Keep how it is now what components will change on their own."""
        if self.check_mode:
            return
        # A container shares all other settings with its machine, whose they are.
        own = "net." if os.path.exists("/run/systemd/container") else ""
        for name in wanted.get("sysctls", []):
            before = read(settled.sysctl_path(name))
            if before is not None and name.startswith(own):
                self.manifest.add("sysctl", name, before=before.decode().strip())
        if wanted.get("firewall") and not self.manifest.knows("firewall", "nft"):
            self.manifest.add("firewall", "nft", before=firewall_chains())

    def settings(self, values: Dict[str, str]) -> None:
        """Keep what the component is installed with, as far as that can't be changed later."""
        if not self.check_mode:
            for name, value in values.items():
                self.manifest.settle(name, value)

    def former(self, top: str, wanted: Collection[str]) -> None:
        """Remove what earlier runs have put below a directory, files that are not wanted now and what is empty then.

        Its record goes, too: what is there later is somebody else's. A file that was there before us is left alone.
        """
        below = [entry for entry in self.manifest.entries if entry.get("path", "").startswith(top + "/")]
        gone = {entry["path"] for entry in below if entry["kind"] == "file" and not entry.get("backup")} - set(wanted)
        for path in sorted(gone):
            self.absent(path)
            if not self.check_mode:
                self.manifest.forget("file", path)
        for path in sorted((entry["path"] for entry in below if entry["kind"] == "directory"), reverse=True):
            if any(each.startswith(path + "/") for each in wanted) or not places.is_directory(path):
                continue
            with places.directory(path) as there:
                left = {os.path.join(path, name) for name in os.listdir(there)} - gone
            if left:
                continue
            gone.add(path)
            self.changed(path, "removed")
            if not self.check_mode:
                places.remove_directory(path)
                self.manifest.forget("directory", path)

    def absent(self, path: str) -> None:
        """Remove a file. A directory is refused, in check mode too: of what is in it nobody would keep anything."""
        found = places.status(path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise RuntimeError("%s is a directory, where only a file is removed: remove it, if it is not needed" % path)
        if found is not None:
            self.changed(path, "removed")
            if not self.check_mode:
                self._remember_file(path, there=True)
                places.unlink(path)


def public_key(path: str) -> str:
    """The public key of a private one, PEM. Raises CommandFailed."""
    found: str = run(["openssl", "pkey", "-in", path, "-pubout"])
    return found


def identify(path: str) -> Tuple[str, str]:
    """Under which kind and name a file is in the manifest."""
    if path.startswith("/etc/systemd/system/") and path.endswith((".service", ".timer")):
        return "unit", os.path.basename(path)
    return "file", path


def unit_before(name: str) -> Dict[str, Any]:
    """How a unit is that ours will stand in for: a package's, say. Nothing if there is none, or it is off."""
    with contextlib.suppress(CommandFailed):
        shown = run(["systemctl", "show", name, "--property=UnitFileState,ActiveState"]).split()
        state = {"enabled": "UnitFileState=enabled" in shown, "active": "ActiveState=active" in shown}
        return {"before": state} if any(state.values()) else {}
    return {}


def firewall_chains() -> Dict[str, List[str]]:
    """Tables of nftables and their chains: iptables adds to them when it is first used, and never takes away."""
    tables: Dict[str, List[str]] = {}
    for item in json.loads(run(["nft", "--json", "list", "ruleset"]))["nftables"]:
        if "table" in item:
            tables.setdefault("%(family)s %(name)s" % item["table"], [])
        elif "chain" in item:
            tables.setdefault("%(family)s %(table)s" % item["chain"], []).append(item["chain"]["name"])
    return tables


def read(path: str) -> Optional[bytes]:
    """A file's content; None if there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def validate(path: str, content: bytes, command: str) -> None:
    """Let the component's own checker judge a file before it lands. ``%s`` in the command is the file."""
    suffix = os.path.splitext(path)[1]
    with tempfile.NamedTemporaryFile(prefix="kubeproof-", suffix=suffix) as stream:
        stream.write(content)
        stream.flush()
        os.chmod(stream.name, 0o600)
        try:
            run([word.replace("%s", stream.name) for word in shlex.split(command)])
        except CommandFailed as error:
            raise RuntimeError("%s would not be valid, nothing was changed: %s" % (path, error)) from None


def converge(host: Host, payload: Dict[str, Any]) -> Dict[str, Dict[str, str]]:
    """Apply a whole payload in an order in which each part finds what it needs; returns the keys' certificates."""
    for user in payload.get("users", []):
        host.user(user)
    host.settings(payload.get("settings", {}))
    for name in payload.get("modules", []):
        host.module(name)
    for wanted in payload.get("directories", []):
        uid, gid = host.owner(wanted["owner"], wanted.get("group", ""))
        if wanted.get("data"):
            host.data_directory(wanted["path"])
        host.directory(wanted["path"], uid, gid, int(wanted["mode"], 8))
    certificates = {wanted["path"]: host.key(wanted) for wanted in payload.get("keys", [])}
    for wanted in payload.get("files", []):
        host.file(wanted)
    for wanted in payload.get("directories", []):
        if wanted.get("own"):
            host.former(wanted["path"], [each["path"] for each in payload.get("files", [])])
    host.remember(payload.get("remember", {}))
    for name, value in payload.get("sysctls", {}).items():
        host.sysctl(name, str(value))
    for path in payload.get("absent", []):
        host.absent(path)
    return certificates


def settle(host: Host, wanted: Dict[str, Any], certificates: Dict[str, Dict[str, str]]) -> None:
    """Keep how this task left the host, so that the next host report can say that nothing is to be done."""
    # Those that were just written are in nobody's answer yet.
    found = certificates or {each["path"]: host.key(each) for each in wanted["keys"]}
    settled.save(wanted, found)


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={"_payload": {"type": "str", "required": True, "no_log": True}, "_run": {"type": "dict"}},
        supports_check_mode=True,
    )
    payload = json.loads(base64.b64decode(module.params["_payload"]))
    changes: List[Change] = []
    try:
        host_runs.claim(module.params["_run"])
        if not module.check_mode:
            finish_interrupted()
        host = Host(module.check_mode, Manifest(), changes)
        certificates = converge(host, payload)
        if not module.check_mode:
            settle(host, payload["settle"], certificates)
    except (OSError, RuntimeError, KeyError) as error:
        module.fail_json(msg=str(error), changes=changes)
    # For a plan, which says why.
    before = {"asked_before": settled.asked_before(payload["settle"])} if module.check_mode else {}
    module.exit_json(changed=bool(changes), changes=changes, certificates=certificates, diff=host.diffs, **before)


if __name__ == "__main__":
    main()
