"""The programs of hosts: what runs, what lies on the disk, and whether that is what the inventory's lock has."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from kubeproof.components.lock import Generation, Lock
from kubeproof.components.pins import MACHINES
from kubeproof.core.versions import Minor, parse
from kubeproof.upgrade.record import Record
from kubeproof.upgrade.world import CONTROLLERS, ETCD, KUBE_PROXY, KUBELET, EtcdCluster, Running, World
from kubeproof.upgrade.world import Host as Seen
from kubeproof.verify.observe.hosts import Host, packed

_LOOK = Path(__file__).parent / "programs_look.py"
# A pod's shim lives as long as the pod, and so do gVisor, its kernel, and what CRI-O watches containers with: one that
# is older than its file is as it should be.
_OUTLIVES = ("containerd-shim", "runsc", "conmon")
# What keeps the kubelet from removing an image (containerd, internal/cri/labels).
_PINNED = "io.cri-containerd.pinned=pinned"
SERVED = (ETCD, *CONTROLLERS, KUBELET, KUBE_PROXY)
"""Programs of which the process itself is asked for its version. API servers are asked over their port."""


@dataclass(frozen=True)
class Process:
    """A process of a component. ``gone``: whether its file is no longer there. ``pod``: the UID of its pod, or empty.

    ``version`` is what its executable says, as it was started; empty if it says nothing. ``emulates``: by its flags.
    ``sha256`` is the executable's digest; empty for one of a pod, of which the image is judged.
    """

    program: str
    pid: int
    path: str
    gone: bool
    pod: str
    sha256: str
    version: str
    emulates: str = ""


@dataclass(frozen=True)
class Found:
    """What a host has. ``files``: digests by path, empty for one that is recorded and not there."""

    arch: str
    processes: tuple[Process, ...]
    files: Mapping[str, str]


def look(host: Host, programs: Collection[str], *, files: bool = False) -> Found:
    """Look at a host's processes of these programs, and at installed files if ``files`` are wanted."""
    request = json.dumps({"programs": sorted(programs), "asked": SERVED, "files": files})
    told: dict[str, Any] = json.loads(host.run("python3 -c %s %s", packed(_LOOK), request))
    machine = told["machine"]
    return Found(MACHINES.get(machine, machine), tuple(Process(**each) for each in told["processes"]), told["files"])


def of_the_cluster(processes: Iterable[Process], pods: Collection[str]) -> list[Process]:
    """Processes without those in pods of others: ``pods`` are the UIDs of the cluster's own."""
    return [each for each in processes if not each.pod or each.pod in pods]


# --- versions side by side ---


@dataclass(frozen=True)
class ApiServer:
    """What an API server says at ``/version``, on the host of that name."""

    host: str
    answer: Mapping[str, Any]

    @property
    def running(self) -> Running:
        """Its version, and the one that it emulates. Raises ValueError if it says none."""
        version = parse(str(self.answer.get("gitVersion", "")))
        if version is None:
            raise ValueError(f"the API server of {self.host} does not say which version it is: {dict(self.answer)}")
        major, minor = self.answer.get("emulationMajor"), self.answer.get("emulationMinor")
        emulated = Minor(int(major), int(str(minor).rstrip("+"))) if major and minor else None
        return Running(version, emulated if emulated != version.series else None)


def world(
    groups: Mapping[str, frozenset[str]],
    processes: Mapping[str, Iterable[Process]],
    servers: Iterable[ApiServer],
    etcd: Iterable[str] = (),
) -> World:
    """What runs, for the policy. ``groups``: by host. ``etcd``: what members say of their cluster's version.

    A host with several processes of a program counts once for each.
    """
    runs: dict[str, list[tuple[str, Running]]] = {name: [] for name in groups}
    for server in servers:
        runs.setdefault(server.host, []).append(("kube-apiserver", server.running))
    for name, found in processes.items():
        for each in found:
            version = parse(each.version)
            if each.program in SERVED and version is not None:
                emulates = Minor.of(each.emulates) if each.emulates else None
                runs[name].append((each.program, Running(version, emulates)))
    versions = [Minor.of(text) for text in etcd if text]
    hosts = [host for name, running in runs.items() for host in _hosts(name, groups.get(name, frozenset()), running)]
    return World(tuple(hosts), EtcdCluster(max(versions, default=None)))


def _hosts(name: str, groups: frozenset[str], running: Iterable[tuple[str, Running]]) -> Iterator[Seen]:
    first: dict[str, Running] = {}
    for program, each in running:
        if program in first and first[program] != each:
            yield Seen(name, groups, {program: each})
        first.setdefault(program, each)
    yield Seen(name, groups, first)


# --- the lock ---


