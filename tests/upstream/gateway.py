"""Upstream's conformance tests of the Gateway API: their program and images, and a run of them against Traefik.

They are a program of Go's own test framework, which prints how each test ended. The core of the profile GATEWAY-HTTP
is selected. Images are given upstream's names on the nodes while they run, so that nothing is pulled.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.upstream import e2e
from tests.upstream.critest import Place
from tests.upstream.results import Outcome, State

from kubeproof.api import kubectl
from kubeproof.components import gobuild, oci, pins
from kubeproof.components.cache import Cache
from kubeproof.components.lock import Lock
from kubeproof.components.progress import silent
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import run
from kubeproof.settings import remote
from kubeproof.settings.inventory import Inventory
from kubeproof.settings.resolve import Settings

Say = Callable[[str], None]

NAME = "gateway"
PROFILE = "GATEWAY-HTTP"
# The profile's core (conformance/utils/suite/profiles.go), which are features of Traefik's as well.
FEATURES = ("Gateway", "HTTPRoute", "ReferenceGrant")
LIMIT = 3600
ECHO = "localhost/kubeproof/echo-basic"
_SUITE = "TestConformance"
_MODULE = "sigs.k8s.io/gateway-api/conformance"
# What all namespaces of a run are given.
_LABEL, _VALUE = "kubeproof-upstream", "gateway"
_GATEWAY_CLASS = "gatewayclass-observed-generation-bump"
_GRACE_SECONDS = 60
_DIRECTORY = "/var/lib/kubeproof-gateway-conformance"
_IMAGE = re.compile(r"^\s*(?:- )?image: [\"']?([^\s\"'#]+)", re.MULTILINE)
_ENDED = re.compile(rf"^ *--- (PASS|FAIL|SKIP): {_SUITE}(?:/(\S+))? \(([\d.]+)s\)")
# The test that the following lines are of. Those before a result are of it or of its parts.
_BEGUN = re.compile(rf"^=== (?:RUN|CONT|NAME|PAUSE) +{_SUITE}(?:/([^/\s]+))?")
_UNSUPPORTED = "suite does not support"
_CAUSE = "Error:"
_LINES_OF_A_CAUSE = 12


def program(cache: Cache, component: str, say: Say) -> Path:
    """A program of the conformance module, built if it is not cached. Raises KubeproofError."""
    pinned, arch, tools = pins.load(), e2e.architecture(), gobuild.toolchain()
    wanted = pinned.components[component]
    gobuild.check(pinned, wanted, arch, tools)
    say(f"{component} {wanted.version}: cached, or built in {wanted.go.cold_seconds} s and more")
    built, _ = gobuild.build(pinned, wanted, arch, tools, cache, silent)
    return built.blobs[next(iter(wanted.binaries))].path


def manifests() -> list[Path]:
    """What the tests apply that are of gateways, not of meshes: files of the module, as go.sum has verified it."""
    base = gobuild.module_file(pins.load(), "gateway-conformance", f"{_MODULE}/base/manifests.yaml")
    return [base, *sorted(p for p in (base.parents[1] / "tests").glob("*.yaml") if not p.name.startswith("mesh"))]


def wanted_images(texts: Iterable[str]) -> list[str]:
    """The images that manifests name."""
    return sorted({name for text in texts for name in _IMAGE.findall(text)})


def stand_ins(wanted: Iterable[str], echo: str, coredns: str) -> dict[str, str]:
    """The image of ours by each of upstream's. Raises KubeproofError if there is none: it would be pulled.

    ``echo`` is made of the sources of the tests' own version, whatever tag these name.
    """
    ours = {"gateway-api/echo-basic": echo, "coredns/coredns": coredns}
    found = {}
    for name in wanted:
        repository = name.partition("/")[2].rpartition(":")[0]
        if repository not in ours:
            raise KubeproofError(f"upstream's tests would pull {name}, of which there is none here")
        found[name] = ours[repository]
    return found


def echo_image(built: Path, arch: str, version: str, archive: Path) -> str:
    """Make the image of the pods that get the requests; returns its reference."""
    reference = f"{ECHO}:{version}"
    contents = oci.Contents(
        reference,
        arch,
        {"/echo-basic": (built, 0o755)},
        {},
        directories=["/tmp"],  # noqa: S108 - of the image
        user="65532:65532",
        entrypoint=("/echo-basic",),
        arguments=(),
        ports=("3000/tcp", "8443/tcp"),
        labels={},
    )
    oci.write_archive(contents, archive)
    return reference


def coredns_image(state: Path) -> str:
    """The CoreDNS image that the cluster's nodes have. Raises KubeproofError if its lock does not say."""
    lock = Lock(state)
    entry = lock.image(e2e.architecture(), "coredns")
    if not entry:
        raise KubeproofError(f"{lock.path} does not say which image the cluster has for coredns")
    return str(entry["reference"])


