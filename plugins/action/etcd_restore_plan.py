"""The controller's part of a restore: choose and check the backup, report what will be lost, record the restore."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from kubeproof.backup.agent.manifest import File, Manifest
from kubeproof.backup.keys import IDENTITY
from kubeproof.components import pins
from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action
from kubeproof.preflight.model import NODES
from kubeproof.restore import checking, losses, record, resuming
from kubeproof.restore.source import Kept, Source, choose, kept
from kubeproof.settings.host_report import reported


class ActionModule(Action):
    """Thin: what is decided is decided in ``kubeproof.restore``."""

    _requires_connection = False
    _VALID_ARGS = frozenset(
        (
            "stage",
            "request",
            "resume",
            "identity",
            "recipients",
            "state_directory",
            "peer_urls",
            "data_directory",
            "versions",
            "cluster",
        )
    )

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError with all that speaks against the restore."""
        stages = {
            "choose": self._choose,
            "check": self._check,
            "tell": self._tell,
            "keys": self._keys,
            "begin": self._begin,
            "finish": self._finish,
        }
        return {"changed": False, **stages[self._argument("stage")]()}

    # What the stages work on

    def _argument(self, name: str) -> str:
        return str(self._arguments[name])

    @cached_property
    def _state(self) -> Path:
        return Path(self._argument("state_directory"))

    @property
    def _identity(self) -> Path:
        return Path(self._argument("identity")).expanduser()

    @cached_property
    def _records(self) -> record.Records:
        return record.Records(self._state)

    @cached_property
    def _members(self) -> dict[str, str]:
        return {str(name): str(url) for name, url in self._arguments["peer_urls"].items()}

    @cached_property
    def _looks(self) -> list[checking.Look]:
        return [checking.Look.of(host, self._variable(host, "__etcd_look")) for host in self._members]

    @property
    def _fact(self) -> dict[str, Any]:
        return dict(self._variables["ansible_facts"]["kubeproof_restore"])

    @staticmethod
    def _with(fact: Mapping[str, Any]) -> dict[str, Any]:
        return {"ansible_facts": {"kubeproof_restore": dict(fact)}}

    # Stages

    def _choose(self) -> dict[str, Any]:
        self._refuse_left_out()
        request = self._argument("request")
        source = Source.parse(request, list(self._members))
        now = datetime.datetime.now(tz=datetime.UTC)
        unfinished = self._records.unfinished(request, self._members) if self._arguments["resume"] else None
        self._records.drop_leftovers(source.path)
        if unfinished and self._goes_on(unfinished, now):
            return self._resume(unfinished)
        identity = record.new_id(now)
        fact: dict[str, Any] = {"id": identity, "resumed": False, "placed": False, "kind": source.kind}
        fact["ask"] = losses.host_to_ask(source.kind, self._looks)
        if source.kind == "directory":
            fact |= {"host": "", "name": source.name, "path": source.path}
        elif source.kind == "target":
            fact |= self._on_target(source, identity)
        else:
            fact |= self._on_host(source, identity, now)
        return self._with(fact)

    def _refuse_left_out(self) -> None:
        """Raises KubeproofError unless the run has all members: one that it leaves out would keep the old data."""
        left_out = [host for host in self._members if "__etcd_look" not in self._variables["hostvars"][host]]
        if left_out:
            names = ", ".join(left_out)
            raise KubeproofError(
                "Nothing was stopped: a restore begins a new etcd on all hosts of the group `etcd`, and this run "
                f"leaves out {names}",
                hint=f"Run it without --limit. If {names} is gone, take it out of the inventory first "
                "(docs/operations/backups.md, A host is gone).",
            )

    @property
    def _nodes_left_out(self) -> list[str]:
        """Nodes whose facts this run has not gathered: left out of it, or unreachable."""
        groups, hostvars = self._variables["groups"], self._variables["hostvars"]
        nodes = dict.fromkeys(str(host) for group in NODES for host in groups.get(group, ()))
        return [host for host in nodes if "arch" not in reported(hostvars, host)]

    def _goes_on(self, unfinished: record.Restore, now: datetime.datetime) -> bool:
        """Whether it is resumed without asking; if not, why is said."""
        why = resuming.outdated(unfinished, self._looks, now)
        if why:
            self._display.display(
                f"The unfinished restore {unfinished.id} of {unfinished.name}, started at {unfinished.began}, is not "
                f"resumed: {why}. This starts another; the backup of that one is still in {unfinished.path}."
            )
        return not why

    @cached_property
    def _listed(self) -> dict[str, list[Kept]]:
        """The backups on the etcd hosts."""
        ca_digest = checking.ca_digest_of(self._state)
        return {host: kept(host, self._variable(host, "__etcd_look")["backups"], ca_digest) for host in self._members}

    def _known_revisions(self, manifest: Manifest) -> Iterator[int]:
        """Revisions that the cluster of a backup has had, whether or not its etcd responds."""
        yield from (restore.first_revision for restore in self._records.all())
        manifests = [backup.manifest for listed in self._listed.values() for backup in listed if backup.manifest]
        yield from (each.revision for each in manifests if each.authority == manifest.authority)

    def _on_host(self, source: Source, identity: str, now: datetime.datetime) -> dict[str, Any]:
        """A backup, or a member's data, that is to be brought to the controller."""
        if source.kind == "member":
            if not self._variable(source.host, "__etcd_look")["there"]:
                raise KubeproofError(f"restore_from: {source.host} has no etcd data")
            host, name, skipped = source.host, f"{identity}-{source.host}", []
        else:
            chosen = choose(source, self._listed, now)
            host, name, skipped = chosen.backup.host, chosen.backup.name, list(chosen.skipped)
        path = str(self._records.fetched(identity, name))
        return {"host": host, "name": name, "path": path, "skipped": skipped}

    def _on_target(self, source: Source, identity: str) -> dict[str, Any]:
        """A backup that an etcd host fetches from one of its targets."""
        host = next((each for each in self._members if self._variable(each, "__etcd_look")["program"]), "")
        if not host:
            raise KubeproofError(
                f"restore_from: no etcd host has kubeproof-backup yet, to fetch {source.host}/{source.name}",
                hint="Copy it to the controller manually, and give its directory.",
            )
        path = str(self._records.fetched(identity, source.name))
        return {"host": host, "name": source.name, "target": source.host, "path": path}

    def _resume(self, unfinished: record.Restore) -> dict[str, Any]:
        placed = [look.host for look in self._looks if look.placed == unfinished.id]
        everywhere = len(placed) == len(self._looks)
        where = "all members" if everywhere else ", ".join(placed) or "no member"
        self._display.display(
            f"Resuming the restore {unfinished.id} of {unfinished.name}, which was started at {unfinished.began} and "
            f"not finished. Its data is in place on {where}. To start another: -e restore_resume=false"
        )
        fact = {"kind": "resumed", "host": "", "ask": "", "resumed": True, "placed": everywhere}
        if not everywhere:
            checking.whole(Path(unfinished.path), checking.ca_digest_of(self._state))
        return self._with(fact | _settled(unfinished))

    def _check(self) -> dict[str, Any]:
        fact = self._fact
        directory = Path(fact["path"])
        if fact["kind"] == "member":
            self._describe(directory, fact)
        ca_digest = checking.ca_digest_of(self._state)
        manifest = checking.whole(directory, ca_digest)
        lost = checking.lost_keys(self._state, directory, self._identity)
        if lost:
            self._display.display(
                f"Will be taken from the backup, since they are missing from {self._state / 'pki'}: {', '.join(lost)}"
            )
        wanted = pins.load().with_versions(self._arguments.get("versions") or {}).components["etcd"].version
        refusals = checking.refusals(manifest, self._looks, wanted)
        if refusals:
            told = "".join(f"\n  - {refusal}" for refusal in refusals)
            raise KubeproofError(f"{fact['name']} is not restored, and nothing was stopped:{told}")
        return self._with(fact | _settled(self._restore(fact, manifest)))

    def _keys(self) -> dict[str, Any]:
        recipients = [str(recipient) for recipient in self._arguments.get("recipients") or ()]
        own = self._state / IDENTITY
        had_own = own.exists()
        taken = checking.keys_for(self._state, Path(self._fact["path"]), self._identity, recipients)
        if own.exists() and not had_own:
            self._display.display(f"Restored {own} from {self._identity}: it decrypts the keys in backups")
        return {"changed": bool(taken), "taken": taken}

    def _describe(self, directory: Path, fact: Mapping[str, Any]) -> None:
        """The manifest of a snapshot that was made of what is left of a member."""
        made = self._variable(fact["host"], "__restore_snapshot")
        status = made["status"]
        manifest = Manifest(
            name=fact["name"],
            cluster=self._argument("cluster"),
            authority=checking.ca_digest_of(self._state),
            cluster_id=str(made["cluster_id"]),
            member=str(fact["host"]),
            member_id=str(made["member_id"]),
            trigger="restore",
            begun=str(made["begun"]),
            finished=str(made["finished"]),
            seconds=0.0,
            revision=int(status["revision"]),
            hash=int(status["hash"]),
            keys=int(status["totalKey"]),
            size=int(status["totalSize"]),
            quorum=False,
            versions={str(name): str(version) for name, version in made["versions"].items()},
            files={"snapshot.db": File(int(made["file"]["bytes"]), str(made["file"]["sha256"]))},
        )
        (directory / "manifest.json").write_bytes(manifest.render())

    def _tell(self) -> dict[str, Any]:
        fact = self._fact
        manifest = record.manifest_of(fact["manifest"])
        counted: Mapping[str, Any] = {"msg": "etcd does not respond, or has no quorum"}
        if fact["ask"]:
            counted = self._variable(fact["ask"], "__restore_changes")
        listed = counted.get("keys")
        told = losses.summary(
            manifest,
            self._looks,
            str(counted.get("msg", "")) if listed is None else losses.Changes.of(listed, manifest.revision),
            where=f"{fact['host']}:{fact['name']}" if fact["host"] else fact["path"],
            now=datetime.datetime.now(tz=datetime.UTC),
            left_out=self._nodes_left_out,
            skipped=fact.get("skipped", ()),
            kept=f"the old data, on each host that has any, as {fact['kept']}",
        )
        self._display.display(f"\n{told}")
        return {"question": f"Continue? Answer with the cluster's name, {self._argument('cluster')}"}

    def _begin(self) -> dict[str, Any]:
        fact = self._fact
        if not fact["resumed"]:
            self._records.save(self._restore(fact, record.manifest_of(fact["manifest"])))
        return {"changed": not fact["resumed"]}

    def _restore(self, fact: Mapping[str, Any], manifest: Manifest) -> record.Restore:
        """The restore that begins now."""
        return record.Restore(
            id=fact["id"],
            request=self._argument("request"),
            name=fact["name"],
            path=fact["path"],
            kept=f"{self._argument('data_directory')}/kept-{fact['id']}",
            members=self._members,
            token=f"{self._argument('cluster')}-{fact['id']}",
            bump=fact.get("bump") or losses.bump(manifest, self._looks, self._known_revisions(manifest)),
            manifest=asdict(manifest),
            began=datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
        )

    def _finish(self) -> dict[str, Any]:
        now = datetime.datetime.now(tz=datetime.UTC)
        restore = self._records.finish(self._fact["id"], now)
        # Those that this one was begun in place of.
        self._records.close(now)
        span = datetime.datetime.fromisoformat(restore.done) - datetime.datetime.fromisoformat(restore.began)
        return {
            "changed": True,
            "msg": f"{restore.name} is restored, {span.total_seconds():.0f} s after the first component was stopped. "
            f"The old data is kept on each host that had any, as {restore.kept}; remove it when no longer needed.",
        }


def _settled(restore: record.Restore) -> dict[str, Any]:
    """What a restore's later steps need to know of it."""
    return {
        "id": restore.id,
        "name": restore.name,
        "path": restore.path,
        "kept": restore.kept,
        "manifest": dict(restore.manifest),
        "token": restore.token,
        "bump": restore.bump,
        "initial_cluster": restore.initial_cluster,
        "peer_urls": dict(restore.members),
    }
