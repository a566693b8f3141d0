"""What hosts print, understood: sockets, DNS, etcd, the runtime, audit logs; and how hosts are reached."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.verify.observe.this_machine import Local

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import inventory
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.act import workspace
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import audit, cgroups, dns, objects, runtime, sockets
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.etcd import Etcd, KeyValue
from kubeproof.verify.observe.hosts import CommandFailed, Host, Hosts, HostUnreachable, NotObservable, _options


class Fake:
    """A host that answers every command with the same text."""

    def __init__(self, stdout: str, rc: int = 0) -> None:
        self.done = SimpleNamespace(rc=rc, stdout=stdout, stderr="it broke" if rc else "")
        self.commands: list[tuple[str, ...]] = []

    def run(self, *command: str) -> Any:
        self.commands.append(command)
        return self.done

    @property
    def host(self) -> Host:
        return Host("one", frozenset(), "192.0.2.1", self)


@pytest.fixture
def web() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{self.client_address[0]} {self.headers.get('Authorization')}".encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_probe_asks_from_the_host_with_the_hosts_files(here: Host, web: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    answer = here.http(web, token=str(tmp_path / "token"))
    assert answer == {"status": 200, "body": "127.0.0.1 Bearer secret", "from": "127.0.0.1"}


def test_a_probe_tells_a_refusal_from_no_answer(here: Host, web: str) -> None:
    plain_server_asked_for_tls, nobody_there = here.probe(
        {"do": "http", "url": web.replace("http:", "https:")}, {"do": "http", "url": "http://127.0.0.1:1/"}
    )
    assert plain_server_asked_for_tls["refused"], plain_server_asked_for_tls
    assert "error" in nobody_there


def test_a_file_that_is_missing_is_not_taken_for_a_refusal(here: Host, web: str) -> None:
    with pytest.raises(CommandFailed, match="No such file"):
        here.http(web.replace("http:", "https:"), cert="/no/such/file")


def test_a_probe_polls_until_its_pattern_is_met(here: Host, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("")
    threading.Timer(0.3, rules.write_text, ["10.96.0.1 port 80"]).start()
    request = {"do": "poll", "command": ["cat", str(rules)], "pattern": r"10\.96\.0\.1 .*\b80\b", "timeout": 10}
    [met] = here.probe(request)
    [unmet] = here.probe({**request, "present": False, "timeout": 0.1})
    assert (met["met"], unmet["met"]) == (True, False)


def test_a_command_that_fails_says_where_and_why() -> None:
    with pytest.raises(CommandFailed, match="one: `cat %s` ended with 1: it broke"):
        Fake("", rc=1).host.run("cat %s", "x")


def test_ssh_arguments_become_options_for_both_connections() -> None:
    given = ["-o", "StrictHostKeyChecking=yes", "-oPort=2222", "-J", "jump", "-o", "ConnectTimeout 5"]
    assert _options(given, "x") == {
        "StrictHostKeyChecking": "yes",
        "Port": "2222",
        "ProxyJump": "jump",
        "ConnectTimeout": "5",
    }
    with pytest.raises(KubeproofError, match="-F is not understood"):
        _options(["-F", "file"], "x")


def test_hosts_are_reached_as_the_inventory_says(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(
        """
all:
  vars: {ansible_user: admin, ansible_ssh_private_key_file: "{{ inventory_dir }}/key"}
  children:
    etcd: {hosts: {one: {ansible_host: 192.0.2.1, ansible_port: 2222}}}
    workers: {hosts: {one: {}, two: {cluster_host_address: 198.51.100.2}}}
    others: {hosts: {bastion: {ansible_become_method: su, ansible_become: true}}}