def nodes(cluster: Inventory) -> list[Place]:
    """The nodes on which pods of the tests may run."""
    return [
        Place(host.name, remote.login(host), cluster.state, str(Settings(host)["cluster_bin_directory"]))
        for host in cluster.group("workers")
    ]


def check_reached(service: str) -> str:
    """The address of Traefik's Service, which is what the API returned (JSON). Raises KubeproofError.

    The tests send requests to ports 80 and 443 of the address that a Gateway has, from this machine.
    """
    document = json.loads(service)
    ports = {port["port"] for port in document["spec"]["ports"]}
    addresses = (document.get("status", {}).get("loadBalancer") or {}).get("ingress") or []
    if document["spec"]["type"] != "LoadBalancer" or not addresses or not {80, 443} <= ports:
        raise KubeproofError(
            "the tests take a Traefik with an address of its own, and ports 80 and 443 there",
            hint="traefik_enabled: true, metallb_addresses, and traefik_service_type and ports as they are by default",
        )
    return str(addresses[0].get("ip") or addresses[0].get("hostname"))


def command(built: Path, report: Path) -> list[str]:
    """The command line of the tests."""
    return [
        # The kernel ends it if this process is killed: no tests continue that have lost their reader.
        "setpriv",
        "--pdeathsig=TERM",
        str(built),
        f"-test.run=^{_SUITE}$",
        f"-test.timeout={LIMIT}s",
        "-test.v",
        "-gateway-class=traefik",
        f"-conformance-profiles={PROFILE}",
        f"-supported-features={','.join(FEATURES)}",
        f"-namespace-labels={_LABEL}={_VALUE}",
        f"-report-output={report}",
        # Without these it writes no report.
        "-organization=traefik",
        "-project=traefik",
        "-url=https://traefik.io/",
        f"-version=v{pins.load().components['traefik'].version}",
        "-contact=@traefik/maintainers",
    ]


def outcomes(printed: str) -> tuple[tuple[Outcome, ...], tuple[Outcome, ...]]:
    """All tests of the selected features that what was printed is of, and the steps that failed.

    A test that began and has no result ended with the program: it was not run to its end. The step of the suite itself
    fails if the suite has no result, or failed without any of its tests.
    """
    said: dict[str, list[str]] = {}
    ended: dict[str, Outcome] = {}
    suite, current = State.NOT_RUN, ""
    for line in printed.splitlines():
        if result := _ENDED.match(line):
            word, name, seconds = result.groups()
            if name is None:
                suite = State.PASSED if word == "PASS" else State.FAILED
            elif "/" not in name:
                state = {"PASS": State.PASSED, "FAIL": State.FAILED, "SKIP": State.SKIPPED}[word]
                ended[name] = Outcome(name, state, float(seconds), _message(state, said.get(name, [])))
        elif begun := _BEGUN.match(line):
            current = begun.group(1) or ""
            said.setdefault(current, [])
        else:
            said.setdefault(current, []).append(line.strip())
    # Results are printed when the suite ends, so a test of other features may have none.
    names = [name for name, lines in said.items() if name and not any(_UNSUPPORTED in line for line in lines)]
    asked = tuple(ended.get(name, Outcome(name, State.NOT_RUN)) for name in names)
    failed = any(each.state is State.FAILED for each in asked)
    if suite is State.PASSED or (suite is State.FAILED and failed):
        return asked, ()
    last = "\n".join(printed.splitlines()[-_LINES_OF_A_CAUSE:])
    return asked, (Outcome(_SUITE, State.FAILED, 0.0, last),)


