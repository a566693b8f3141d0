"""The plugin, in a pytest of its own, with tests that need no cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeproof.verify.engine import run
from kubeproof.verify.engine.run import Options

_TESTS = """
import pytest
from kubeproof.verify.observe.hosts import NotObservable
from kubeproof.verify.act.pods import Blocked

@pytest.mark.claim("etcd-private")
def test_in_second_place(evidence):
    evidence["answers"] = {"no certificate": "refused"}
    evidence.headline = "refused"

@pytest.mark.claim("api-watch")
def test_in_first_place(evidence):
    evidence["told"] = 0
    assert 1 + 1 == 3, "no change was told"

@pytest.mark.claim("sched-binding")
def test_that_cannot_look():
    raise Blocked("kubelet", "no pod runs")

@pytest.mark.claim("ctl-gc")
def test_that_cannot_see():
    raise NotObservable("there is no audit log")

@pytest.mark.claim("ctl-namespace")
def test_with_a_fault_of_its_own():
    {}["missing"]

@pytest.fixture
def messy():
    yield
    raise RuntimeError("a pod is still there")

@pytest.mark.claim("kubectl")
def test_that_leaves_something(messy):
    pass
"""

Verify = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def verify(tmp_path: Path) -> Verify:
    """Verify with the tests above; the report and what was shown."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["kubeproof.verify.engine.plugin"]\n')
    (tmp_path / "test_sample.py").write_text(_TESTS)

    def run_pytest(*options: str) -> tuple[dict[str, Any], str]:
        report = tmp_path / "report.json"
        call = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
        done = subprocess.run([*call, f"--report={report}", *options], capture_output=True, text=True, check=False)
        shown = done.stdout + done.stderr
        return (json.loads(report.read_text()) if report.exists() else {}), shown

    return run_pytest


def claims_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {claim["id"]: claim for component in report["components"] for claim in component["claims"]}


def test_tests_become_verdicts_with_evidence(verify: Verify) -> None:
    report, shown = verify()
    found = claims_of(report)
    verdicts = {name: (claim["verdict"], claim["reason"]) for name, claim in found.items() if claim["tests"]}
    assert verdicts == {
        "etcd-private": ("proven", ""),
        "api-watch": ("refuted", "no change was told"),
        "sched-binding": ("blocked", "no pod runs (look at: kubelet)"),
        "ctl-gc": ("not-proven", "there is no audit log"),
        "ctl-namespace": ("blocked", "KeyError: 'missing'"),
        "kubectl": ("proven", ""),
    }
    [test] = found["etcd-private"]["tests"]
    assert test["evidence"] == {"answers": {"no certificate": "refused"}}
    assert found["api-watch"]["tests"][0]["evidence"] == {"told": 0}
    assert report["verdict"] == "refuted"
    assert "a pod is still there" in report["problems"][0]
    assert shown.index("api-watch") < shown.index("etcd-private"), "claims are not in the catalogue's order"


def test_page_and_junit_are_beside_the_json_and_their_places_are_told(verify: Verify, tmp_path: Path) -> None:
    _, shown = verify()
    assert {path.name for path in tmp_path.glob("report.*")} == {"report.json", "report.html", "report.xml"}
    assert "no change was told" in (tmp_path / "report.html").read_text()
    assert "no change was told" in (tmp_path / "report.xml").read_text()
    for form, name in (("Report:", "report.html"), ("JSON:", "report.json"), ("JUnit:", "report.xml")):
        assert f"{form:<8}{tmp_path / name}" in shown


def test_only_what_is_asked_for_is_looked_at(verify: Verify) -> None:
    report, _ = verify("--only=etcd", "--only=ctl-gc")
    looked_at = {name for name, claim in claims_of(report).items() if claim["tests"]}
    assert looked_at == {"etcd-private", "ctl-gc"}
    assert claims_of(report)["api-watch"]["reason"] == "not asked for"


