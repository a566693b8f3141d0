"""The verification's pytest plugin: which tests run, what they need of the cluster, what becomes of their results."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import time
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kubeproof.api import kubeconfig
from kubeproof.core import paths
from kubeproof.core.arguments import AppendSource
from kubeproof.core.errors import KubeproofError
from kubeproof.core.process import interrupt_when_ended
from kubeproof.settings import inventory, state
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.act import accounts
from kubeproof.verify.act.pods import Blocked, Manifests
from kubeproof.verify.act.workspace import Workspace, remove_leftovers
from kubeproof.verify.engine import claims, results
from kubeproof.verify.engine import patience as patiently
from kubeproof.verify.engine.claims import Claim, Level
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import EARLY, Workloads, ahead, last_used
from kubeproof.verify.engine.results import Circumstances, Outcome, Results, TestResult
from kubeproof.verify.engine.terminal import ClaimDisplay
from kubeproof.verify.etcd_backups import history as backup_history
from kubeproof.verify.observe.api import Api, ApiError, NotObserved, connect
from kubeproof.verify.observe.certificate_expiry import Expiry
from kubeproof.verify.observe.cluster import Cluster, recorded_image
from kubeproof.verify.observe.hosts import CONNECTIONS, CommandFailed, Hosts, NotObservable
from kubeproof.verify.observe.latency import PodStarts, service_rules

_CLAIM = pytest.StashKey[Claim]()
_EVIDENCE = pytest.StashKey[Evidence]()
_RECORDER = pytest.StashKey["Recorder"]()
_WORKLOADS = pytest.StashKey[Workloads]()
_PROPERTY = "kubeproof"
# What went wrong on the way to a verdict, in the words of whoever says it; anything else is a fault of the test.
_EXPLAINED = (AssertionError, ApiError, Blocked, CommandFailed, KubeproofError, NotObservable, httpx.HTTPError)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the verification. ``--connection`` is testinfra's own."""
    group = parser.getgroup("kubeproof", "verification of a cluster")
    group.addoption(
        "--inventory",
        action=AppendSource,
        type=Path,
        default=(paths.DEFAULT_INVENTORY,),
        help="whose cluster, a file or a directory, may be repeated (default: inventory/local/hosts.yml); "
        "--connection: ssh (default) or paramiko",
    )
    group.addoption("--kubeconfig", type=Path, help="how to reach its API (default: what the installation wrote)")
    group.addoption(
        "--only", action="append", default=[], metavar="COMPONENT|CLAIM", help="only these; may be repeated"
    )
    group.addoption("--level", default=str(Level.STANDARD), help="quick, standard (default) or disruptive")
    group.addoption(
        "--patience",
        metavar="FACTOR",
        help="how many times longer than usual to wait (default: cluster_verification_patience, else measured)",
    )
    group.addoption("--test-image", help="agnhost image for test pods (default: the installed one)")
    group.addoption(
        "--report", type=Path, help="where the JSON goes, page and JUnit XML beside it (default: reports/ in the state)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the claims, and see to it that the end of this process is the end of what it has made."""
    config.addinivalue_line("markers", "claim(id): the claim, of tests/architecture/claims.yml, that a test proves")
    config.addinivalue_line("markers", "late: what the test looks at takes a minute to happen, by itself")
    try:
        config.stash[_RECORDER] = Recorder(config)
    except KubeproofError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(config.stash[_RECORDER])
    interrupt_when_ended()
    # The display shows what happens; pytest's own dots and file names would only come between its lines.
    config.option.verbose = config.option.verbose or -1


class Recorder:
    """Chooses tests by claim, and turns their reports into results."""

    def __init__(self, config: pytest.Config) -> None:
        """Check the options."""
        self.level = Level.named(config.getoption("level"))
        self.only: list[str] = config.getoption("only")
        catalogue = claims.load()
        self._selected = catalogue.select(self.only)
        self.results = Results(catalogue)
        self.cluster: dict[str, Any] = {}
        self.latencies: dict[str, Any] = {"api": [], "pod_start": []}
        self._inventory: inventory.Sources = config.getoption("inventory")
        self._report: Path | None = config.getoption("report")
        if self._report and self._report.suffix in {".html", ".xml"}:
            raise KubeproofError(
                f"--report {self._report} is where the JSON goes", hint="page and JUnit XML are written beside it"
            )
        self._started = datetime.datetime.now(datetime.UTC)
        self._clock = time.monotonic()
        self._display: ClaimDisplay | None = None
        self._last_used: dict[str, list[str]] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the tests of claims that are asked for, in the order of the claims."""
        catalogue = self.results.catalogue
        for item in items:
            item.stash[_CLAIM] = _claim_of(item, catalogue)
        for claim in catalogue.claims:
            if claim.id not in self._selected:
                self.results.left_out[claim.id] = results.NOT_ASKED_FOR
            elif claim.level > self.level and not claim.untested:
                self.results.left_out[claim.id] = f"only at level {claim.level}"
        order = {claim.id: number for number, claim in enumerate(catalogue.claims)}
        left_out = [item for item in items if item.stash[_CLAIM].id in self.results.left_out]
        config.hook.pytest_deselected(items=left_out)
        chosen = (item for item in items if item.stash[_CLAIM].id not in self.results.left_out)
        # What stops things comes last: nothing else is being looked at then.
        items[:] = sorted(chosen, key=lambda item: (*_turn(item), order[item.stash[_CLAIM].id]))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Prepare the display: results are shown as soon as a claim's last test is over."""
        expected = [item.stash[_CLAIM].id for item in session.items]
        self.results.expected.update(expected)
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter and not session.config.option.collectonly:
            self._display = ClaimDisplay(self.results, expected, reporter)
        self._last_used = last_used((item.nodeid, getattr(item, "fixturenames", ())) for item in session.items)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Release the pods that only this test, or earlier ones, have used. After the last test all is gone already."""
        workloads = item.config.stash.get(_WORKLOADS, None)
        if workloads and nextitem:
            workloads.release(self._last_used.get(item.nodeid, ()))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add claim, evidence and a reason in plain words to pytest's report."""
        made = yield
        if call.excinfo and call.excinfo.errisinstance(NotObservable):
            made.outcome = "skipped"
            made.longrepr = (str(item.path), item.location[1] or 0, str(call.excinfo.value))
        if made.when == "call" or made.outcome != "passed":
            evidence = item.stash.get(_EVIDENCE, Evidence())
            result = {
                "claim": item.stash[_CLAIM].id,
                "message": _message(call.excinfo.value) if call.excinfo else "",
                "refuted": bool(call.excinfo and call.excinfo.errisinstance(AssertionError)) and made.when == "call",
                "headline": evidence.headline,
                "evidence": dict(evidence),
            }
            made.user_properties.append((_PROPERTY, result))
        return made

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a test's result down."""
        said = dict(report.user_properties).get(_PROPERTY)
        if not isinstance(said, dict):
            return
        if report.when == "teardown":
            self.results.problems.append(f"cleaning up after {report.nodeid}: {said['message']}")
            return
        result = TestResult(
            claim=said["claim"],
            name=report.nodeid.rpartition("::")[2],
            outcome=_outcome(report, refuted=said["refuted"]),
            message=said["message"],
            headline=said["headline"],
            evidence=said["evidence"],
            started=datetime.datetime.fromtimestamp(report.start, datetime.UTC).isoformat(timespec="milliseconds"),
            seconds=report.duration,
        )
        self.results.tests.append(result)
        if self._display:
            self._display.result(result)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Count tests for pytest's last line, and leave showing them to the display."""
        if report.when == "call" or report.outcome != "passed":
            return ("error" if report.when != "call" and report.failed else report.outcome), "", ""
        return None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the report."""
        if session.config.option.collectonly:
            return
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            self.results.problems.append("the verification was interrupted")
        finished = datetime.datetime.now(datetime.UTC)
        rules = service_rules(test.evidence for test in self.results.tests)
        self.results.sections["latencies"] = {**self.latencies, "service_rules": rules}
        circumstances = Circumstances(
            started=self._started.isoformat(timespec="milliseconds"),
            finished=finished.isoformat(timespec="milliseconds"),
            seconds=time.monotonic() - self._clock,
            level=str(self.level),
            only=self.only,
            inventories=[str(path) for path in inventory.sources_of(self._inventory)],
            cluster=self.cluster,
        )
        path = self._report or state.prepare(inventory.find_state(self._inventory)) / results.DEFAULT_PATH
        written = _write(results.document(self.results, circumstances), path)
        if self._display:
            self._display.finish(circumstances, written)


def _write(document: dict[str, Any], path: Path) -> dict[str, str]:
    """Write a report in all its forms; for each, where it is, or why it is not."""
    results.write(document, path)
    written = {"JSON": str(path)}
    for form, place, write in (
        ("JUnit", results.junit_path(path), results.write_junit),
        ("Report", results.page_path(path), results.write_page),
    ):
        try:
            write(document, place)
            written[form] = str(place)
        except Exception as error:  # noqa: BLE001 - the verdict stands, whether there is a page of it or not
            written[form] = f"could not be written: {type(error).__name__}: {error}"
    return written


def _claim_of(item: pytest.Item, catalogue: claims.Catalogue) -> Claim:
    marker = item.get_closest_marker("claim")
    if marker is None or len(marker.args) != 1:
        raise pytest.UsageError(f"{item.nodeid} does not say which claim it proves: @pytest.mark.claim(ID)")
    try:
        return catalogue.claim(marker.args[0])
    except KubeproofError as error:
        raise pytest.UsageError(f"{item.nodeid}: {error}") from None


def _turn(item: pytest.Item) -> tuple[bool, bool]:
    return item.stash[_CLAIM].level is Level.DISRUPTIVE, item.get_closest_marker("late") is not None


def _outcome(report: pytest.TestReport, *, refuted: bool) -> Outcome:
    """Only an assertion speaks about the claim. Whatever else goes wrong keeps the test from looking at it."""
    if report.outcome == "passed":
        return Outcome.PASSED
    if report.outcome == "skipped":
        return Outcome.NOT_OBSERVABLE
    return Outcome.FAILED if refuted else Outcome.BLOCKED


def _message(error: BaseException) -> str:
    """The reason in one line. Of an assertion, pytest adds what was compared, which stays in the details."""
    text = str(error).strip().split("\n", maxsplit=1)[0]
    if isinstance(error, (*_EXPLAINED, pytest.skip.Exception)) and text:
        return text
    return f"{type(error).__name__}: {text}"


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """What the test observes, for the report."""
    stash: pytest.Stash = request.node.stash
    return stash.setdefault(_EVIDENCE, Evidence())


@pytest.fixture(scope="session")
def report_sections(pytestconfig: pytest.Config) -> dict[str, Any]:
    """What tests add to the report besides their evidence, by key."""
    return pytestconfig.stash[_RECORDER].results.sections


@pytest.fixture(scope="session")
def described(pytestconfig: pytest.Config) -> Inventory:
    """The inventory."""
    return inventory.load(pytestconfig.getoption("inventory"))


@pytest.fixture(scope="session")
def kubeconfig_path(described: Inventory, pytestconfig: pytest.Config) -> Path:
    """The administrator's kubeconfig."""
    return pytestconfig.getoption("kubeconfig") or described.state / "admin.kubeconfig"


@pytest.fixture(scope="session")
def cluster(described: Inventory, kubeconfig_path: Path, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """The cluster, reachable in all its parts; without that there is nothing to verify."""
    connection = pytestconfig.getoption("connection") or CONNECTIONS[0]
    try:
        with connect(*kubeconfig.load_all(kubeconfig_path)) as api, Hosts(described, connection) as hosts:
            recorder = pytestconfig.stash[_RECORDER]
            away = hosts.leave_out_unreachable()
            recorder.results.problems += [f"{why}; nothing on it was looked at" for why in away]
            found = Cluster(described, hosts, api)
            patience = patiently.decide(pytestconfig.getoption("patience") or "", found.settings, hosts.all)
            api.patience = patience.factor
            recorder.cluster = _describe(found)
            remove_leftovers(api)
            expiry = Expiry(found)
            yield found
            certificates, warnings = expiry.report(datetime.datetime.now(datetime.UTC))
            history, more = backup_history.report(found)
            recorder.results.sections |= {"certificates": certificates, "warnings": [*patience.notes, *warnings, *more]}
            if history:
                recorder.results.sections["backups"] = history
            recorder.latencies["api"] = api.stopwatch.as_data()
    except KubeproofError as error:
        pytestconfig.stash[_RECORDER].results.problems.append(f"nothing could be verified: {error}")
        pytest.exit(f"nothing could be verified: {error}", returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Api:
    """The API, as the administrator sees it."""
    return cluster.api


@pytest.fixture(scope="session")
def workspace(cluster: Cluster) -> Iterator[Workspace]:
    """Where objects of this verification go, and are removed from at the end."""
    with Workspace(cluster.api) as space:
        yield space


@pytest.fixture(scope="session")
def namespace(workspace: Workspace) -> str:
    """The namespace of this verification."""
    return workspace.namespace()


@pytest.fixture(scope="session")
def manifests(cluster: Cluster, namespace: str, pytestconfig: pytest.Config) -> Manifests:
    """What all test pods have in common."""
    image = pytestconfig.getoption("test_image") or recorded_image(cluster.inventory, cluster.nodes)
    try:
        accounts.await_default(cluster.api, namespace)
    except NotObserved as error:
        raise Blocked("controller-manager", str(error)) from None
    return Manifests(namespace, image, nodes=tuple(node.name for node in cluster.nodes), patience=cluster.api.patience)


@pytest.fixture(scope="session")
def workloads(
    api: Api, manifests: Manifests, request: pytest.FixtureRequest, pytestconfig: pytest.Config
) -> Iterator[Workloads]:
    """The pods of this verification; those that tests have prepared are submitted now."""
    made = pytestconfig.stash[_WORKLOADS] = Workloads(api, manifests)
    starts = PodStarts(Api(api.access), manifests.namespace)
    starts.begin()
    if ahead(api):
        items: list[pytest.Item] = request.session.items
        made.submit({name for item in items for name in getattr(item, "fixturenames", ())})
    yield made
    starts.end()
    pytestconfig.stash[_RECORDER].latencies["pod_start"] = starts.as_data()


@pytest.fixture(scope="session", autouse=True)
def _early(request: pytest.FixtureRequest) -> None:
    """Have pods start while the first claims, which need none, are looked at."""
    for name in EARLY:
        users = (item for item in request.session.items if name in getattr(item, "fixturenames", ()))
        for user in itertools.islice(users, 1):
            # Tests that need it report again what went wrong; other claims can do without.
            with contextlib.suppress(Exception), warnings.catch_warnings():
                if not ahead(request.getfixturevalue("api")):
                    return
                # A test that has not begun is taken for one that is over. Fixtures of the session don't mind.
                warnings.simplefilter("ignore", pytest.PytestRemovedIn10Warning)
                _request_of(user).getfixturevalue(name)


def _request_of(item: pytest.Item) -> pytest.FixtureRequest:
    """A test's own request: fixtures of its file are not visible to the tests of another one, which may come first."""
    asked: pytest.FixtureRequest = item._request  # type: ignore[attr-defined]  # noqa: SLF001
    return asked


def _describe(found: Cluster) -> dict[str, Any]:
    """Which cluster a report is about."""
    nodes = [
        {
            "name": node.name,
            "address": node.address,
            "control_plane": node.control_plane,
            "kubelet": node.item["status"]["nodeInfo"]["kubeletVersion"],
            "runtime": node.item["status"]["nodeInfo"]["containerRuntimeVersion"],
            "system": node.item["status"]["nodeInfo"]["osImage"],
            "kernel": node.item["status"]["nodeInfo"]["kernelVersion"],
        }
        for node in found.nodes_found
    ]
    return {
        "server": found.api.access.server,
        "uid": found.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"],
        "version": found.api.get("/version")["gitVersion"],
        "nodes": nodes,
    }