def perform(
    cluster: Inventory, built: Path, echo: Path, directory: Path, scratch: Path, say: Say
) -> tuple[tuple[Outcome, ...], tuple[Outcome, ...]]:
    """Run the tests to their end, and leave cluster and nodes as they were; returns what ``outcomes`` does.

    ``directory`` gets upstream's report (``report.yml``) and everything that is printed (``gateway.log``). Raises
    KubeproofError if the run can't begin, or does not end.
    """
    state = cluster.state
    environment = kubectl.environment(kubectl.kubeconfig(state))
    asked = [*kubectl.command(state), "-n", "traefik", "get", "service", "traefik", "--output=json"]
    say(f"Traefik answers at {check_reached(run(asked, env=environment, timeout=60))}")
    archive = scratch / "echo.tar"
    version = pins.load().components["gateway-echo"].version
    reference = echo_image(echo, e2e.architecture(), version, archive)
    names = stand_ins(wanted_images(path.read_text() for path in manifests()), reference, coredns_image(state))
    places, log = nodes(cluster), directory / f"{NAME}.log"
    _clean(state, environment)
    try:
        for place in places:
            place.run(load(place.programs, names), archive.read_bytes(), timeout=300)
        line = command(built, directory / "report.yml")
        say(f"{shlex.join(line)} > {log}")
        with log.open("w", encoding="utf-8") as output:
            given = {**environment, "KUBECONFIG": str(kubectl.kubeconfig(state))}
            e2e.attend(line, given, output.fileno(), LIMIT + _GRACE_SECONDS)
    finally:
        _clean(state, environment)
        for place in places:
            place.run(unload(place.programs, names, reference), timeout=300)
    return outcomes(log.read_text(encoding="utf-8", errors="replace"))


def load(programs: str, names: dict[str, str]) -> str:
    """A script that gives a node the image that it reads, and upstream's names to all that stand in for theirs."""
    tags = "\n".join(f"$ctr tag --force {ours} {theirs} >/dev/null" for theirs, ours in names.items())
    return f"""
ctr='{programs}/ctr --namespace k8s.io images'
mkdir -p {_DIRECTORY}
trap 'rm -rf {_DIRECTORY}' EXIT
cat > {_DIRECTORY}/echo.tar
$ctr import --local {_DIRECTORY}/echo.tar >/dev/null
{tags}
"""


def unload(programs: str, names: Iterable[str], reference: str) -> str:
    """A script that takes them from the node again, but not what the cluster has itself. It fails if any is left."""
    given = [*names, reference]
    any_of_them = " ".join(f"--regexp={shlex.quote(each)}" for each in given)
    return f"""
ctr='{programs}/ctr --namespace k8s.io images'
# A run that broke off may not have brought all of them. The runtime knows what it has by its digest too.
{programs}/crictl rmi {shlex.quote(reference)} >/dev/null 2>&1 || true
$ctr remove {shlex.join(given)} >/dev/null 2>&1 || true
left=$($ctr list --quiet | grep --line-regexp --fixed-strings {any_of_them} || true)
test -z "$left" || {{ echo "images are left: $left" >&2; exit 1; }}
"""


def _clean(state: Path, environment: dict[str, str]) -> None:
    e2e.remove_leftovers(state, f"{_LABEL}={_VALUE}")
    run(
        [*kubectl.command(state), "delete", "gatewayclass", _GATEWAY_CLASS, "--ignore-not-found"],
        env=environment,
        timeout=60,
    )


def _message(state: State, lines: Sequence[str]) -> str:
    if state is State.PASSED:
        return ""
    at = next((number for number, line in enumerate(lines) if line.startswith(_CAUSE)), None)
    kept = lines[-_LINES_OF_A_CAUSE:] if at is None else lines[at : at + _LINES_OF_A_CAUSE]
    return "\n".join(kept)