def test_a_level_leaves_out_those_above_it(verify: Verify) -> None:
    report, _ = verify("--level=quick")
    assert claims_of(report)["sched-binding"]["reason"] == "only at level standard"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--only=etc", "did you mean etcd"),
        ("--level=high", "quick, standard, disruptive"),
        ("--report=report.html", "is where the JSON goes"),
    ],
)
def test_wrong_options_are_explained(verify: Verify, option: str, message: str) -> None:
    report, shown = verify(option)
    assert report == {}
    assert message in shown


def test_a_test_without_a_claim_is_an_error(verify: Verify, tmp_path: Path) -> None:
    (tmp_path / "test_more.py").write_text("def test_nothing():\n    pass\n")
    _, shown = verify()
    assert "does not say which claim it proves" in shown


def test_without_an_api_nothing_is_verified_and_the_reason_is_said(verify: Verify, tmp_path: Path) -> None:
    (tmp_path / "test_more.py").write_text(
        'import pytest\n\n@pytest.mark.claim("api-conflict")\ndef test_api(api):\n    pass\n'
    )
    (tmp_path / "hosts.yml").write_text("all: {hosts: {one: {}}}\n")
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": ""}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    access = (f"--inventory={tmp_path / 'hosts.yml'}", f"--kubeconfig={tmp_path / 'kubeconfig'}")
    report, shown = verify(*access, "--only=api-conflict")
    assert "the API at https://127.0.0.1:1 cannot be reached from here" in shown
    assert report["verdict"] == "incomplete"
    assert "cannot be reached from here" in report["problems"][0]


def test_options_reach_pytest() -> None:
    given = {"only": ["etcd"], "level": "quick", "test_image": None, "more": ["-k", "large"], "inventory": "x"}
    command = run.command(Path("/inventory/hosts.yml"), Options.of(given))
    assert command[3:] == [
        str(run.TESTS),
        "--inventory=/inventory/hosts.yml",
        "--tb=no",
        "-rN",
        "--only=etcd",
        "--level=quick",
        "-k",
        "large",
    ]


_PREPARED = '''
import pytest
from kubeproof.verify.engine import plugin
from kubeproof.verify.engine.preparations import prepared

class Told:
    there = True

    def prepared(self, name):
        return [name]

    def release(self, names):
        assert self.there, "the API is gone"
        print("released:", *names)

@pytest.fixture(scope="session", autouse=True)
def _early():
    """There is no cluster for what begins early."""

@pytest.fixture(scope="session")
def workloads(pytestconfig):
    made = pytestconfig.stash[plugin._WORKLOADS] = Told()
    yield made
    made.there = False

@prepared()
def first(manifests):
    pass

@prepared()
def second(manifests):
    pass

@pytest.mark.claim("etcd-private")
def test_one(first, second):
    pass

@pytest.mark.claim("api-watch")
def test_two(first):
    pass

@pytest.mark.claim("kubectl")
def test_three(second):
    pass
'''


def test_pods_are_released_between_tests_and_not_after_the_last(tmp_path: Path, verify: Verify) -> None:
    (tmp_path / "test_sample.py").write_text(_PREPARED)
    report, shown = verify("--capture=no")
    released = [line.rstrip() for line in shown.splitlines() if line.startswith("released:")]
    assert released == ["released:", "released: first"], shown
    assert report["problems"] == [], shown


def test_a_verification_that_is_interrupted_is_never_proven(verify: Verify, tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text("""
import os, signal, pytest

@pytest.mark.claim("ctl-job")
def test_that_passes():
    pass

@pytest.mark.claim("ctl-job")
def test_that_is_ended():
    os.kill(os.getpid(), signal.SIGTERM)
""")
    report, shown = verify("--only=ctl-job")
    assert report["verdict"] == "incomplete"
    assert claims_of(report)["ctl-job"]["reason"] == "the verification ended after 1 of 2 tests"
    assert report["problems"] == ["the verification was interrupted"]
    assert "PROVEN" not in shown