"""
    )
    with Hosts(inventory.load(tmp_path / "hosts.yml")) as hosts:
        config = hosts._config.read_text()
        assert [host.name for host in hosts.group("workers")] == ["one", "two"]
        assert [host.address for host in hosts.all] == ["192.0.2.1", "198.51.100.2"]
        command = subprocess.run(["ssh", "-G", "-F", hosts._config, "one"], capture_output=True, text=True, check=True)
    assert f"IdentityFile {tmp_path}/key" in config
    told = dict(line.split(" ", 1) for line in command.stdout.splitlines() if " " in line)
    assert (told["hostname"], told["port"], told["user"]) == ("192.0.2.1", "2222", "admin")
    assert not hosts._directory.exists()


def test_a_socket_may_vanish_while_its_directory_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosts").write_text("[etcd]\none\n")
    unlink = os.unlink

    def too_late(path: str, *, dir_fd: int | None = None) -> None:
        unlink(path, dir_fd=dir_fd)
        if path == "socket":
            raise FileNotFoundError(path)

    with Hosts(inventory.load(tmp_path / "hosts")) as hosts:
        (hosts._directory / "socket").touch()
        monkeypatch.setattr(os, "unlink", too_late)
    assert not hosts._directory.exists()


@pytest.fixture
def two_hosts(tmp_path: Path) -> Iterator[Hosts]:
    """One that runs commands as root, and one that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (tmp_path / "hosts").write_text(f"[etcd]\nhere\ngone ansible_host=127.0.0.1 ansible_port={port}\n")
    with Hosts(inventory.load(tmp_path / "hosts")) as hosts:
        hosts.all = (Host("here", frozenset(["etcd"]), "192.0.2.1", Fake("0\n")), hosts.all[1])
        yield hosts


class Late:
    """A host whose sshd says nothing to those who come first, as an emulated machine under load."""

    def __init__(self, times: int) -> None:
        self.left = times

    def run(self, *_: str) -> Any:
        self.left -= 1
        if self.left >= 0:
            said = "Connection timed out during banner exchange\nConnection to 192.0.2.2 port 22 timed out\n"
            raise RuntimeError(SimpleNamespace(stderr=said))
        return SimpleNamespace(rc=0, stdout="0\n", stderr="")


@pytest.mark.parametrize(("times", "away"), [(5, []), (6, ["gone"])])
def test_a_host_that_is_late_is_not_away(two_hosts: Hosts, times: int, away: list[str]) -> None:
    two_hosts.all = (two_hosts.all[0], Host("gone", frozenset(["etcd"]), "192.0.2.2", Late(times)))
    told = two_hosts.leave_out_unreachable()
    assert [host.name for host in two_hosts.away] == away
    assert told == [f"host {name} cannot be reached: Connection to 192.0.2.2 port 22 timed out" for name in away]


def test_a_group_of_which_nobody_is_reached_is_not_an_empty_one(two_hosts: Hosts) -> None:
    two_hosts.all = (two_hosts.all[0], Host("gone", frozenset(["workers"]), "192.0.2.2", Late(6)))
    two_hosts.leave_out_unreachable()
    assert two_hosts.group("others") == ()
    with pytest.raises(NotObservable, match="no host of the group workers can be reached: gone"):
        two_hosts.group("workers")


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([], "no node of the cluster is on a host"),
        ([{}], r"no node takes workloads: here \(node\.[a-z./-]*not-ready\)"),
    ],
)
def test_no_node_is_told(nodes: list[Any], told: str) -> None:
    found = [
        {
            "metadata": {"name": "here"},
            "spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            },
        }
        for _ in nodes
    ]
    hosts = SimpleNamespace(all=(Host("here", frozenset(), "192.0.2.1", None),), away=())
    api = SimpleNamespace(items=lambda _: found)
    with pytest.raises(NotObservable, match=told):
        Cluster(cast(Inventory, None), cast(Hosts, hosts), cast(Api, api)).workers  # noqa: B018


