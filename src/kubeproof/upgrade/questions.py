"""What only the API and the hosts know, and what of it is in the way of an upgrade.

Each function judges an answer as it comes from the API: lists of objects, metrics as text, lines of the audit log.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.core.amounts import size as amount
from kubeproof.core.versions import Minor
from kubeproof.pki.cas import CA_ENDS
from kubeproof.preflight.findings import Finding, Severity

Object = Mapping[str, Any]

# What the API server adds to requests of APIs that are going to be removed, in its audit log.
REMOVED_RELEASE = "k8s.io/removed-release"
# Labels of the metric, whose value is 1 from the first such request since the server's start on.
DEPRECATED_METRIC = "apiserver_requested_deprecated_apis"
MIRROR = "kubernetes.io/config.mirror"
# A certificate that ends sooner may end during an upgrade, or before anybody looks again.
CERTIFICATE_DAYS = 7


# --- APIs ---


def removed_apis(metrics: str, audit: Iterable[Object], to: Minor) -> Iterator[Finding]:
    """APIs that are gone in the target, or before, and that were asked for; and by whom, as far as the log reaches."""
    clients: dict[tuple[str, str, str], dict[str, None]] = {}
    for event in audit:
        if REMOVED_RELEASE in event.get("annotations", {}):
            of = event.get("objectRef", {})
            key = (of.get("apiGroup", ""), of.get("apiVersion", ""), of.get("resource", ""))
            who = event.get("user", {}).get("username", "unknown")
            clients.setdefault(key, {})[f"{who} ({event.get('userAgent', 'unknown program').split(' ')[0]})"] = None
    for labels in _samples(metrics, DEPRECATED_METRIC):
        removed = labels.get("removed_release", "")
        if removed and Minor.of(removed) <= to:
            key = (labels.get("group", ""), labels.get("version", ""), labels.get("resource", ""))
            name = f"{key[2]} of {'/'.join(filter(None, key[:2]))}"
            who = f", by {', '.join(clients[key])}" if key in clients else ""
            problem = f"{name} was asked for since API servers were started{who}; {removed} has it no more"
            remediation = "Have its clients use a newer version of the API, and restart API servers to count again."
            yield Finding("removed-api", problem, remediation, name)


def _samples(metrics: str, name: str) -> Iterator[dict[str, str]]:
    """Labels of a metric's samples that are not zero, each set once."""
    seen = set()
    for line in metrics.splitlines():
        match = re.match(rf"{name}\{{(.*)\}} (\S+)", line)
        if match and float(match[2]) and match[1] not in seen:
            seen.add(match[1])
            yield dict(re.findall(r'(\w+)="([^"]*)"', match[1]))


def stored_versions(definitions: Iterable[Object]) -> Iterator[Finding]:
    """Versions in which objects may be stored, but that their definition has no more, or does not serve."""
    for definition in definitions:
        name = definition["metadata"]["name"]
        known = {each["name"]: each for each in definition["spec"]["versions"]}
        for version in definition.get("status", {}).get("storedVersions", []):
            if version not in known:
                problem = f"objects of {name} may be stored as {version}, which their definition does not have any more"
                yield Finding("stored-version", problem, _REWRITE, name)
            elif not known[version].get("served", True) and not known[version].get("storage"):
                problem = f"objects of {name} may be stored as {version}, which is not served any more"
                yield Finding("stored-version", problem, _REWRITE, name, severity="warning")


_REWRITE = "Write all its objects once more, as they are; then remove the version from its status.storedVersions."


def api_services(services: Iterable[Object]) -> Iterator[Finding]:
    """Aggregated APIs that do not answer: discovery waits for them, and namespaces can't be deleted."""
    for service in services:
        available = _condition(service, "Available")
        if service["spec"].get("service") and available.get("status") != "True":
            name = service["metadata"]["name"]
            reason = available.get("message") or available.get("reason") or "it has not been asked yet"
            yield Finding("api-service", f"the aggregated API {name} is not available: {reason}", _REPAIR_API, name)


