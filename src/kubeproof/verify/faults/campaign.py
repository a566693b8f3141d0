"""A campaign: one fault after the other, each into a cluster that is whole, while a client on a worker records."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from kubeproof.core import zipped
from kubeproof.settings.urls import in_url
from kubeproof.verify.act import accounts
from kubeproof.verify.act.accounts import Rule
from kubeproof.verify.act.pods import Blocked, Manifests, is_ready
from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.faults.checker import Gap, History, Violation, longest_gap, violations
from kubeproof.verify.faults.kinds import Field, Kind
from kubeproof.verify.faults.outside import Asked, Outside
from kubeproof.verify.faults.timeline import timeline
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api, ApiError
from kubeproof.verify.observe.cluster import CA_FILE, Cluster
from kubeproof.verify.observe.hosts import IN_PATH, CommandFailed, Host, NotObservable
from kubeproof.verify.observe.objects import Object

T = TypeVar("T")

SCHEMA = "kubeproof.faults/1"
REGISTERS = 4
# Longer than any outage that is expected of the API: whoever gives up earlier learns less.
ANSWER_SECONDS = 15.0
_APPLICATION_SECONDS = 2.0
_UNITS = "kubeproof-faults-"
_RECORDER = "kubeproof.verify.faults.recorder"
_PAUSE_SECONDS = 0.05
_LEASES = ("kube-scheduler", "kube-controller-manager")
_WHOLE_SECONDS = 180.0
_POLL_SECONDS = 0.5
_CALM_SECONDS = 1.0
_TOKEN_SECONDS = 6 * 3600
_ACCOUNT = "recorder"
# Python and its modules, on a busy host.
_STARTED_SECONDS = 60
# After the time in which faults begin: for the last one, and for what is asked at the end.
_LAST_SECONDS = 900
# After its farewell, before a pod's processes are killed.
_GRACE_SECONDS = 4
# Generous: what a fault costs is measured, not judged; this is what nobody would call available.
UNAVAILABLE_SECONDS = 60.0
_COSTS = {
    "writes_unavailable": "no write was acknowledged",
    "application_unavailable": "the application did not answer",
    "outside_unavailable": "a client outside the cluster had no answer",
}
# The last one only of faults at which that client asks.
_FIGURES = ("writes_unavailable", "application_unavailable", "recovery", "slowest_refusal", "outside_unavailable")


@dataclass(frozen=True)
class Struck:
    """One fault that happened. Times are of the client's clock; ``recovered`` is 0 if the cluster did not.

    ``begin`` is before anything was done, ``held`` when it was done, ``end`` before anything was undone.
    ``outside_unavailable``: the longest time, in seconds, in which a client outside the cluster had no answer; None if
    it did not ask.
    """

    kind: Kind
    host: str
    begin: float
    end: float
    recovered: float
    missing: str = ""
    held: float = 0.0
    outside_unavailable: float | None = None


@dataclass
class Outcome:
    """What a campaign brought to light. ``started`` is of the client's clock, as all times."""

    history: History
    struck: list[Struck] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    started: float = 0.0
    seconds: float = 0.0
    seed: int = 0
    requested: int = 0
    diverged: str = ""
    unseen: list[str] = field(default_factory=list)
    interrupted: bool = False

    def document(self) -> dict[str, Any]:
        """The outcome as JSON; docs/faults.schema.json describes it."""
        writes, requests = self.history.successes("write"), self.history.successes("request")
        faults = [self._fault(each, writes, requests) for each in self.struck]
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for each in faults:
            by_kind.setdefault(each["kind"], []).append(each)
        titles = {each.kind.name: each.kind for each in self.struck}
        counts = self.history.counts()
        failures = list(_failures(faults, counts, self.violations))
        failures += [said for each in self.struck for said in _unrefused(each, self.history)]
        failures += [*([self.diverged] if self.diverged else []), *self.unseen]
        if self.interrupted:
            failures.append(f"it was interrupted after {len(self.struck)} of {self.requested} faults")
        return {
            "schema": SCHEMA,
            "verdict": "failed" if failures else "survived",
            "failures": failures,
            "started": datetime.datetime.fromtimestamp(self.started, datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "requested": self.requested,
            "faults": faults,
            "kinds": [
                {
                    "kind": name,
                    "title": titles[name].title,
                    "settings": list(titles[name].settings),
                    "count": len(found),
                    **{key: max(each[key] for each in found) for key in _FIGURES if key in found[0]},
                }
                for name, found in by_kind.items()
            ],
            "left_out": self.left_out,
            "counts": counts,
            "retries": self.history.retries,
            "violations": [dataclasses.asdict(each) for each in self.violations],
            "lost": sum(each.kind == "lost" for each in self.violations),
            "timeline": timeline(self.history.entries),
        }

    def _fault(self, struck: Struck, writes: Sequence[float], requests: Sequence[float]) -> dict[str, Any]:
        until = struck.recovered or struck.end + _WHOLE_SECONDS
        gaps: dict[str, Gap] = {
            "writes_unavailable": longest_gap(writes, struck.begin, until),
            "application_unavailable": longest_gap(requests, struck.begin, until),
        }
        return {
            "kind": struck.kind.name,
            "host": struck.host,
            "begin": round(struck.begin, 3),
            "end": round(struck.end, 3),
            "recovery": round(until - struck.end, 2),
            "missing": struck.missing,
            **{name: round(gap.seconds, 2) for name, gap in gaps.items()},
            **(
                {}
                if struck.outside_unavailable is None
                else {"outside_unavailable": round(struck.outside_unavailable, 2)}
            ),
            "slowest_refusal": round(self.history.slowest("write", "unknown", struck.begin, until), 2),
        }


def _failures(
    faults: Sequence[Mapping[str, Any]], counts: Mapping[str, Mapping[str, int]], broken: Sequence[Violation]
) -> Iterator[str]:
    """Why a campaign failed, in sentences; nothing if the cluster survived."""
    if not faults:
        yield "no fault happened"
    if not counts.get("write", {}).get("ok"):
        yield "no write was acknowledged, so that none could have been lost"
    for kind, number in Counter(each.kind for each in broken).items():
        yield f"{kind}, {number} of them: {next(each.what for each in broken if each.kind == kind)}"
    for each in faults:
        where = f"{each['kind']} on {each['host']}"
        if each["missing"]:
            yield f"{where}: the cluster did not recover: {each['missing']}"
        for key, said in _COSTS.items():
            if each.get(key, 0) >= UNAVAILABLE_SECONDS:
                yield f"{where}: {said} for {each[key]:.0f} s"


def _unrefused(struck: Struck, history: History) -> Iterator[str]:
    """What is wrong if writes must be refused while a fault lasts, and soon."""
    if not struck.kind.refuses:
        return
    where = f"{struck.kind.name} on {struck.host}"
    asked = [each for each in history.of("write") if each["start"] >= struck.held and each["end"] <= struck.end]
    acknowledged = sum(each["outcome"] == "ok" for each in asked)
    if acknowledged:
        yield f"{where}: {acknowledged} writes were acknowledged meanwhile"
    begun = history.slowest("write", "unknown", struck.begin, struck.end)
    if not begun:
        yield f"{where}: no write was refused meanwhile"
    elif begun >= ANSWER_SECONDS:
        yield f"{where}: a write had neither an answer nor a refusal for {begun:.0f} s"


class Recording:
    """The recorder on a host, as a unit of its own there; it is gone, with all it wrote, at the end."""

    def __init__(self, host: Host, settings: Mapping[str, Any], token: str, seconds: float = _TOKEN_SECONDS) -> None:
        """Nothing runs yet. ``seconds``: the longest time that it runs, whatever became of this process."""
        self.host = host
        self._seconds = seconds
        self._unit = f"{_UNITS}{secrets.token_hex(4)}"
        self._directory = f"/run/{self._unit}"
        self._settings = {**settings, "api": {**settings["api"], "token": f"{self._directory}/token"}}
        self._token = token

    def start(self) -> None:
        """Begin to record. Raises CommandFailed, with what the recorder said, if it does not start."""
        self.host.run("install -d -m 0700 %s", self._directory)
        self.host.write(f"{self._directory}/token", self._token.encode())
        self.host.write(f"{self._directory}/recorder", zipped.program(_RECORDER, "hpack", "hyperframe"))
        self.host.run(
            f"systemd-run --quiet --collect --unit={self._unit} --property=RuntimeMaxSec={self._seconds:.0f}"
            f" --description={self._settings['api']['namespace']} {IN_PATH} python3 {self._directory}/recorder %s %s",
            json.dumps(self._settings),
            f"{self._directory}/log",
        )
        self.host.run(
            f"timeout {_STARTED_SECONDS} sh -c 'until test -e %s; do systemctl is-active --quiet {self._unit}"
            f" || exit; sleep 0.1; done' || {{ journalctl --unit={self._unit} --output=cat --lines=3 >&2; false; }}",
            f"{self._directory}/log",
        )

    def stop(self) -> History:
        """End it, and have what it wrote."""
        self.host.attempt("systemctl stop %s", self._unit)
        history = History.parse(self.host.run("cat %s", f"{self._directory}/log").splitlines())
        self.host.run("rm -rf %s", self._directory)
        return history


def remove_recordings(host: Host, namespaces: Collection[str]) -> None:
    """Remove what campaigns that were killed left on a host. ``namespaces``: those that there are.

    A recorder's unit is described by the namespace that it works in, which goes with its campaign.
    """
    for directory in host.run(f"find /run -maxdepth 1 -name '{_UNITS}*'").split():
        unit = directory.removeprefix("/run/")
        if host.run("systemctl show --property=Description --value %s", unit).strip() not in namespaces:
            host.attempt("systemctl stop %s", unit)
            host.run("rm -rf %s", directory)


@dataclass(frozen=True)
class Observed:
    """What clients recorded while something happened, and what must not have been. Times are of the client's clock.

    ``unseen``: what could not be found out at the end, and why.
    """

    history: History
    violations: list[Violation]
    started: float
    seconds: float
    diverged: str
    unseen: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Application:
    """The pods behind the service that is asked.

    ``farewell``: seconds for which a pod answers once it is to end, as what is drained has to, and then it has a budget
    of one disruption at a time. 0: it ends at once, without a budget.
    """

    replicas: int = 3
    farewell: int = 0


class Campaign:
    """Faults into one cluster."""

    def __init__(
        self,
        cluster: Cluster,
        workspace: Workspace,
        manifests: Manifests,
        tell: Callable[[str], None],
        application: Application = Application(),
    ) -> None:
        """``tell`` gets a line for each fault."""
        self._wanted = application
        self.cluster = cluster
        self.workspace = workspace
        self.manifests = manifests
        self.tell = tell
        self._service = ""
        # The first worker asks; there must be others to hit.
        client = cluster.hosts.group("workers")[0]
        self.field = Field(cluster, client, Outside(cluster, workspace, manifests, client))
        # Ours too, so that a connection that a fault has broken is noticed before the next one.
        self._own = ExitStack()
        others = [access for access in cluster.each_access() if access != cluster.api.access]
        own = [self._own.enter_context(Api(access)) for access in others]
        self._apis = [cluster.api, *own]

    def close(self) -> None:
        """End the connections to the API servers that are its own."""
        self._own.close()

    def run(self, kinds: Sequence[Kind], count: int, seed: int, limit_seconds: float) -> Outcome:
        """Inject ``count`` faults of all kinds one by one, in an order that ``seed`` decides."""
        order = random.Random(seed)  # noqa: S311 - an order, no secret
        struck: list[Struck] = []
        left_out: dict[str, str] = {}
        broken: list[str] = []
        interrupted = False

        def strike_all() -> None:
            nonlocal interrupted
            deadline = time.monotonic() + limit_seconds
            for number, kind in enumerate(_turns(kinds, count, order)):
                if time.monotonic() > deadline:
                    left_out["time"] = f"after {number} of {count} faults the time was over"
                    break
                if kind.name in left_out:
                    continue
                try:
                    struck.append(self._strike(kind, order, f"{len(struck) + 1}/{count}"))
                except NotObservable as reason:
                    left_out[kind.name] = str(reason)
                    continue
                except KeyboardInterrupt:
                    # There is to be a report of what happened until then.
                    interrupted = True
                    break
                except Exception as error:  # noqa: BLE001 - of a cluster that is not whole anything may fail
                    broken.append(f"{kind.name}: {_said(error)}")
                    break
                if not struck[-1].recovered:
                    break

        seen = self.observe(strike_all, limit_seconds + _LAST_SECONDS)
        return Outcome(
            seen.history,
            struck,
            left_out,
            seen.violations,
            seen.started,
            seen.seconds,
            seed,
            count,
            seen.diverged,
            [*broken, *seen.unseen],
            interrupted,
        )

    def observe(self, happen: Callable[[], None], seconds: float = _TOKEN_SECONDS) -> Observed:
        """Let something happen to a cluster that is whole, while clients record. Once: the registers are used up.

        ``seconds``: how long that may take.
        """
        self._remove_recordings()
        self._service = self._application()
        self._registers()
        self.await_whole("before anything has happened")
        recording = Recording(self.field.client, self._settings(), self._token(), seconds)
        started, begun = time.time() + self._offset(), time.monotonic()
        unseen = _Unseen()
        recording.start()
        try:
            happen()
        finally:
            history = unseen.unless(recording.stop, "what was recorded") or History()
        took = time.monotonic() - begun
        read = {
            number: unseen.unless(functools.partial(self._value, number), f"register {number}")
            for number in range(REGISTERS)
        }
        final = {number: value for number, value in read.items() if value is not None}
        found = violations(history, final, unread=read.keys() - final.keys())
        diverged = unseen.unless(self._diverged, "etcd's members' data") or ""
        return Observed(history, found, started, took, diverged, unseen.told)

    def _remove_recordings(self) -> None:
        namespaces = {objects.name(item) for item in self.cluster.api.items("/api/v1/namespaces")}
        for host in self.cluster.hosts.group("workers"):
            remove_recordings(host, namespaces)

    def _diverged(self) -> str:
        """How members' data differ; empty if they don't."""
        port = self.cluster.settings["cluster_etcd_port"]
        endpoints = [f"https://{in_url(host.address)}:{port}" for host in self.cluster.etcd_hosts]
        revision = self.cluster.etcd.revision()
        hashes = self.cluster.etcd.hashes(endpoints, revision)
        if len(hashes) == len(endpoints) and len(set(hashes.values())) == 1:
            return ""
        return f"etcd's members differ at revision {revision}: {hashes}"

    def _strike(self, kind: Kind, order: random.Random, number: str) -> Struck:
        targets = list(kind.targets(self.field))
        if not targets:
            raise NotObservable("there is no host that it could hit")
        host = order.choice(targets)
        offset = self._offset()
        outside = None
        with self.field.outside.asked() if kind.outside else nullcontext() as traffic:
            begin = time.time()
            with kind.hit(self.field, host):
                held = time.time()
                time.sleep(kind.hold)
                end = time.time()
            missing = self.missing(_WHOLE_SECONDS)
            recovered = time.time()
            if traffic:
                asked = Asked.of(traffic)
                if not missing and not asked.failed(held, end):
                    raise NotObservable(f"requests from this machine do not go by way of {host}, which was to die")
                outside = asked.unavailable(begin, recovered)
        said = f"whole again after {recovered - end:.1f} s" if not missing else f"NOT whole again: {missing}"
        if outside is not None:
            said += f"; outside no answer for {outside:.1f} s"
        self.tell(f"{number:>8}  {kind.name:<28} {host.name:<8} {said}")
        # What a fault costs may only show a moment later.
        time.sleep(_CALM_SECONDS)
        whole = 0 if missing else recovered + offset
        return Struck(kind, host.name, begin + offset, end + offset, whole, missing, held + offset, outside)

    def await_whole(self, when: str) -> None:
        """Wait until the cluster is whole. Raises Blocked if it isn't in time."""
        missing = self.missing(_WHOLE_SECONDS)
        if missing:
            raise Blocked("etcd", f"{when} the cluster is not whole: {missing}")

    def missing(self, seconds: float) -> str:
        """Wait until nothing is missing from the cluster; what still is after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            missing = next(self._lacks(), "")
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(_POLL_SECONDS)

    def _lacks(self) -> Iterator[str]:
        for api in self._apis:
            try:
                answer = api.request("GET", "/readyz")
                if not answer.ok:
                    yield f"the API server at {api.access.server} is not ready"
            except httpx.HTTPError as error:
                yield f"the API server at {api.access.server} does not answer: {type(error).__name__}"
        port = self.cluster.settings["cluster_etcd_port"]
        endpoints = [f"https://{in_url(host.address)}:{port}" for host in self.cluster.etcd_hosts]
        try:
            statuses = self.cluster.etcd.statuses(endpoints)
            for endpoint, status in statuses.items():
                if status.get("errors") or not status.get("leader"):
                    yield f"etcd at {endpoint} is not whole: {status.get('errors')}"
            if len(statuses) < len(endpoints):
                yield "an etcd member does not answer"
        except (CommandFailed, ValueError) as error:
            yield f"etcd does not answer: {error}"
        try:
            yield from self._unready()
        except (ApiError, httpx.HTTPError) as error:
            yield f"the API does not answer: {error}"

    def _unready(self) -> Iterator[str]:
        for node in self._apis[0].items("/api/v1/nodes"):
            if not objects.holds(node, "Ready") or objects.troubles(node):
                yield f"node {objects.name(node)} is not ready"
        ready = [pod for pod in self._apis[0].items(objects.core(self.manifests.namespace, "pods")) if is_ready(pod)]
        if len(ready) < self._wanted.replicas:
            yield f"{len(ready)} of the application's {self._wanted.replicas} pods are ready"

    def _application(self) -> str:
        """A service with a pod on each of several nodes; its address."""
        labels = {"app": "served"}
        anywhere: list[Object] = [{"operator": "Exists", "key": "node-role.kubernetes.io/control-plane"}]
        server = self.manifests.server(
            "server", readinessProbe={"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}
        )
        farewell: dict[str, Any] = {}
        if self._wanted.farewell:
            server["args"].append(f"--delay-shutdown={self._wanted.farewell}")
            farewell = {"terminationGracePeriodSeconds": self._wanted.farewell + _GRACE_SECONDS}
            self.cluster.api.create(_budget(self.manifests.namespace, labels))
        pod = self.manifests.pod(
            "",
            [server],
            **farewell,
            tolerations=anywhere,
            topologySpreadConstraints=[
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": labels},
                }
            ],
        )
        spec = {
            "replicas": self._wanted.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
        }
        metadata = {"name": "served", "namespace": self.manifests.namespace}
        self.cluster.api.create({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec})
        service = self.cluster.api.create(self.manifests.service("served", labels))
        return str(service["spec"]["clusterIP"])

    def _registers(self) -> None:
        for number in range(REGISTERS):
            metadata = {"name": f"register-{number}", "namespace": self.manifests.namespace}
            self.cluster.api.create(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": "0"}}
            )

    def _value(self, number: int) -> int:
        found = self.cluster.api.get(f"{objects.core(self.manifests.namespace, 'configmaps')}/register-{number}")
        return int(found["data"]["value"])

    def _settings(self) -> dict[str, Any]:
        balancer = self.cluster.settings["cluster_balancer_port"]
        return {
            "api": {
                "url": f"https://127.0.0.1:{balancer}",
                "ca": CA_FILE,
                "namespace": self.manifests.namespace,
                "timeout": ANSWER_SECONDS,
            },
            "registers": REGISTERS,
            "readers": 2,
            "application": f"http://{in_url(self._service)}/hostname",
            "application_timeout": _APPLICATION_SECONDS,
            "askers": 2,
            "leases": list(_LEASES),
            "pause": _PAUSE_SECONDS,
        }

    def _token(self) -> str:
        """A token for the recorder, which may do no more than it does."""
        namespace = self.manifests.namespace
        accounts.account(self.cluster.api, namespace, _ACCOUNT)
        registers = Rule(("get", "update"), ("configmaps",))
        accounts.allow(self.cluster, namespace, _ACCOUNT, [registers])
        leases = Rule(("get", "list", "watch"), ("leases",), "coordination.k8s.io")
        accounts.allow_elsewhere(self.cluster, self.workspace, namespace, _ACCOUNT, [leases], "kube-system")
        return accounts.token(self.cluster.api, namespace, _ACCOUNT, _TOKEN_SECONDS)

    def _offset(self) -> float:
        """What to add to this machine's time for the client's, to some milliseconds."""
        before = time.time()
        there = float(self.field.client.run("date +%s.%N"))
        return there - (before + time.time()) / 2


def _budget(namespace: str, labels: Mapping[str, str]) -> Object:
    """One disruption at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "served", "namespace": namespace},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": dict(labels)}},
    }


class _Unseen:
    """What could not be found out, of a cluster that may not be whole."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def unless(self, look: Callable[[], T], what: str) -> T | None:
        """What is found; None if it fails, which is taken down."""
        try:
            return look()
        except Exception as error:  # noqa: BLE001 - testinfra, etcdctl and the API fail as they like
            self.told.append(f"at the end {what} could not be read: {_said(error)}")
            return None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _turns(kinds: Sequence[Kind], count: int, order: random.Random) -> Iterator[Kind]:
    """All kinds in turn, in another order each time."""
    left = count
    while left > 0:
        round_ = list(kinds)
        order.shuffle(round_)
        yield from round_[:left]
        left -= len(round_)
