"""``rehearse``: what API servers and etcd of other versions make of a backup, before the cluster gets them.

The backup is restored by the present etcd, and read by the present API server; then by the target's, on the target's
etcd. The target writes one object of each kind as it is, and the present version reads everything again.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

from kubeproof.backup.agent import backups, comparison, drill, drill_api, manifest, scratch
from kubeproof.backup.agent.comparison import Listing, Problem
from kubeproof.backup.agent.configuration import Programs
from kubeproof.backup.agent.drill_api import Client, Resource
from kubeproof.backup.agent.errors import BackupError, Damaged

Say = Callable[[str], None]
# CustomResourceDefinitions are served a moment after an API server says that it is ready.
_DISCOVERY_SECONDS = 60.0
# So many objects of a resource whose list fails are read one by one, to name those that fail.
_SINGLY = 2000
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_NO_WEBHOOK = "its versions are converted by a webhook, which a rehearsal does not have"


def main(path: Path) -> int:
    """Rehearse as the file says, and print a line of JSON for each step and the result; returns the exit status."""
    settings = json.loads(path.read_text(encoding="utf-8"))

    def say(text: str) -> None:
        print(json.dumps({"step": text}), flush=True)

    try:
        result = rehearse(settings, say)
    except (BackupError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    print(json.dumps({"result": result}), flush=True)
    return 0


def rehearse(settings: Mapping[str, Any], say: Say) -> Dict[str, Any]:
    """Rehearse. Raises BackupError if that could not be done, which says nothing of the target.

    ``settings``: ``directory`` of backups; ``where``, a directory for what is restored; ``timeout`` of each wait;
    ``present`` and ``target``, each with the paths of ``etcd``, ``etcdutl`` and ``kube-apiserver`` and ``version``;
    ``arguments`` and ``encryption``, a file, of the API server; ``unserved``, whether the target has to serve all
    resources of which there are objects.
    """
    began, timeout = time.monotonic(), float(settings["timeout"])
    where, present, target = Path(settings["where"]), settings["present"], settings["target"]
    secret = Path(settings["encryption"]).read_bytes() if settings.get("encryption") else None
    directory = Path(settings["directory"])
    with scratch.directory(where) as scratched:
        with backups.reading(directory):
            path, expected = _newest(directory)
            say("restores %s, %d keys" % (path.name, expected.keys))
            etcd = Programs(etcd=present["etcd"], etcdutl=present["etcdutl"])
            restored = scratch.Restored(etcd, path / manifest.SNAPSHOT, scratched, timeout)

        def server(about: Mapping[str, Any], name: str) -> Tuple[Dict[str, Any], Path]:
            place = scratched / name
            place.mkdir()
            program = {"program": about["kube-apiserver"], "arguments": settings["arguments"]}
            return {**program, "encryption": secret is not None, "secret": secret}, place

        with restored.running() as store:
            keys = list(store.keys(expected.revision))
            say("starts the present API server, %s" % present["version"])
            given, place = server(present, "present")
            with drill_api.serving(given, store.url, place, timeout) as client:
                before = read(client, expected.revision, keys)
                definitions = served_definitions(client)
            say("has read %d objects of %d kinds" % (before.count, before.kinds))
        say("starts etcd %s on the same data" % target["etcd_version"])
        with restored.running(target["etcd"]) as store:
            say("starts the API server %s" % target["version"])
            given, place = server(target, "target")
            with drill_api.serving(given, store.url, place, timeout) as client:
                after = read(client, expected.revision, keys, definitions)
                say("has read %d objects of %d kinds; writes one of each kind" % (after.count, after.kinds))
                written, unwritten = write_back(client, after, definitions)
            say("starts the present API server again")
            given, place = server(present, "again")
            with drill_api.serving(given, store.url, place, timeout) as client:
                again = read(client, None, list(store.keys(store.revision())), definitions)
                refused = list(_only_by_target(client, unwritten))
            say("has read %d objects again" % again.count)
    problems = [
        *comparison.read_by_target(before, after, unserved=bool(settings["unserved"])),
        *refused,
        *comparison.read_again(before, again),
    ]
    return {
        "backup": path.name,
        "revision": expected.revision,
        "keys": _by_kind(keys),
        "present": present["version"],
        "target": target["version"],
        "objects": before.count,
        "kinds": before.kinds,
        "written": written,
        "skipped": {**before.skipped, **after.skipped},
        "problems": [each.document() for each in problems[: comparison.SHOWN]],
        "count": len(problems),
        "seconds": round(time.monotonic() - began, 1),
    }


def _newest(directory: Path) -> Tuple[Path, manifest.Manifest]:
    newest = backups.newest(directory)
    if newest is None:
        raise BackupError("there is no backup in %s: run `kubeproof-backup save` on this host" % directory)
    try:
        return newest.path, manifest.read(newest.path)
    except Damaged as error:
        raise BackupError("%s: %s" % (newest.name, error)) from None


def read(client: Client, revision: int | None, keys: Sequence[str], wanted: Iterable[str] = ()) -> Listing:
    """All objects at a revision, or as they are now. ``keys``: etcd's; ``wanted``: resources that come to be served."""
    found = Listing()
    webhooks = _converted_by_webhooks(client)
    for resource in _resources(client, {*wanted, *served_definitions(client)}):
        if resource.name in webhooks:
            found.skipped[resource.name] = _NO_WEBHOOK
            continue
        try:
            found.objects[resource.name] = dict(client.uids(resource.path, revision))
        except BackupError as error:
            objects, broken = _singly(client, resource, keys)
            found.objects[resource.name] = objects
            found.broken[resource.name] = broken or {"": str(error)}
    return found


