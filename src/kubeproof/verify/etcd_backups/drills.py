"""Backups and drills, made by the program on etcd's hosts as its timers have it make them."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeproof.verify.act.pods import Blocked
from kubeproof.verify.observe.api import Api, ApiError
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable
from kubeproof.verify.observe.objects import Object

CONFIGURATION = "/etc/kubeproof/backup.json"
DRILL = "etcd-backup-drill.service"
# Whoever is at work with backups on the host already is waited for.
_ATTEMPTS = 3
_PAGE = 500
_BEHIND_SECONDS = 2.0

# Arguments: the program, the configuration to be like, the backup, a directory for the forgery. What is drilled is the
# backup itself under a manifest that says another revision, sealed as the program seals its own.
_FORGE = """
import dataclasses, json, os, pwd, shutil, sys
from pathlib import Path
program, configuration, backup, where = sys.argv[1:]
sys.path.insert(0, program)
from kubeproof.backup.agent import manifest
settings, source, where = json.loads(Path(configuration).read_text()), Path(backup), Path(where)
copy = where / "backups" / source.name
(where / "state").mkdir(parents=True)
# Links as links: the backups' user could have put some there, to what root alone may read.
shutil.copytree(source, copy, symlinks=True)
found = manifest.read(copy)
(copy / manifest.NAME).write_bytes(dataclasses.replace(found, revision=found.revision - 1).render())
settings.update(directory=str(where / "backups"), state=str(where / "state"), on_failure=[], targets=[], drill={})
settings["keep"]["free"] = 0
(where / "backup.json").write_text(json.dumps(settings))
owner = pwd.getpwnam(settings["user"])
for parent, directories, files in os.walk(where):
    for name in (parent, *(os.path.join(parent, each) for each in files)):
        os.chown(name, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
"""


@dataclass(frozen=True)
class Result:
    """What a drill has left in the records. ``objects``: UID by namespace/name, by resource."""

    name: str
    revision: int
    seconds: float
    steps: Mapping[str, float]
    objects: Mapping[str, Mapping[str, str]]


class Program:
    """``kubeproof-backup`` on a host of etcd."""

    def __init__(self, host: Host) -> None:
        """Raises NotObservable if it is not there."""
        status, text, _ = host.attempt("cat %s", CONFIGURATION)
        if status != 0:
            raise NotObservable(f"{host} has no {CONFIGURATION}: kubeproof does not back its etcd up")
        self.host = host
        self.settings: dict[str, Any] = json.loads(text)
        self._path = host.run("command -v kubeproof-backup || echo /usr/local/bin/kubeproof-backup").strip()

    def save(self) -> tuple[str, int]:
        """Make a backup now; its name and revision."""
        for attempt in range(_ATTEMPTS):
            status, said, complaint = self.host.attempt("%s save --trigger hand", self._path)
            if status == 0:
                name = said.partition(":")[0]
                manifest = json.loads(self._read(f"{self.settings['directory']}/{name}/manifest.json"))
                return name, int(manifest["revision"])
            if "at work" not in complaint or attempt == _ATTEMPTS - 1:
                break
            self.host.run("sleep 5")
        raise Blocked("etcd", f"{self.host}: no backup can be made: {complaint.strip()}")

    def drill(self, name: str) -> Result:
        """Start the drill, which takes the newest backup. Raises AssertionError if it proves nothing."""
        for _ in range(_ATTEMPTS):
            status, _, _ = self.host.attempt("systemctl start %s", DRILL)
            records = json.loads(self._read(f"{self.settings['state']}/status.json"))
            reason = records["attempts"].get("drill", {}).get("reason", "")
            if status != 0:
                raise AssertionError(f"{self.host}: the drill of {name} fails: {reason or self._log()}")
            if (records["proven"] or {}).get("name") == name:
                break
        else:
            raise Blocked("etcd", f"{self.host}: {DRILL} does not come to {name}: {self._log()}")
        found = json.loads(self._read(f"{self.settings['state']}/drills/{name}.json"))
        if found["objects"] is None:
            raise NotObservable(f"{self.host}: drills are done without an API server (backup_drill_apiserver)")
        return Result(name, found["revision"], found["seconds"], found["steps"], found["objects"])

    def drill_forgery(self, name: str) -> tuple[bool, str]:
        """Drill a backup that is not what its manifest says; whether that is called proven, and what was said."""
        where = f"/var/tmp/kubeproof-verify-{secrets.token_hex(4)}"  # noqa: S108 - a new one, as root, under a random name
        backup = f"{self.settings['directory']}/{name}"
        try:
            self.host.run("umask 077; mkdir %s", where)
            self.host.run("python3 -c %s %s %s %s %s", _FORGE, self._path, CONFIGURATION, backup, where)
            configuration = f"{where}/backup.json"
            status, said, complaint = self.host.attempt("%s --config %s drill %s", self._path, configuration, name)
        finally:
            self.host.run("rm -rf %s", where)
        return status == 0, (said or complaint).strip()

    def _read(self, path: str) -> str:
        return self.host.run("cat %s", path)

    def _log(self) -> str:
        return self.host.attempt("journalctl --quiet --output=cat --lines=3 --unit=%s", DRILL)[1].strip()


def program(cluster: Cluster) -> Program:
    """The program on a host that has an API server, too, on which a drill can be read by."""
    both = [host for host in cluster.etcd_hosts if "control_plane" in host.groups]
    if not both:
        raise NotObservable("no host of etcd has an API server that a drill could start")
    return Program(both[0])


def live_objects(api: Api, revision: int) -> dict[str, dict[str, str]]:
    """All that the cluster's own API has, as it was at a revision: UID by namespace/name, by resource."""
    found: dict[str, dict[str, str]] = {}
    for name, path in _resources(api):
        abouts = [item["metadata"] for item in _listed(api, path, revision)]
        found[name] = {f"{about.get('namespace', '')}/{about['name']}": about["uid"] for about in abouts}
    return found


def _listed(api: Api, path: str, revision: int) -> list[Object]:
    """A collection at a revision of etcd. Raises AssertionError if what it is kept in has never had that revision."""
    question: dict[str, Any] = {"limit": _PAGE, "resourceVersion": revision, "resourceVersionMatch": "Exact"}
    items: list[Object] = []
    for attempt in range(_ATTEMPTS):
        try:
            while question:
                page = api.get(path, **question)
                items += page["items"] or []
                rest = page["metadata"].get("continue")
                question = {"limit": _PAGE, "continue": rest} if rest else {}
        except ApiError as error:
            if "Too large resource version" not in str(error):
                raise
            # An API server may be a moment behind etcd.
            if attempt == _ATTEMPTS - 1:
                raise AssertionError(
                    f"{path} is not kept in this etcd, which is at revision {revision}: {error}"
                ) from None
            time.sleep(_BEHIND_SECONDS)
    return items


def _resources(api: Api) -> list[tuple[str, str]]:
    """Resources that are stored in etcd: what can be listed and not watched is made up when it is asked for."""
    services = [item["spec"] for item in api.items("/apis/apiregistration.k8s.io/v1/apiservices")]
    elsewhere = {f"{spec['group']}/{spec['version']}" for spec in services if spec.get("service")}
    versions = [group["preferredVersion"]["groupVersion"] for group in api.get("/apis")["groups"]]
    roots = {"/api/v1": "", **{f"/apis/{each}": each.partition("/")[0] for each in versions if each not in elsewhere}}
    return [
        (f"{resource['name']}.{group}" if group else resource["name"], f"{root}/{resource['name']}")
        for root, group in roots.items()
        for resource in api.get(root)["resources"]
        if {"list", "watch"} <= set(resource["verbs"]) and "/" not in resource["name"]
    ]


def differences(live: Mapping[str, Mapping[str, str]], restored: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What is not the same in the cluster and in what came of its backup, in words."""
    found = []
    for resource in sorted(live.keys() | restored.keys()):
        here, there = live.get(resource, {}), restored.get(resource, {})
        for name in sorted(here.keys() | there.keys()):
            if here.get(name) != there.get(name):
                told = "is not in the backup" if name not in there else "is in the backup only"
                both = name in here and name in there
                found.append(f"{resource} {name} {'has another UID in the backup' if both else told}")
    return found