_REPAIR_API = "Repair the service behind it, or delete the APIService."


def webhooks(configurations: Iterable[Object], slices: Iterable[Object]) -> Iterator[Finding]:
    """Admission webhooks that fail closed and have no endpoint: what they are about can't be written, pods too."""
    ready: dict[tuple[str, str], int] = {}
    for each in slices:
        service = each["metadata"].get("labels", {}).get("kubernetes.io/service-name", "")
        at = (each["metadata"]["namespace"], service)
        # Unknown counts as ready (discovery.k8s.io/v1, EndpointConditions).
        well = [one for one in each.get("endpoints") or [] if one.get("conditions", {}).get("ready") is not False]
        ready[at] = ready.get(at, 0) + len(well)
    for configuration in configurations:
        for hook in configuration.get("webhooks", []):
            service = hook["clientConfig"].get("service")
            closed = hook.get("failurePolicy", "Fail") == "Fail"
            if closed and service and not ready.get((service["namespace"], service["name"])):
                name = f"{configuration['metadata']['name']}/{hook['name']}"
                problem = (
                    f"the webhook {name} fails closed, and its service {service['namespace']}/{service['name']} has no "
                    "ready endpoint"
                )
                yield Finding(
                    "webhook", problem, "Repair its pods, or set its failurePolicy to Ignore meanwhile.", name
                )


# --- flags and feature gates ---


@dataclass(frozen=True)
class Known:
    """Flags and feature gates of a program of one version. ``locked``: gates that may have their default alone."""

    flags: frozenset[str]
    gates: frozenset[str]
    locked: Mapping[str, bool]


@functools.cache
def _table() -> Mapping[str, Any]:
    return dict(json.loads(_TABLE.read_text(encoding="utf-8")))


def known(program: str, series: Minor) -> Known | None:
    """What a minor version of a program knows; ``None`` if there is no table of it."""
    found = _table().get(str(series))
    if found is None:
        return None
    flags = found["flags"].get(program, "").split()
    return Known(frozenset(flags), frozenset(found["gates"].split()), found["locked"])


def arguments(program: str, given: Sequence[str], now: Minor, to: Minor) -> Iterator[Finding]:
    """Flags and gates that settings give a program, and that the target has lost: it would not start.

    What neither version has in its table is not judged: the table need not have all.
    """
    before, after = known(program, now), known(program, to)
    for argument in given:
        name, _, value = argument.removeprefix("--").partition("=")
        if before and after and name in before.flags - after.flags:
            problem = f"{program} {to} does not have the flag --{name} any more, which settings give it"
            yield Finding("unknown-flag", problem, _REMOVE, f"{program} --{name}")
        if name == "feature-gates":
            pairs = (pair.partition("=") for pair in value.split(",") if pair)
            yield from gates(program, {gate.strip(): on.strip().lower() == "true" for gate, _, on in pairs}, now, to)


def gates(program: str, given: Mapping[str, bool], now: Minor, to: Minor) -> Iterator[Finding]:
    """The same for gates alone, which a kubelet has in its configuration."""
    before, after = known(program, now), known(program, to)
    if before is None or after is None:
        return
    for gate, on in given.items():
        if gate in before.gates - after.gates:
            problem = f"{program} {to} does not have the feature gate {gate} any more, which settings give it"
            yield Finding("unknown-gate", problem, _REMOVE, f"{program} {gate}")
        elif after.locked.get(gate, on) != on:
            problem = f"{program} {to} has the feature gate {gate} locked to {str(not on).lower()}"
            yield Finding("unknown-gate", problem, _REMOVE, f"{program} {gate}")


_REMOVE = "Remove it from the settings: the program would not start with it."
_TABLE = Path(__file__).parent / "known.json"


# --- pods ---


@dataclass(frozen=True)
class Leaving:
    """Nodes that are going to be drained, and what settings allow them."""

    nodes: Collection[str]
    local_data: bool = False
    bare_pods: bool = False