def test_a_verification_goes_on_without_a_host_that_cannot_be_reached(two_hosts: Hosts) -> None:
    with pytest.raises(HostUnreachable, match="host gone cannot be reached"):
        two_hosts.check()
    (told,) = two_hosts.leave_out_unreachable()
    assert re.fullmatch(
        r"host gone cannot be reached: ssh: connect to host 127.0.0.1 port \d+: Connection refused", told
    )
    assert [host.name for host in two_hosts.group("etcd")] == ["here"]
    assert [host.name for host in two_hosts.away] == ["gone"]
    nodes = [
        {
            "metadata": {"name": name},
            "spec": {"podCIDRs": []},
            "status": {
                "addresses": [{"type": "InternalIP", "address": address}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            },
        }
        for name, address in (("gone", "127.0.0.1"), ("here", "192.0.2.1"))
    ]
    found = Cluster(Inventory(Path("hosts"), {}), two_hosts, cast(Api, SimpleNamespace(items=lambda _path: nodes)))
    assert [node.name for node in found.nodes] == ["here"]


def test_api_servers_that_have_just_booted_are_waited_for(two_hosts: Hosts) -> None:
    ports = [{"port": 6443}]
    booted = [{"ports": ports, "endpoints": [{"addresses": ["192.0.2.1"]}]}]
    answers = iter([[], [{"ports": ports, "endpoints": None}], booted])
    api = SimpleNamespace(items=lambda _path, **_query: next(answers), patient=lambda seconds: seconds)
    found = Cluster(Inventory(Path("hosts"), {}), two_hosts, cast(Api, api)).api_servers
    assert found == (("192.0.2.1", 6443),)


def test_no_api_server_is_told_as_that(two_hosts: Hosts) -> None:
    api = SimpleNamespace(items=lambda _path, **_query: [], patient=lambda _seconds: 0.0)
    with pytest.raises(NotObserved, match="the Service kubernetes has the address of an API server: not within 0 s"):
        Cluster(Inventory(Path("hosts"), {}), two_hosts, cast(Api, api)).api_servers  # noqa: B018


@pytest.mark.parametrize(("stdout", "rc"), [("1000\n", 0), ("", 1)])
def test_that_nobody_is_root_is_no_host_that_is_away(two_hosts: Hosts, stdout: str, rc: int) -> None:
    two_hosts.all = (Host("here", frozenset(), "", Fake(stdout, rc)), two_hosts.all[1])
    with pytest.raises(HostUnreachable, match=r"commands do not run as root: .*\n  set ansible_become: true"):
        two_hosts.leave_out_unreachable()


def test_a_verification_without_any_host_is_none(two_hosts: Hosts) -> None:
    two_hosts.all = two_hosts.all[1:]
    with pytest.raises(HostUnreachable, match="host gone cannot be reached"):
        two_hosts.leave_out_unreachable()


def test_sockets_of_a_listener_and_of_connections_are_understood() -> None:
    listening = (
        'LISTEN 0 4096 127.0.0.1:2379 0.0.0.0:* users:(("etcd",pid=353,fd=9))\n'
        'LISTEN 0 4096 *:6443 *:* users:(("kube-apiserver",pid=402,fd=5),("kube-apiserver",pid=403,fd=5))\n'
        "LISTEN 0 128 [::]:22 [::]:*\n"
    )
    first, second, third = sockets.parse(listening, states=True)
    assert (first.local, first.program, first.pids) == (("127.0.0.1", 2379), "etcd", frozenset({353}))
    assert (second.local, second.pids) == (("*", 6443), frozenset({402, 403}))
    assert (third.local, third.pids) == (("::", 22), frozenset())
    [connection] = sockets.parse('0 39 [::ffff:10.0.0.1]:2379 10.0.0.1:52136 users:(("etcd",pid=1,fd=2))', states=False)
    assert (connection.local, connection.peer) == (("10.0.0.1", 2379), ("10.0.0.1", 52136))


def dns_message(question: dns.Question, *records: bytes, code: int = 0) -> bytes:
    header = question.message[:2] + struct.pack("!5H", 0x8180 | code, 1, len(records), 0, 0)
    return header + question.message[12:] + b"".join(records)


def test_addresses_in_an_answer_are_read_through_pointers() -> None:
    question = dns.ask("web.ns.svc.cluster.local.", dns.A)
    record = b"\xc0\x0c" + struct.pack("!2HIH", dns.A, 1, 30, 4) + bytes([10, 96, 0, 7])
    answer = dns.read(question, dns_message(question, record))
    assert answer == dns.Answer(dns.NOERROR, ("10.96.0.7",), ())


def test_an_answer_has_ipv6_addresses() -> None:
    question = dns.ask("web.ns.svc.cluster.local.", dns.AAAA)
    record = b"\xc0\x0c" + struct.pack("!2HIH", dns.AAAA, 1, 30, 16) + bytes.fromhex("fd0000100096" + "0" * 18 + "0a")
    assert dns.read(question, dns_message(question, record)).addresses == ("fd00:10:96::a",)


def test_services_in_an_answer_are_read() -> None:
    question = dns.ask("_http._tcp.web.ns", dns.SRV)
    target = b"\x03web\xc0" + bytes([12 + len("_http") + 1 + len("_tcp") + 1 + len("web") + 1])
    record = b"\xc0\x0c" + struct.pack("!2HIH3H", dns.SRV, 1, 30, 6 + len(target), 0, 100, 8080) + target
    assert dns.read(question, dns_message(question, record)).services == (("web.ns", 8080),)


def test_a_name_that_does_not_exist_is_told_by_the_code() -> None:
    question = dns.ask("nothing", dns.A)
    assert dns.read(question, dns_message(question, code=3)) == dns.Answer(dns.NXDOMAIN, (), ())


def test_answers_to_something_else_or_without_an_end_are_refused() -> None:
    question = dns.ask("web", dns.A)
    loop = b"\xc0\x15"  # points at itself
    someone_elses = bytes(byte ^ 0xFF for byte in question.message[:2]) + dns_message(question)[2:]
    for message in (b"", someone_elses, dns_message(question, b"\xc0"), dns_message(question, loop)):
        with pytest.raises(dns.MalformedMessage):
            dns.read(question, message)


def test_a_key_in_etcd_is_read_with_its_revisions() -> None:
    entry = {
        "key": "L2E=",
        "value": base64.b64encode(b"v").decode(),
        "create_revision": 3,
        "mod_revision": 7,
        "version": 2,
    }
    fake = Fake(json.dumps({"kvs": [entry], "count": 1}))
    assert Etcd(fake.host, 2379).get("/a") == KeyValue("/a", b"v", 3, 7, 2)
    assert "--endpoints https://127.0.0.1:2379 get /a" in fake.commands[0][0]


def test_a_key_that_is_not_in_etcd_is_none() -> None:
    assert Etcd(Fake('{"header": {"revision": 9}}').host, 2379).get("/a") is None


def test_a_pods_containers_are_told_from_its_sandbox_and_running_from_ended() -> None:
    labels = {"io.kubernetes.pod.uid": "u", "io.kubernetes.pod.name": "p", "io.kubernetes.pod.namespace": "n"}
    container = {**labels, "io.cri-containerd.kind": "container", "io.kubernetes.container.name": "web"}
    created = {"CreatedAt": "2026-01-01T10:00:00.123456789Z"}
    infos = [
        {"ID": "s1", "Labels": {**labels, "io.cri-containerd.kind": "sandbox"}, **created},
        {"ID": "c1", "Labels": container, "SandboxID": "s1", **created},
        {"ID": "c0", "Labels": container, "SandboxID": "s1", **created},
    ]
    tasks = "TASK PID STATUS\ns1 41 RUNNING\nc1 42 RUNNING\nc0 40 STOPPED\n"
    host = Fake("".join(json.dumps(info, indent=4) + "\n" for info in infos) + tasks).host
    sandbox, running, ended = runtime.containers(host, "u")
    assert (sandbox.sandbox, running.sandbox) == (True, False)
    assert (running.pid, ended.pid) == (42, 0)
    assert running.created.isoformat() == "2026-01-01T10:00:00.123456+00:00"
    assert runtime.process(host, "u", "web") == 42


def test_another_runtime_is_asked_as_the_kubelet_asks_it() -> None:
    """What crictl prints of CRI-O, and of cri-dockerd, which has the same of containers.

    Sandboxes of CRI-O have no process, as long as containers have their own PIDs; cri-dockerd tells of none.
    """
    labels = {"io.kubernetes.pod.uid": "u", "io.kubernetes.pod.name": "p", "io.kubernetes.pod.namespace": "n"}
    web = {**labels, "io.kubernetes.container.name": "web"}
    created = "2026-01-01T10:00:00.123456789Z"
    answers: list[dict[str, Any]] = [
        {"status": {"id": "s1", "labels": labels, "state": "SANDBOX_READY", "createdAt": created}, "info": {}},
        {
            "status": {"id": "c1", "labels": web, "state": "CONTAINER_RUNNING", "createdAt": created},
            "info": {"sandboxID": "s1", "pid": 42},
        },
        {
            "status": {"id": "c0", "labels": web, "state": "CONTAINER_EXITED", "createdAt": created},
            "info": {"sandboxID": "s1", "pid": 40},
        },
    ]
    host = Fake("".join(json.dumps(answer, indent=2) + "\n" for answer in answers)).host
    sandbox, running, ended = runtime.containers(host, "u")
    assert (sandbox.sandbox, sandbox.pid, running.sandbox, running.sandbox_id) == (True, 0, False, "s1")
    assert (running.name, running.pod_name, running.namespace, running.pid, ended.pid) == ("web", "p", "n", 42, 0)
    assert runtime.process(host, "u", "web") == 42
    assert {request.asked for request in runtime.requests(host, "u")} == {"RunPodSandbox", "CreateContainer"}


def record(name: str, received: str, user: str = "system:kube-scheduler") -> dict[str, Any]:
    return {
        "stage": "ResponseComplete",
        "verb": "create",
        "auditID": "1",
        "user": {"username": user},
        "objectRef": {"resource": "pods", "subresource": "binding", "name": name, "namespace": "n"},
        "responseStatus": {"code": 201},
        "requestReceivedTimestamp": received,
        "stageTimestamp": received,
    }


def test_audit_records_of_all_servers_are_in_the_order_of_the_requests() -> None:
    hosts = [
        Host(name, frozenset(), "", Fake(json.dumps(record(name, received)) + "\n"))
        for name, received in (("late", "2026-01-01T00:00:02Z"), ("early", "2026-01-01T00:00:01Z"))
    ]
    found = audit.records(hosts, "n")
    assert [entry["objectRef"]["name"] for entry in found] == ["early", "late"]
    assert audit.concerns(found[0], "pods", "create", "early", "binding")
    assert not audit.concerns(found[0], "pods", "create", "early")
    assert audit.brief(found[0])["resource"] == "pods/binding"


def test_audit_records_that_do_not_come_are_told() -> None:
    with pytest.raises(NotObserved, match="the binding: not in the audit log within 0 s, among 0 records"):
        audit.await_records([Fake("").host], "n", bool, what="the binding", timeout=0)


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2), ("250m", 0.25), ("64Mi", 64 * 2**20), ("1k", 1000), (3, 3), ("1Gi", 2**30)]
)
def test_quantities_are_numbers(text: str | int, value: float) -> None:
    assert objects.quantity(text) == value