def _resources(client: Client, wanted: Iterable[str]) -> List[Resource]:
    """What is served, once all that is wanted is, or after a while without it."""
    deadline, missing = time.monotonic() + _DISCOVERY_SECONDS, set(wanted)
    while True:
        found = list(client.resources())
        if missing <= {each.name for each in found} or time.monotonic() > deadline:
            return found
        time.sleep(1)


def served_definitions(client: Client) -> List[str]:
    """Resources of CustomResourceDefinitions that are established."""
    return [
        "%s.%s" % (each["spec"]["names"]["plural"], each["spec"]["group"])
        for each in _definitions(client)
        if any(
            condition["type"] == "Established" and condition["status"] == "True"
            for condition in each.get("status", {}).get("conditions") or ()
        )
    ]


def _converted_by_webhooks(client: Client) -> List[str]:
    return [
        "%s.%s" % (each["spec"]["names"]["plural"], each["spec"]["group"])
        for each in _definitions(client)
        if (each["spec"].get("conversion") or {}).get("strategy") == "Webhook"
    ]


def _definitions(client: Client) -> List[Any]:
    """If these cannot be read, that is found out when they are listed."""
    try:
        return list(client.json(_DEFINITIONS)["items"])
    except BackupError:
        return []


def _singly(client: Client, resource: Resource, keys: Sequence[str]) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Objects of a resource whose list fails, one by one: UIDs, and why those that cannot be read can't."""
    objects: Dict[str, str] = {}
    broken: Dict[str, str] = {}
    for name in list(names_in(keys, resource))[:_SINGLY]:
        uid, why = _single(client, resource.path_of(name))
        if uid:
            objects[name] = uid
        elif why:
            broken[name] = why
    return objects, broken


def _single(client: Client, path: str) -> Tuple[str, str]:
    """An object's UID, or why it cannot be read; neither if there is none."""
    try:
        return str(client.json(path)["metadata"]["uid"]), ""
    except drill_api.NotFound:
        return "", ""
    except BackupError as error:
        return "", str(error)


# Where the path of keys is not the resource's name.
_PLACES = {
    "services": "services/specs",
    "endpoints": "services/endpoints",
    "nodes": "minions",
    "replicationcontrollers": "controllers",
    "ingresses.networking.k8s.io": "ingress",
}


def names_in(keys: Iterable[str], resource: Resource) -> Iterator[str]:
    """namespace/name of objects, from keys: after the resource's name, with the group before it if etcd has that."""
    plural, _, group = resource.name.partition(".")
    places = {_PLACES.get(resource.name, plural), "%s/%s" % (group, plural)}
    length = 2 if resource.namespaced else 1
    for key in keys:
        parts = key.strip("/").split("/")
        if parts[0] == "registry" and "/".join(parts[1:-length]) in places:
            yield "/".join(parts[-length:]) if resource.namespaced else "/" + parts[-1]


# Resource, name, path, why, and whether the target could read it.
Unwritten = List[Tuple[str, str, str, str, bool]]


def write_back(client: Client, listing: Listing, wanted: Iterable[str]) -> Tuple[int, Unwritten]:
    """Write an object of each kind as it is: how many were written, and the others.

    An API server that stores another version than the one in etcd writes it so.
    """
    written = 0
    failed: Unwritten = []
    for resource in _resources(client, wanted):
        if "update" not in resource.verbs:
            continue
        for name in sorted(listing.objects.get(resource.name, {})):
            path = resource.path_of(name)
            try:
                document = client.json(path)
                why = client.put(path, document)
                # It may have been written meanwhile, by a controller of the API server's own.
                if why.startswith("409"):
                    why = client.put(path, client.json(path))
            except drill_api.NotFound:
                continue
            except BackupError as error:
                failed.append((resource.name, name, path, str(error), False))
                break
            # It has expired meanwhile.
            if why.startswith("404"):
                continue
            if why:
                failed.append((resource.name, name, path, why, True))
            else:
                written += 1
            break
    return written, failed


def _only_by_target(client: Client, unwritten: Unwritten) -> Iterator[Problem]:
    """What the target could not write, and the present version could: the others are refused by any."""
    for resource, name, path, why, read_before in unwritten:
        if read_before:
            try:
                refused = client.put(path + "?dryRun=All", client.json(path))
            except drill_api.NotFound:
                refused = ""  # The present version does not have it, so that only the target could say.
            except BackupError:
                continue  # That it cannot be read is a problem of its own.
            if refused:
                continue
        yield Problem("write", resource, name, why)


def _by_kind(keys: Iterable[str]) -> Dict[str, int]:
    """How many keys etcd has, by the kind of what they hold."""
    found: Dict[str, int] = {}
    for key in keys:
        found[drill.kind(key)] = found.get(drill.kind(key), 0) + 1
    return found