def evictions(answers: Mapping[str, tuple[int, Object]], nodes: Mapping[str, str]) -> Iterator[Finding]:
    """Answers to evictions in a dry run, by pod: HTTP's code, and the Status. ``nodes``: where each pod is."""
    for pod, (code, status) in answers.items():
        if code < 400 or code == 404:
            continue
        causes = [cause.get("message", "") for cause in status.get("details", {}).get("causes", [])]
        said = " ".join(filter(None, [status.get("message", ""), *causes])) or f"HTTP {code}"
        identity = "budget" if code == 429 else "eviction"
        first = "Have its PodDisruptionBudget allow one disruption" if code == 429 else "Remove what the API names"
        remediation = f"{first}, or leave its node out: --hosts '!{nodes[pod]}'."
        yield Finding(identity, f"{pod} can't leave: {said}", remediation, pod, nodes[pod])


def budgets(found: Iterable[Object]) -> Iterator[Finding]:
    """Budgets that never allow an eviction, whatever the health of their pods."""
    for budget in found:
        name = f"{budget['metadata']['namespace']}/{budget['metadata']['name']}"
        status = budget.get("status", {})
        expected = status.get("expectedPods", 0)
        if not expected or status.get("disruptionsAllowed", 0) > 0:
            continue
        if status.get("currentHealthy", 0) < status.get("desiredHealthy", 0):
            problem = (
                f"PodDisruptionBudget {name} allows no eviction: {status['currentHealthy']} of "
                f"{status['desiredHealthy']} pods that it asks for are healthy"
            )
            yield Finding("budget", problem, "Repair its pods first.", name, severity="warning")
        elif status.get("desiredHealthy", 0) >= expected:
            problem = f"PodDisruptionBudget {name} never allows an eviction: it asks for all of its {expected} pods"
            yield Finding("budget", problem, "Allow one, or have one pod more.", name, severity="warning")


def stays(pod: Object) -> bool:
    """Whether a drain leaves a pod where it is: one of a DaemonSet, one from a kubelet's file, one that has ended."""
    metadata = pod["metadata"]
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    owners = metadata.get("ownerReferences", [])
    return MIRROR in metadata.get("annotations", {}) or any(each["kind"] == "DaemonSet" for each in owners) or ended


def stranded(names: Iterable[str]) -> Iterator[Finding]:
    """Nodes that are not drained, since their pods have nowhere to go."""
    for name in names:
        problem = (
            "its pods stay while its kubelet or runtime changes a minor version, and may be restarted: no other node "
            "that is ready takes them"
        )
        remediation = "To have them leave first, add a node, or kubectl uncordon one."
        yield Finding("nowhere", problem, remediation, host=name, severity="warning")


def unmovable(pods: Iterable[Object], leaving: Leaving) -> Iterator[Finding]:
    """Pods that are lost with their node's drain."""
    for pod in pods:
        node = pod["spec"].get("nodeName", "")
        metadata = pod["metadata"]
        owners = metadata.get("ownerReferences", [])
        if node not in leaving.nodes or stays(pod):
            continue
        name = f"{metadata['namespace']}/{metadata['name']}"
        if not owners and not leaving.bare_pods:
            problem = f"{name} has no controller, and is not made again elsewhere"
            yield Finding("bare-pod", problem, f"Delete it, or --hosts '!{node}'.", name, node)
        volumes = [each["name"] for each in pod["spec"].get("volumes", []) if "emptyDir" in each]
        memory = {each["name"] for each in pod["spec"].get("volumes", []) if each.get("emptyDir", {}).get("medium")}
        local = [each for each in volumes if each not in memory]
        if local and not leaving.local_data:
            problem = f"{name} loses what it has in emptyDir volumes: {', '.join(local)}"
            yield Finding("local-data", problem, "Allow that with upgrade_delete_local_data.", name, node)


# --- health ---