@dataclass(frozen=True)
class Locked:
    """What a lock has for an architecture. Each may be of several versions while an upgrade is not finished.

    ``files``: digests by name, of binaries, and of image archives as ``NAME.tar``. ``references``: of images, by name.
    ``digests``: of images that were made here, by reference.
    """

    files: Mapping[str, frozenset[str]]
    references: Mapping[str, frozenset[str]]
    digests: Mapping[str, frozenset[str]]


def generations(lock: Lock, record: Record) -> tuple[Generation, ...]:
    """What hosts may have: what the cluster was given last, and during an upgrade what it is on its way from and to."""
    if record.unfinished:
        return ("current", "target", "previous")
    return ("current",) if lock.versions("current") else ("target",)


def locked(lock: Lock, arch: str, chosen: Collection[Generation]) -> Locked:
    """What the lock has of these generations; of several, with what was the target of an unfinished upgrade before."""
    files: dict[str, set[str]] = {}
    references: dict[str, set[str]] = {}
    digests: dict[str, set[str]] = {}
    for _, component in _of(lock, "components", arch, chosen):
        for name, binary in component["binaries"].items():
            files.setdefault(name, set()).add(binary["sha256"])
    for name, image in _of(lock, "images", arch, chosen):
        references.setdefault(name, set()).add(image["reference"])
        if image.get("archive"):
            files.setdefault(f"{name}.tar", set()).add(image["archive"]["sha256"])
        if image.get("digest"):
            digests.setdefault(image["reference"], set()).add(image["digest"])
    return Locked(*({name: frozenset(each) for name, each in found.items()} for found in (files, references, digests)))


def _of(
    lock: Lock, part: Literal["components", "images"], arch: str, chosen: Collection[Generation]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for generation in chosen:
        yield from lock.entries(generation, part, arch).items()
    if len(chosen) > 1:
        yield from lock.superseded(part, arch)


def programs_of(lock: Lock) -> set[str]:
    """Names of all binaries that the lock has, of whatever version and architecture."""
    return {
        name
        for generation in ("current", "target", "previous")
        for arch in lock.architectures(generation)
        for entry in lock.entries(generation, "components", arch).values()
        for name in entry["binaries"]
    }


def deviations(host: str, found: Found, wanted: Locked) -> list[str]:
    """What is not as the lock has it, in words: files first, then processes."""
    return [*_of_files(host, found, wanted), *_of_processes(host, found, wanted)]


def _of_files(host: str, found: Found, wanted: Locked) -> Iterator[str]:
    for path, sha256 in found.files.items():
        known = wanted.files.get(PurePosixPath(path).name)
        if known is None:
            continue  # Of something that the cluster no longer has.
        if not sha256:
            yield f"{path} is not there on {host}"
        elif sha256 not in known:
            yield f"{path} on {host} is not what the lock has: SHA-256 {sha256}, not {' or '.join(sorted(known))}"


def _of_processes(host: str, found: Found, wanted: Locked) -> Iterator[str]:
    for each in found.processes:
        if each.pod or each.program.startswith(_OUTLIVES):
            continue
        known = wanted.files.get(each.program, frozenset())
        where = f"{each.program} on {host} (process {each.pid})"
        if known and each.sha256 not in known:
            yield f"{where} runs a program that the lock does not have: {each.path}, SHA-256 {each.sha256}"
        elif each.gone:
            yield f"{where} runs a file that is no longer there: {each.path} was replaced or removed since it started"


def image_deviations(where: str, images: Mapping[str, str], wanted: Locked) -> list[str]:
    """The same for images of a container runtime: digests by reference."""
    return [
        f"the image {reference} on {where} is not what the lock has: {digest}, not {' or '.join(sorted(known))}"
        for reference, known in wanted.digests.items()
        if (digest := images.get(reference)) and digest not in known
    ]


def unpinned_images(where: str, listed: str, wanted: Locked) -> list[str]:
    """The same for what ``ctr images list`` prints: images that were made here are in no registry to come back from."""
    return [
        f"the image {reference} on {where} is not pinned, so that the kubelet removes it when its disk fills up"
        for line in listed.splitlines()[1:]
        for reference in line.split()[:1]
        if reference in wanted.digests and _PINNED not in line
    ]


def pod_deviations(references: Mapping[str, str], wanted: Locked) -> list[str]:
    """The same for images of pods, by pod: one of the cluster's own repositories must be the one of the lock."""
    repositories = {_repository(each): known for known in wanted.references.values() for each in known}
    return [
        f"the pod {pod} has the image {reference}, not {' or '.join(sorted(known))} as the lock has it"
        for pod, reference in references.items()
        if (known := repositories.get(_repository(reference))) and reference not in known
    ]


def _repository(reference: str) -> str:
    name = reference.partition("@")[0]
    head, _, tail = name.rpartition(":")
    return head if head and "/" not in tail else name


def images(output: str) -> dict[str, str]:
    """Digests by reference, of what ``ctr images list`` prints."""
    rows = (line.split() for line in output.splitlines()[1:])
    return {row[0]: row[2] for row in rows if len(row) > 2}
