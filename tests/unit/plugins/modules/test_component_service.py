"""When a unit is restarted, and when it is not."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import component_unit, host_runs
from ansible.module_utils.commands import CommandFailed

import component_service as service

RUNNING = {"ActiveState": "active", "InvocationID": "1", "ActiveEnterTimestamp": "Sat 2026-11-21 10:00:00.500000 UTC"}


def test_an_inactive_unit_is_started() -> None:
    assert component_unit.reason_to_restart({**RUNNING, "ActiveState": "failed"}, {}, {}) == "it was failed"


def test_a_process_of_unknown_origin_is_restarted() -> None:
    assert "not started by kubeproof" in component_unit.reason_to_restart(RUNNING, {}, {"/x": "a"})


def test_an_unchanged_unit_is_left_alone() -> None:
    record = {"inputs": {"/x": "a"}, "invocation": "1"}
    assert component_unit.reason_to_restart(RUNNING, record, {"/x": "a"}) == ""


@pytest.mark.parametrize("inputs", [{"/x": "b"}, {}, {"/x": "a", "/y": "c"}])
def test_a_changed_missing_or_new_input_is_named(inputs: dict[str, str]) -> None:
    record = {"inputs": {"/x": "a"}, "invocation": "1"}
    assert "changed since its start: /" in component_unit.reason_to_restart(RUNNING, record, inputs)


GERMAN = """
import locale, sys
import ansible.module_utils
locale.setlocale(locale.LC_ALL, "")
sys.path.insert(0, sys.argv[1])
ansible.module_utils.__path__.append(sys.argv[1] + "/../module_utils")
from ansible.module_utils.component_unit import started_at
print(started_at({"ActiveEnterTimestamp": "Tue 2026-12-01 10:00:00.500000 UTC"}))
"""


def test_a_hosts_language_does_not_matter(tmp_path: Path) -> None:
    """Ansible's modules take the locale of their host, and Python reads days of the week in it."""
    compiler = shutil.which("localedef")
    if not compiler or not Path("/usr/share/i18n/locales/de_DE").exists():
        pytest.skip("localedef and the sources of locales (package locales) are not here")
    subprocess.run([compiler, "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")], check=True)
    command = [sys.executable, "-c", GERMAN, str(Path(service.__file__).parent)]
    environment = {**os.environ, "LOCPATH": str(tmp_path), "LC_ALL": "de_DE.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(1796119200.5, abs=0.001)


def test_a_reboot_with_the_same_files_is_no_reason(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.touch()
    later = {**RUNNING, "InvocationID": "2", "ActiveEnterTimestamp": "Fri 2100-01-01 00:00:00 UTC"}
    inputs = {str(old): "a"}
    assert component_unit.reason_to_restart(later, {"inputs": inputs, "invocation": "1"}, inputs) == ""


def test_another_process_started_before_the_files_came_back_is_restarted(tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    mended.touch()
    earlier = {**RUNNING, "InvocationID": "2", "ActiveEnterTimestamp": "Sat 2000-01-01 00:00:00 UTC"}
    inputs = {str(mended): "a"}
    reason = component_unit.reason_to_restart(earlier, {"inputs": inputs, "invocation": "1"}, inputs)
    assert reason == "a file was changed after its start"


@pytest.mark.parametrize(
    ("invocation", "started", "reason"),
    [
        ("1", "Sat 2000-01-01", ""),
        ("2", "Fri 2100-01-01", ""),
        ("2", "Sat 2000-01-01", "a file was changed after its start"),
    ],
)
def test_a_process_that_others_started_before_the_files_came_back_reads_them_anew(
    tmp_path: Path, invocation: str, started: str, reason: str
) -> None:
    """Somebody tried another configuration with a restart; the run put the file back, and the record never changed."""
    (tmp_path / "config").touch()
    state = {**RUNNING, "InvocationID": invocation, "ActiveEnterTimestamp": f"{started} 00:00:00 UTC"}
    inputs = {str(tmp_path / "config"): "a"}
    record = {"reload_inputs": inputs, "invocation": "1"}
    assert component_unit.reason_to_reload(state, record, inputs) == reason
    assert component_unit.reason_to_reload(state, {**record, "reload_inputs": {}}, inputs) == str(tmp_path / "config")


def test_fingerprints_tell_content_size_and_absence(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_text("a")
    large.write_bytes(b"a" * (component_unit.LARGE + 1))
    before = component_unit.fingerprints([str(tmp_path), str(tmp_path / "none")])
    assert component_unit.fingerprints([str(tmp_path), str(tmp_path / "none")]) == before
    small.write_text("b")
    assert component_unit.changed_inputs(before, component_unit.fingerprints([str(tmp_path)])) == [str(tmp_path)]
    assert before[str(tmp_path / "none")] is None


def test_a_replaced_binary_shows_though_its_content_is_not_read(tmp_path: Path) -> None:
    binary, new = tmp_path / "binary", tmp_path / "new"
    binary.write_bytes(b"a" * (component_unit.LARGE + 1))
    new.write_bytes(b"a" * (component_unit.LARGE + 1))
    before = component_unit.fingerprint(str(binary))
    new.replace(binary)
    assert component_unit.fingerprint(str(binary)) != before


def test_a_record_survives_and_a_broken_one_counts_as_none(tmp_path: Path) -> None:
    component_unit.Record("x.service", str(tmp_path)).save({"inputs": {}, "invocation": "1"})
    record = component_unit.Record("x.service", str(tmp_path))
    assert record.data["invocation"] == "1"
    Path(record.path).write_text("{")
    assert component_unit.Record("x.service", str(tmp_path)).data == {}


class FakeSystemd(component_unit.Systemd):  # type: ignore[misc]
    """A unit that goes through given states, one per look."""

    def __init__(self, *states: dict[str, str]) -> None:
        super().__init__("x.service")
        self.states = list(states)

    def show(self) -> dict[str, str]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"NRestarts": "0", "InvocationID": "new", **state}

    def log(self) -> str:
        return "the last line"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "POLL_SECONDS", 0.001)


def test_waiting_ends_when_healthy() -> None:
    systemd = FakeSystemd({"ActiveState": "activating"}, {"ActiveState": "active"})
    service.wait_for_health(systemd, component_unit.Health({}), 5, replaced="old")


def test_the_process_that_is_being_replaced_does_not_count() -> None:
    systemd = FakeSystemd(
        {"ActiveState": "active", "InvocationID": "old"}, {"ActiveState": "failed", "InvocationID": "new"}
    )
    with pytest.raises(service.ServiceError, match=r"x\.service has failed.*\nthe last line"):
        service.wait_for_health(systemd, component_unit.Health({}), 5, replaced="old")


def test_a_unit_that_keeps_crashing_is_not_waited_for() -> None:
    states = [{"ActiveState": "activating", "NRestarts": str(number)} for number in range(10)]
    with pytest.raises(service.ServiceError, match="keeps crashing"):
        service.wait_for_health(FakeSystemd(*states), component_unit.Health({}), 60, replaced="old")


def test_time_runs_out_with_the_answer_that_was_given() -> None:
    systemd = FakeSystemd({"ActiveState": "active"})
    health = component_unit.Health({"command": ["sh", "-c", "echo not yet; exit 1"]})
    with pytest.raises(service.ServiceError, match="not yet"):
        service.wait_for_health(systemd, health, 0, replaced="old")


@pytest.fixture
def url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ok" else 500)
            self.end_headers()
            self.wfile.write(b"ok" if self.path == "/ok" else b"[-]etcd failed")

        def log_message(self, *_arguments: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_health_by_url(url: str) -> None:
    assert component_unit.Health({"url": url + "/ok", "expect": "ok"}).good()
    assert not component_unit.Health({"url": url + "/ok", "expect": "fine"}).good()
    bad = component_unit.Health({"url": url + "/bad"})
    assert not bad.good()
    assert "answers 500: [-]etcd failed" in bad.problem
    away = component_unit.Health({"url": "http://127.0.0.1:1/"})
    assert not away.good()
    assert "refused" in away.problem


class Registry:
    """An API with one object, which is made after some questions; ``code`` and ``body`` are the answer then."""

    def __init__(self) -> None:
        self.code, self.body, self.made_after = 200, '{"labels":{"kubernetes.io/hostname":"w1"}}', 0
        self.asked = 0
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked += 1
                there = registry.asked > registry.made_after
                self.send_response(registry.code if there else 404)
                self.end_headers()
                self.wfile.write(registry.body.encode() if there else b"not found")

            def log_message(self, *_arguments: Any) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def wanted(self) -> dict[str, str]:
        """The object as its maker makes it."""
        url = f"http://127.0.0.1:{self.server.server_port}/api/v1/nodes/w1"
        return {"url": url, "expect": '"kubernetes.io/hostname":"w1"'}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setattr(service, "REGISTER_SECONDS", 0.2)
    found = Registry()
    yield found
    found.server.shutdown()


class TestRegistering:
    def test_is_no_matter_for_those_that_do_not(self) -> None:
        assert service.reason_to_register({}) == ""

    def test_what_is_there_is_no_reason(self, registry: Registry) -> None:
        assert service.reason_to_register(registry.wanted) == ""
        assert registry.asked == 1

    def test_what_is_about_to_be_made_is_no_reason(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        # Ends as soon as it is made; a busy machine takes longer than the tests of what is never made wait.
        monkeypatch.setattr(service, "REGISTER_SECONDS", 30)
        registry.made_after = 3
        assert service.reason_to_register(registry.wanted) == ""

    def test_what_is_gone_is_one(self, registry: Registry) -> None:
        registry.made_after = 10**6
        reason = service.reason_to_register(registry.wanted)
        assert reason == f"{registry.wanted['url']} is not there as it makes it at its start"

    def test_so_is_what_another_made(self, registry: Registry) -> None:
        registry.body = '{"labels":{"node-role.kubernetes.io/control-plane":""}}'
        assert "is not there as it makes it" in service.reason_to_register(registry.wanted)

    @pytest.mark.parametrize("code", [401, 403, 500, 503])
    def test_an_api_that_does_not_say_is_none(self, registry: Registry, code: int) -> None:
        registry.code = code
        assert service.reason_to_register(registry.wanted) == ""
        assert registry.asked == 1

    def test_what_a_command_does_not_find_is_one(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(service, "MAKE_SECONDS", 0.2)
        asked = {"command": ["/usr/bin/test", "-e", str(tmp_path / "rules")]}
        assert service.reason_to_register(asked).startswith("/usr/bin/test -e ")
        (tmp_path / "rules").touch()
        assert service.reason_to_register(asked) == ""

    def test_nor_is_one_that_is_away(self) -> None:
        assert service.reason_to_register({"url": "http://127.0.0.1:1/", "expect": "x"}) == ""


class _Module:
    """As much of an AnsibleModule as converge needs."""

    def __init__(self, **params: Any) -> None:
        defaults = {
            "inputs": [],
            "reload_inputs": [],
            "health": {},
            "registers": {},
            "timeout": 1,
            "_restart": True,
            "_gate": [],
            "_waits": {},
            "_recovers": {},
            "_pending": {},
            "_digest": "asked",
            "_run": None,
        }
        self.params = {**defaults, **params}
        self.check_mode = False


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A unit that runs with an input that has changed since; the list has the calls of systemctl."""
    calls: list[str] = []
    changed = tmp_path / "config"
    changed.write_text("new")
    shown = {"UnitFileState": "enabled", "NeedDaemonReload": "no", "FragmentPath": "", "NRestarts": "0"}
    monkeypatch.setattr(component_unit.Systemd, "show", lambda _: {**RUNNING, **shown, "InvocationID": str(len(calls))})
    monkeypatch.setattr(component_unit.Systemd, "call", lambda _, *arguments: calls.append(arguments[0]))
    monkeypatch.setattr(service, "require_remembered", lambda _: None)
    monkeypatch.setattr(service, "STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(component_unit.Record, "save", lambda *_: None)
    monkeypatch.setattr(
        component_unit.Record, "__init__", lambda self, _: setattr(self, "data", {"inputs": {"/old": 1}})
    )
    return calls


def test_a_restart_that_is_not_allowed_is_put_off_with_its_reason(running: list[str]) -> None:
    result = service.converge(_Module(unit="x.service", _restart=False))
    assert "changed since its start" in result["restart_needed"]
    assert not result["changed"]
    assert running == []


@pytest.mark.parametrize("may_restart", [True, False])
def test_a_run_says_whether_a_process_was_ended(running: list[str], may_restart: bool) -> None:
    result = service.converge(_Module(unit="x.service", _restart=may_restart))
    assert (result["interrupts"], "restart" in running) == (may_restart, may_restart)


@pytest.mark.parametrize(
    ("check", "waits"), [({}, False), ({"command": ["/bin/true"]}, True), ({"command": ["/bin/false"]}, False)]
)
def test_a_restart_that_is_put_off_tells_whether_others_should_be_first(
    running: list[str], check: dict[str, Any], waits: bool
) -> None:
    assert service.converge(_Module(unit="x.service", _restart=False, _waits=check))["waits"] is waits
    assert running == []


@pytest.mark.parametrize(
    ("check", "rolling", "put_off"),
    [
        ({}, True, False),
        ({"command": ["/bin/true"]}, True, True),
        ({"command": ["/bin/false"]}, True, False),
        # A cluster that is restarted at once: the leader, too.
        ({"command": ["/bin/true"]}, False, False),
    ],
)
def test_check_mode_leaves_the_restart_of_a_leader_to_a_later_task_as_a_run_does(
    running: list[str], check: dict[str, Any], rolling: bool, put_off: bool
) -> None:
    module = _Module(unit="x.service", _restart=not rolling, _waits=check)
    module.check_mode = True
    result = service.converge(module)
    assert (result["waits"], bool(result["restart_needed"]), result["changed"]) == (put_off, put_off, not put_off)
    assert result["interrupts"] is not put_off
    assert running == []


def test_check_mode_asks_for_a_leader_only_if_there_is_something_to_restart(
    unchanged: dict[str, Any], registry: Registry
) -> None:
    module = _Module(**unchanged, _restart=False, _waits={"url": registry.wanted["url"]})
    module.check_mode = True
    assert not service.converge(module)["changed"]
    assert registry.asked == 0


def test_a_restart_waits_for_its_gate(running: list[str]) -> None:
    with pytest.raises(service.ServiceError, match=r"was not restarted.*/bin/false"):
        service.converge(_Module(unit="x.service", timeout=0, _gate=[{"command": ["/bin/false"]}]))
    assert running == []


def test_a_restart_that_has_waited_leaves_the_host_to_the_run_that_has_begun_since(
    running: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module continues after its run was killed."""

    def claim(_: object) -> None:
        raise host_runs.OtherRun("another run began")

    monkeypatch.setattr(host_runs, "claim", claim)
    with pytest.raises(host_runs.OtherRun):
        service.converge(_Module(unit="x.service", _gate=[{"command": ["/bin/true"]}]))
    assert running == []


def test_what_runs_is_for_the_run_to_record_that_has_begun_since(
    running: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, saved = iter([None, host_runs.OtherRun("another run began")]), []

    def claim(_: object) -> None:
        if refusal := next(claims):
            raise refusal

    monkeypatch.setattr(host_runs, "claim", claim)
    monkeypatch.setattr(component_unit.Record, "save", lambda _, data: saved.append(data))
    with pytest.raises(host_runs.OtherRun):
        service.converge(_Module(unit="x.service"))
    assert (running, saved) == (["restart"], [])


@pytest.mark.parametrize(("refused_at", "done"), [(1, []), (2, ["replaced"]), (3, ["replaced", "saved"])])
def test_a_static_pod_too_is_left_to_the_run_that_has_begun_since(
    running: list[str], monkeypatch: pytest.MonkeyPatch, refused_at: int, done: list[str]
) -> None:
    """Runs are asked before the pod is replaced, and before it is recorded."""
    seen: list[str] = []
    claims: list[object] = []

    def claim(run: object) -> None:
        claims.append(run)
        if len(claims) == refused_at:
            raise host_runs.OtherRun("another run began")

    manifest = {"metadata": {}, "spec": {"securityContext": {"runAsUser": "root"}}}
    monkeypatch.setattr(host_runs, "claim", claim)
    monkeypatch.setattr(component_unit.StaticPod, "text", lambda _: "another one")
    monkeypatch.setattr(component_unit.StaticPod, "processes", lambda *_: [1])
    monkeypatch.setattr(component_unit.StaticPod, "replace", lambda *_: seen.append("replaced"))
    monkeypatch.setattr(component_unit.Record, "save", lambda *_: seen.append("saved"))
    module = _Module(unit="x.service", _manifest=manifest)
    monkeypatch.setattr(component_unit.Systemd, "show", lambda _: {**RUNNING, "ActiveState": "inactive"})
    with contextlib.suppress(host_runs.OtherRun):
        service.converge_pod(module)
    assert (seen, running) == (done, [])


@pytest.mark.parametrize(("registers", "asked"), [({}, 1), ({"command": "same"}, 1), ({"command": "other"}, 2)])
def test_a_question_is_asked_once(
    registers: dict[str, str], asked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells that a unit is healthy may be what it makes at its start, too."""
    log = tmp_path / "log"
    commands = {name: ["/bin/sh", "-c", f"echo {name} >> {log}"] for name in ("same", "other")}
    monkeypatch.setattr(component_unit, "fingerprints", lambda _: {})
    monkeypatch.setattr(component_unit, "reason_to_restart", lambda *_: "")
    monkeypatch.setattr(component_unit, "reason_to_reload", lambda *_: "")
    health = {"url": None, "command": commands["same"]}
    given = {name: commands[command] for name, command in registers.items()}
    record = {"request": {"inputs": [], "reload_inputs": [], "health": health, "registers": given}}
    assert component_unit.needs_nothing("x.service", record, {"UnitFileState": "enabled"})
    assert len(log.read_text().splitlines()) == asked


def test_a_restart_goes_through_an_open_gate(running: list[str]) -> None:
    result = service.converge(_Module(unit="x.service", _gate=[{"command": ["/bin/true"]}]))
    assert running == ["restart"]
    assert result["changed"]
    assert result["restart_needed"] == ""


def node(ready: str, heartbeat: float, transition: float = 0) -> str:
    """A Node as the API has it."""
    times = {
        "lastHeartbeatTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(heartbeat)),
        "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(transition)),
    }
    pressure = {"type": "DiskPressure", "status": "False"}
    condition = {"type": "Ready", "status": ready, "message": "no network yet", **times}
    return json.dumps({"status": {"conditions": [pressure, condition]}})


class TestRecovering:
    """A kubelet that is alive says nothing of its node."""

    @pytest.fixture(autouse=True)
    def saved(self, monkeypatch: pytest.MonkeyPatch, running: list[str]) -> list[dict[str, Any]]:
        """What is recorded. The unit is healthy at once."""
        assert running == []
        saved: list[dict[str, Any]] = []
        monkeypatch.setattr(component_unit.Record, "save", lambda _, data: saved.append(data))
        monkeypatch.setattr(service, "RECOVERY_POLL_SECONDS", 0.01)
        monkeypatch.setattr(component_unit.Systemd, "log", lambda _: "the last line")
        return saved

    def restart(self, registry: Registry, **params: Any) -> dict[str, Any]:
        wanted = {"url": registry.wanted["url"], "condition": "Ready"}
        result: dict[str, Any] = service.converge(_Module(unit="kubelet.service", _recovers=wanted, **params))
        return result

    def test_a_node_that_is_ready_again(
        self, registry: Registry, running: list[str], saved: list[dict[str, Any]]
    ) -> None:
        registry.body = node("True", time.time() + 60)
        assert self.restart(registry)["changed"]
        assert running == ["restart"]
        assert [entry.get("recovering", False) for entry in saved] == [True, False]

    def test_or_became_so_since(self, registry: Registry) -> None:
        registry.body = node("True", 0, time.time() + 60)
        assert self.restart(registry)["changed"]

    def test_one_that_was_said_to_be_ready_before_the_restart_is_not(
        self, registry: Registry, saved: list[dict[str, Any]]
    ) -> None:
        registry.body = node("True", time.time() - 60, time.time() - 600)
        with pytest.raises(
            service.ServiceError, match=r"(?s)healthy, but .*Ready has not been said since.*the last line"
        ):
            self.restart(registry, timeout=0)
        # So that the next run judges it as well.
        assert [entry.get("recovering", False) for entry in saved] == [True]

    def test_one_that_is_not_ready_any_more_is_not(
        self, registry: Registry, running: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry.body = node("True", time.time())

        def call(_self: Any, *arguments: str) -> None:
            running.append(arguments[0])
            registry.body = node("False", time.time() + 60)

        monkeypatch.setattr(component_unit.Systemd, "call", call)
        with pytest.raises(service.ServiceError, match="Ready is False: no network yet"):
            self.restart(registry, timeout=0)

    @pytest.mark.parametrize("body", [node("False", 0), node("Unknown", 0), "{}", "no JSON"])
    def test_one_that_was_not_before_is_not_waited_for(self, registry: Registry, body: str) -> None:
        registry.body = body
        assert self.restart(registry, timeout=0)["changed"]
        assert registry.asked == 1

    def test_nor_one_that_nobody_knows_of(self, registry: Registry) -> None:
        registry.code = 403
        assert self.restart(registry, timeout=0)["changed"]

    def test_what_an_earlier_run_broke_is_waited_for(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        data = {"inputs": {"/old": 1}, "recovering": True}
        monkeypatch.setattr(component_unit.Record, "__init__", lambda self, _: setattr(self, "data", data))
        registry.body = node("False", time.time() + 60)
        with pytest.raises(service.ServiceError, match="Ready is False"):
            self.restart(registry, timeout=0)

    def test_a_process_that_is_not_restarted_is_not_asked(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "reason_to_restart", lambda *_: "")
        assert not self.restart(registry)["changed"]
        assert registry.asked == 0


def test_a_process_whose_object_is_gone_is_restarted(
    running: list[str], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "reason_to_restart", lambda *_: "")
    assert not service.converge(_Module(unit="x.service", registers=registry.wanted))["changed"]
    assert running == []
    registry.made_after = 10**6
    assert service.converge(_Module(unit="x.service", registers=registry.wanted))["changed"]
    assert running == ["restart"]


@pytest.fixture
def unchanged(running: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Parameters of a unit that runs with the inputs that are on disk: a directory, and a file that is reloaded."""
    for module in (service, component_unit):
        monkeypatch.setattr(module, "UNITS", f"{tmp_path}/")
    paths = {"inputs": [str(tmp_path / "pki")], "reload_inputs": [str(tmp_path / "config")]}
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.crt").write_text("CA")
    inputs = component_unit.fingerprints([f"{tmp_path}/x.service", *paths["inputs"]])
    recorded = {
        "inputs": inputs,
        "reload_inputs": component_unit.fingerprints(paths["reload_inputs"]),
        "invocation": "0",
    }
    monkeypatch.setattr(component_unit.Record, "__init__", lambda self, _: setattr(self, "data", recorded))
    return {"unit": "x.service", **paths}


@pytest.mark.parametrize(
    ("file", "content", "done"),
    [
        ("pki/ca.crt", "other", ["restarted: changed since its start: {}/pki"]),
        ("pki/ca.crt", component_unit.GONE, ["restarted: changed since its start: {}/pki"]),
        # As it was when the process was started: whoever damaged it, that is repaired without a restart.
        ("pki/ca.crt", hashlib.sha256(b"CA").hexdigest(), []),
        ("pki/ca.crt", None, []),
        # Not there when the process was started, and to go again.
        ("pki/extra.crt", component_unit.GONE, []),
        ("pki/new.crt", "other", ["restarted: changed since its start: {}/pki"]),
        ("pki/below/new.crt", "other", ["restarted: changed since its start: {}/pki"]),
        ("x.service", "other", ["restarted: changed since its start: {}/x.service"]),
        ("config", "other", ["reloaded: {}/config"]),
        ("pki2/ca.crt", "other", []),
    ],
)
def test_check_mode_tells_of_restarts_for_files_that_would_be_changed(
    unchanged: dict[str, Any], running: list[str], tmp_path: Path, file: str, content: str | None, done: list[str]
) -> None:
    if content and file in {"pki/ca.crt", "pki/extra.crt"}:
        (tmp_path / file).write_text("damaged")
    module = _Module(**unchanged, _pending={f"{tmp_path}/{file}": content})
    module.check_mode = True
    result = service.converge(module)
    assert result["done"] == [text.format(tmp_path) for text in done]
    assert result["changed"] is bool(done)
    assert running == []


@pytest.mark.parametrize(("invocation", "done"), [("0", []), ("1", ["restarted: a file was changed after its start"])])
def test_check_mode_knows_that_mode_and_owner_matter_only_to_a_process_that_others_started(
    unchanged: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invocation: str, done: list[str]
) -> None:
    monkeypatch.setattr(component_unit, "newest_change", lambda _: 0.0)
    shown = {**RUNNING, "UnitFileState": "enabled", "NeedDaemonReload": "no", "FragmentPath": "", "NRestarts": "0"}
    monkeypatch.setattr(component_unit.Systemd, "show", lambda _: {**shown, "InvocationID": invocation})
    module = _Module(**unchanged, _pending={f"{tmp_path}/pki/ca.crt": None})
    module.check_mode = True
    assert service.converge(module)["done"] == done


@pytest.mark.parametrize(("invocation", "done"), [("0", []), ("1", ["reloaded: a file was changed after its start"])])
def test_a_file_that_comes_back_is_reloaded_by_a_process_that_others_started(
    unchanged: dict[str, Any],
    running: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    invocation: str,
    done: list[str],
) -> None:
    changed = {str(tmp_path / "config"): time.time()}
    monkeypatch.setattr(component_unit, "newest_change", lambda paths: max(changed.get(path, 0.0) for path in paths))
    shown = {**RUNNING, "UnitFileState": "enabled", "NeedDaemonReload": "no", "FragmentPath": "", "NRestarts": "0"}
    shown["ActiveEnterTimestamp"] = "Sat 2000-01-01 00:00:00 UTC"
    monkeypatch.setattr(component_unit.Systemd, "show", lambda _: {**shown, "InvocationID": invocation})
    assert service.converge(_Module(**unchanged))["done"] == done
    assert running == ["reload"] * len(done)
    # In check mode the file is still the other one.
    changed.clear()
    module = _Module(**unchanged, _pending={str(tmp_path / "config"): None})
    module.check_mode = True
    assert service.converge(module)["done"] == done


def test_a_drop_in_of_the_hosts_operator_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    # systemd does not see a new directory of drop-ins by itself.
    shown = {"UnitFileState": "enabled", "NeedDaemonReload": "no", "FragmentPath": "", "NRestarts": "0"}
    monkeypatch.setattr(component_unit.Systemd, "show", lambda _: {**RUNNING, **shown, "InvocationID": str(len(calls))})
    monkeypatch.setattr(component_unit.Systemd, "call", lambda _, *arguments: calls.append(arguments[0]))
    monkeypatch.setattr(service, "require_remembered", lambda _: None)
    monkeypatch.setattr(service, "STATE_DIRECTORY", str(tmp_path / "state"))
    for module in (service, component_unit):
        monkeypatch.setattr(module, "UNITS", f"{tmp_path}/")
    (tmp_path / "x.service").write_text("[Service]\n")
    recorded = {"inputs": component_unit.fingerprints([f"{tmp_path}/x.service"]), "invocation": "0"}
    monkeypatch.setattr(component_unit.Record, "__init__", lambda self, _: setattr(self, "data", recorded))
    monkeypatch.setattr(component_unit.Record, "save", lambda *_: None)
    assert service.converge(_Module(unit="x.service"))["done"] == []
    (tmp_path / "x.service.d").mkdir()
    (tmp_path / "x.service.d" / "limits.conf").write_text("[Service]\nLimitNOFILE=1\n")
    calls.clear()
    done = service.converge(_Module(unit="x.service"))["done"]
    assert done == [f"restarted: changed since its start: {tmp_path}/x.service.d/limits.conf"]
    assert calls == ["daemon-reload", "restart"]


@pytest.mark.usefixtures("unit")
class TestSettled:
    """What the host report says of units: only of those that need nothing."""

    @pytest.fixture
    def unit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """A unit that runs as it was left; the dictionary is what systemd says of it."""
        monkeypatch.setattr(component_unit, "UNITS", f"{tmp_path}/")
        monkeypatch.setattr(component_unit.StaticPod, "text", lambda _: None)
        (tmp_path / "x.service").write_text("[Service]\n")
        (tmp_path / "config").write_text("a")
        state = {**RUNNING, "UnitFileState": "enabled"}
        monkeypatch.setattr(component_unit.Systemd, "show_all", lambda units: dict.fromkeys(units, state))
        request = {"inputs": [], "reload_inputs": [f"{tmp_path}/config"], "health": {}, "registers": {}}
        data = {
            "inputs": component_unit.fingerprints([f"{tmp_path}/x.service"]),
            "reload_inputs": component_unit.fingerprints(request["reload_inputs"]),
            "invocation": "1",
            "digest": "abc",
            "request": request,
        }
        component_unit.Record("x.service", str(tmp_path)).save(data)
        return state

    def change(self, directory: Path, **request: Any) -> None:
        record = component_unit.Record("x.service", str(directory))
        record.save({**record.data, "request": {**record.data["request"], **request}})

    def test_one_that_runs_as_it_was_left_is(self, tmp_path: Path) -> None:
        assert component_unit.settled(str(tmp_path)) == {"x.service": "abc"}

    @pytest.mark.parametrize(
        ("name", "value"), [("ActiveState", "failed"), ("UnitFileState", "disabled"), ("UnitFileState", "masked")]
    )
    def test_one_that_does_not_run_or_would_not_after_a_boot_is_not(
        self, unit: dict[str, Any], tmp_path: Path, name: str, value: str
    ) -> None:
        unit[name] = value
        assert component_unit.settled(str(tmp_path)) == {}

    @pytest.mark.parametrize("file", ["x.service", "config", "x.service.d/mine.conf"])
    def test_one_whose_inputs_changed_is_not(self, tmp_path: Path, file: str) -> None:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("changed")
        assert component_unit.settled(str(tmp_path)) == {}

    def test_one_that_others_started_before_a_file_came_back_is_not(
        self, unit: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unit["InvocationID"] = "2"
        monkeypatch.setattr(component_unit, "newest_change", lambda _: 0.0)
        assert component_unit.settled(str(tmp_path)) == {"x.service": "abc"}
        monkeypatch.setattr(
            component_unit, "newest_change", lambda paths: f"{tmp_path}/config" in paths and time.time()
        )
        unit["ActiveEnterTimestamp"] = "Sat 2000-01-01 00:00:00 UTC"
        assert component_unit.settled(str(tmp_path)) == {}

    @pytest.mark.parametrize("check", ["health", "registers"])
    def test_one_that_is_not_well_is_not(self, tmp_path: Path, check: str) -> None:
        self.change(tmp_path, **{check: {"command": ["/bin/true"]}})
        assert component_unit.settled(str(tmp_path)) == {"x.service": "abc"}
        self.change(tmp_path, **{check: {"command": ["/bin/false"]}})
        assert component_unit.settled(str(tmp_path)) == {}

    def test_one_that_also_is_a_static_pod_is_not(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(component_unit.StaticPod, "text", lambda _: "{}")
        assert component_unit.settled(str(tmp_path)) == {}

    def test_nothing_is_said_where_systemd_does_not_answer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_units: list[str]) -> None:
            raise CommandFailed("systemctl show: connection timed out")

        monkeypatch.setattr(component_unit.Systemd, "show_all", fail)
        assert component_unit.settled(str(tmp_path)) == {}

    def test_a_component_that_hangs_holds_up_no_report(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(component_unit, "COMMAND_SECONDS", 0.1)
        self.change(tmp_path, health={"command": ["/bin/sleep", "60"]})
        began = time.monotonic()
        assert component_unit.settled(str(tmp_path)) == {}
        assert time.monotonic() - began < 30

    def test_records_of_before_say_nothing(self, tmp_path: Path) -> None:
        component_unit.Record("x.service", str(tmp_path)).save({"inputs": {}})
        (tmp_path / "units" / "y.service.json").write_text("{")
        assert component_unit.settled(str(tmp_path)) == {}