def nodes(found: Iterable[Object], touched: Collection[str]) -> Iterator[Finding]:
    """Nodes that are not ready before anything has been done to them, or that lack space."""
    for node in found:
        name = node["metadata"]["name"]
        if name not in touched:
            continue
        ready = _condition(node, "Ready")
        if ready.get("status") != "True":
            problem = (
                f"its node is not ready: {ready.get('message') or ready.get('reason') or 'its kubelet says nothing'}"
            )
            yield Finding("node-not-ready", problem, f"Repair it, or --hosts '!{name}'.", name, name)
        for kind in ("DiskPressure", "MemoryPressure", "PIDPressure"):
            if _condition(node, kind).get("status") == "True":
                problem = (
                    f"its node has {kind}: pods that are evicted elsewhere can't come here, and images may be removed"
                )
                yield Finding("node-pressure", problem, "Free what it lacks first.", f"{name} {kind}", name)


def readiness(verbose: Mapping[str, str]) -> Iterator[Finding]:
    """``/readyz?verbose`` of each API server, by host: checks that fail."""
    for host, text in verbose.items():
        names = ", ".join(failing(text))
        if names:
            yield Finding("api-not-ready", f"its API server is not ready: {names}", _REPAIR_SERVER, names, host)


def unanswered(problems: Mapping[str, str]) -> Iterator[Finding]:
    """API servers that do not answer, by host: why, as far as that is known."""
    for host, why in problems.items():
        problem = f"its API server does not answer: {why or 'it was not asked'}"
        yield Finding("api-not-ready", problem, _REPAIR_SERVER, "api", host)


def failing(verbose: str) -> list[str]:
    """Names of the checks that fail, of ``/readyz?verbose``."""
    return [line[3:].partition(" ")[0] for line in verbose.splitlines() if line.startswith("[-]")]


_REPAIR_SERVER = "Repair it first; its log: journalctl -u kube-apiserver, or that of its static pod."


def space(free: Mapping[str, int], needed: Mapping[str, int]) -> Iterator[Finding]:
    """Bytes that are free on each host, and those that staged versions take there, and what they replace."""
    for host, size in needed.items():
        if host in free and free[host] < size:
            problem = (
                f"versions that are staged and those that are kept take {amount(size)} in /var/lib/kubeproof, and "
                f"{amount(free[host])} are free"
            )
            remediation = f"Free some space there, or leave the host out: --hosts '!{host}'."
            yield Finding("disk", problem, remediation, "disk", host)


@dataclass(frozen=True)
class Certificate:
    """A certificate on a host: the file, when it ends in seconds since 1970, and whether it is a CA's.

    ``foreign``: whether kubeproof has not made it, so that no run renews it.
    """

    host: str
    path: str
    ends: float
    ca: bool = False
    foreign: bool = False


def certificates(found: Iterable[Certificate], now: float, *, unfinished: bool = False) -> Iterator[Finding]:
    """Certificates that end soon: a program that is started anew with one that has ended reaches nobody.

    ``unfinished``: whether an upgrade is. It continues, since until its end no other run renews anything.
    """
    for each in found:
        days = (each.ends - now) / _DAY
        if days < CERTIFICATE_DAYS:
            when = "has ended" if days < 0 else f"ends within {math.ceil(days)} {'day' if days <= 1 else 'days'}"
            renewal = _RENEW_AFTERWARDS if unfinished else _RENEW_FIRST
            severity: Severity = "warning" if unfinished or each.foreign else "error"
            remedy = _NOT_OURS if each.foreign else _CA_ENDS if each.ca else renewal
            yield Finding("certificate", f"{each.path} {when}", remedy, each.path, each.host, severity)


_DAY = 86400.0
_RENEW_FIRST = "Renew it first: playbooks/cluster.yml does."
_RENEW_AFTERWARDS = "Finish the upgrade, which renews it at its end."
_NOT_OURS = "It is none that kubeproof makes or renews: whoever has put it there does, or removes it."
_CA_ENDS = f"It is a CA: {CA_ENDS}."


def _condition(thing: Object, kind: str) -> Object:
    conditions: Sequence[Object] = thing.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})