def test_what_a_pod_requests_is_the_larger_of_both_phases() -> None:
    def container(cpu: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}}

    spec = {"containers": [container("200m"), container("300m"), {}], "initContainers": [container("1")]}
    assert objects.requested({"spec": spec}, "cpu") == 1
    assert objects.requested({"spec": {**spec, "initContainers": []}}, "cpu") == 0.5


def test_evidence_is_what_was_seen_at_the_time() -> None:
    evidence, seen = Evidence(), [1]
    evidence["seen"] = seen
    seen.append(2)
    assert evidence["seen"] == [1]


def test_evidence_that_cannot_be_written_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="'object' cannot be written as JSON"):
        Evidence()["object"] = object()


def test_a_namespace_of_a_verification_that_goes_on_is_not_a_leftover() -> None:
    mine = workspace._this_process()
    process = mine["process"]
    assert workspace._still_runs(_namespace(mine))
    again, gone = {**process, "started": "1"}, {**process, "pid": 2**30}
    assert not workspace._still_runs(_namespace({**mine, "process": again})), "the process number was used again"
    assert not workspace._still_runs(_namespace({**mine, "process": gone})), "the process is gone"


_MINE = workspace._this_process()
_GONE = {"pid": 2**30, "started": "1"}


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"machine": "elsewhere.invalid", "pid": 1, "started": "1"},
        {"machine": socket.gethostname(), "pid": 2**30, "started": "1"},
        {"machine": {**_MINE["machine"], "namespace": "pid:[1]"}, "process": _GONE},
        {"machine": {**_MINE["machine"], "identity": "another", "boot": "another"}, "process": _GONE},
        {},
    ],
)
def test_of_verifications_that_cannot_be_seen_from_here_only_the_old_are_leftovers(elsewhere: dict[str, Any]) -> None:
    """Others' machines and containers may have this one's name."""
    assert not workspace._still_runs(_namespace(elsewhere, created="2020-01-01T00:00:00Z"))
    assert workspace._still_runs(_namespace(elsewhere, created="2120-01-01T00:00:00Z"))


def _namespace(owner: dict[str, Any], created: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {"metadata": {"creationTimestamp": created, "annotations": {workspace.OWNER: json.dumps(owner)}}}


@pytest.mark.parametrize(("uid", "found"), [("73929e8b-4095-4839-9813-46d1812ee0c9", True), ("73929e8b-4095", False)])
def test_the_kernel_says_whom_it_killed_for_memory(uid: str, found: bool, tmp_path: Path) -> None:
    pod = "kubepods-burstable-pod73929e8b_4095_4839_9813_46d1812ee0c9.slice"
    line = f"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/kubepods.slice/{pod},"
    line += f"task_memcg=/kubepods.slice/{pod}/cri-containerd-79.scope,task=agnhost,pid=4282,uid=65532"
    journal = tmp_path / "journalctl"
    journal.write_text(f"#!/bin/sh\necho 'Memory cgroup out of memory'\necho '{line}'\n")
    journal.chmod(0o755)

    class Here(Local):
        def run(self, command: str, *arguments: str) -> Any:
            return super().run(f"PATH={tmp_path}:$PATH; {command}", *arguments)

    told = cgroups.killed_for_memory(Host("here", frozenset(), "127.0.0.1", Here()), uid)
    assert told == (line if found else "")
