"""What the commands do with what they are given."""

from __future__ import annotations

import getpass
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from rich.console import Console

from kubeproof.cli import down, helm, kubectl, main, options, summary, test, up
from kubeproof.core import paths, pythons
from kubeproof.core.errors import KubeproofError
from kubeproof.install import playbook
from kubeproof.install.playbook import Run
from kubeproof.settings import inventory, remote
from kubeproof.settings.inventory import Host
from kubeproof.settings.remote import ssh_command
from kubeproof.verify.engine import run as verify

RECORDED = paths.PROJECT / "tests" / "unit" / "verify" / "report" / "recorded"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for status in (options.FAILED, options.NOT_VERIFIED, options.LEFT_BEHIND, options.INTERRUPTED):
        assert re.search(rf"[;\n ]{status} \w", shown.partition("exit status:")[2])
    for command in (
        "up",
        "plan",
        "down",
        "test",
        "verify",
        "kubectl",
        "helm",
        "ssh",
        "status",
        "components",
        "report",
        "hosts",
    ):
        assert f"\n    {command} " in shown


def test_no_command_waits_for_what_it_has_no_use_for() -> None:
    """Each of these takes as long as Python's own start, and comes before anything is said."""
    imported = "import sys, kubeproof.cli.main, kubeproof.components.fetch; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True)
    assert {"httpx", "ansible", "kubeproof.cli.helm"} & set(done.stdout.split()) == set()


def test_helm_gets_its_arguments_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helm, "run", len)
    assert main.main(["helm", "list", "--all-namespaces", "--"]) == 3


def test_what_the_operator_can_mend_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["status", "--inventory", "/nowhere/hosts.yml"]) == 1
    shown = capsys.readouterr()
    assert "there is no inventory at /nowhere/hosts.yml" in shown.err
    assert "Traceback" not in shown.err


def test_an_interrupted_command_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(kubectl, "run", interrupt)
    assert main.main(["kubectl", "get", "pods"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "inventory", "rest"),
    [
        ([], [paths.DEFAULT_INVENTORY], []),
        (["-n", "kube-system", "get", "pods"], [paths.DEFAULT_INVENTORY], ["-n", "kube-system", "get", "pods"]),
        (["-i", "mine.yml", "get", "pods"], [Path("mine.yml")], ["get", "pods"]),
        (["--inventory", "mine.yml"], [Path("mine.yml")], []),
        (["--inventory=mine.yml", "-i", "more", "get", "-i"], [Path("mine.yml"), Path("more")], ["get", "-i"]),
        (["exec", "-i", "pod", "--", "sh"], [paths.DEFAULT_INVENTORY], ["exec", "-i", "pod", "--", "sh"]),
        (["-i"], [paths.DEFAULT_INVENTORY], ["-i"]),
        (["--topology", "ha", "get", "pods"], [paths.PROJECT / "inventory" / "ha" / "hosts.yml"], ["get", "pods"]),
        (["-i", "mine.yml", "--", "get", "pods"], [Path("mine.yml")], ["get", "pods"]),
    ],
)
def test_kubectl_gets_its_arguments_untouched(given: list[str], inventory: list[Path], rest: list[str]) -> None:
    assert kubectl.split(given) == (tuple(inventory), rest)


def test_helm_becomes_the_program_with_the_clusters_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "admin.kubeconfig"
    config.write_text("clusters: [{name: c, cluster: {server: 'https://192.0.2.5:6443'}}]")
    became: dict[str, Any] = {}
    monkeypatch.setattr(inventory, "load", lambda _: SimpleNamespace(state=tmp_path))
    monkeypatch.setattr(helm, "_program", lambda _: tmp_path / "helm")
    monkeypatch.setattr(kubectl, "with_proxy", str)
    monkeypatch.setattr(os, "execve", lambda *call: became.update(program=call[0], words=call[1], environment=call[2]))
    monkeypatch.setenv("HELM_KUBEAPISERVER", "https://another.example.org")
    monkeypatch.setenv("HELM_DEBUG", "true")
    helm.run(["-i", "mine.yml", "list", "-i"])
    assert "HELM_KUBEAPISERVER" not in became["environment"], "it would ask another cluster"
    assert became["environment"]["HELM_DEBUG"] == "true"
    assert (became["program"], became["words"]) == (tmp_path / "helm", ["helm", "list", "-i"])
    assert became["environment"]["KUBECONFIG"] == str(config)
    assert "192.0.2.5" in became["environment"]["NO_PROXY"]


def test_helm_without_a_cluster_fetches_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(inventory, "load", lambda _: SimpleNamespace(state=tmp_path))
    with pytest.raises(KubeproofError, match="there is no cluster yet"):
        helm.run(["list"])


def test_kubectl_of_a_topology_that_there_is_not() -> None:
    with pytest.raises(KubeproofError, match="'huge' is none of single, ha"):
        kubectl.split(["--topology", "huge", "get", "pods"])


def test_down_forgets_the_cluster_but_not_what_happened(tmp_path: Path) -> None:
    for name in ("pki", "ssh", "logs", "reports"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    kept = ["backup-identity.txt", "components.lock.json", "logs", "notes of somebody", "reports"]
    for name in ("admin.kubeconfig", *kept[:2], kept[3]):
        (tmp_path / name).touch()
    down.forget(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert (tmp_path / "logs" / "file").exists()


def test_an_option_after_the_host_is_no_command_for_a_host_of_another_cluster(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.main(["ssh", "cp1", "--inventory", "elsewhere", "uptime"]) == 1
    assert "options come before the host" in capsys.readouterr().err


def test_down_forgets_what_a_reset_forgets() -> None:
    reset = yaml.safe_load((paths.PROJECT / "roles" / "reset" / "vars" / "main.yml").read_text())
    kept = {"components.lock.json", "reports", "logs"}
    assert {*reset["__reset_begun"], *reset["__reset_state"]} - kept == set(down.FORGOTTEN) - {"ssh"}


def test_a_file_that_cannot_be_read_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refused(_: list[str]) -> int:
        raise PermissionError(13, "Permission denied", str(tmp_path / "admin.kubeconfig"))

    monkeypatch.setattr(kubectl, "run", refused)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main.main(["kubectl", "get", "pods"]) == options.FAILED
    said = capsys.readouterr().err
    assert said.startswith(f"kubeproof: {tmp_path}/admin.kubeconfig: Permission denied\n")
    assert "sudo" in said


def test_what_is_not_about_a_file_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: list[str]) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(kubectl, "run", broken)
    with pytest.raises(BrokenPipeError):
        main.main(["kubectl", "get", "pods"])


@pytest.mark.parametrize("command", [["down"], ["hosts", "create"], ["hosts", "destroy"], ["hosts", "status"]])
def test_who_is_not_root_is_told_so_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    inventory = (paths.DEFAULT_INVENTORY).read_text()
    (tmp_path / "hosts.yml").write_text(inventory)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main.main([*command, "-i", str(tmp_path / "hosts.yml")]) == options.FAILED
    assert "with sudo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["hosts.yml"]


@pytest.mark.parametrize("local", [True, False])
def test_down_is_next_only_where_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, local: bool) -> None:
    monkeypatch.setattr(summary, "has_local_hosts", lambda _: local)
    monkeypatch.setattr("kubeproof.api.kubectl.query", lambda *_: None)
    console = Console(file=io.StringIO(), width=200)
    cluster = SimpleNamespace(state=tmp_path, sources=paths.DEFAULT_INVENTORY)
    summary.show(console, cast(Any, cluster), 1.0)
    assert isinstance(console.file, io.StringIO)
    assert ("kubeproof down" in console.file.getvalue()) == local


def test_ssh_goes_the_way_that_ansible_goes() -> None:
    host = Host(
        "a",
        frozenset(),
        {
            "ansible_host": "192.0.2.1",
            "ansible_port": 2222,
            "ansible_user": "admin",
            "ansible_ssh_common_args": "-o ProxyJump='a b'",
            "ansible_ssh_private_key_file": "/keys/a",
        },
    )
    expected = ["ssh", "-i", "/keys/a", "-p", "2222", "-l", "admin", "-o", "ProxyJump=a b", "192.0.2.1"]
    assert ssh_command(host) == expected


def test_a_host_without_settings_is_reached_by_its_name() -> None:
    assert ssh_command(Host("a.example", frozenset(), {})) == ["ssh", "a.example"]


def test_tasks_that_changed_something_are_named() -> None:
    tasks: list[dict[str, Any]] = [
        {"name": "Install", "path": "a.yml:1", "outcomes": {"changed": 1, "ok": 2}},
        {"name": "Start", "path": "a.yml:9", "outcomes": {"ok": 3}},
    ]
    assert test._changing_tasks(Run(0, Path("log"), {"phases": [{"tasks": tasks}]})) == ["Install (a.yml:1)"]


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> test.Suite:
    """A suite that runs nothing, and whose own Python is 3.11."""
    monkeypatch.setattr("kubeproof.cli.test.attend", lambda *_, **__: 0)
    monkeypatch.setattr("platform.python_version", lambda: "3.11.2")
    return test.Suite(Console(file=io.StringIO(), width=200))


def shown(suite: test.Suite) -> str:
    suite.console.print(suite.summary())
    assert isinstance(suite.console.file, io.StringIO)
    return suite.console.file.getvalue()


def test_unit_tests_run_under_the_other_core_too(suite: test.Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "find", lambda: {"3.13": Path("/of/pyenv/python3.13")})
    test._other_cores(suite)
    assert suite.passed
    assert "KUBEPROOF_PYTHON=/of/pyenv/python3.13" in shown(suite)
    assert "kubeproof test --unit" in shown(suite)
    assert re.search(r"unit tests, Python 3\.13, ansible-core \S+ +passed", shown(suite))


def test_a_core_that_no_python_here_has_is_said_to_be_left_out(
    suite: test.Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pythons, "find", dict)
    test._other_cores(suite)
    assert suite.results == []
    assert re.search(r"unit tests, ansible-core \S+ +not run +it takes one of python3\.14, python3\.13", shown(suite))


def test_a_report_that_was_kept_becomes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = str(RECORDED / "refuted.json")
    assert main.main(["report", kept]) == 0
    assert "refuted: Cluster, Hosts of the control plane take no workloads" in capsys.readouterr().out
    assert main.main(["report", kept, "--html", f"{tmp_path}/page.html", "--junit", f"{tmp_path}/junit.xml"]) == 0
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "junit.xml").read_text().startswith("<?xml")


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "kubeproof.profile/1"}'])
def test_what_is_no_report_does_not_become_one(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (tmp_path / "kept.json").write_text(text)
    assert main.main(["report", f"{tmp_path}/kept.json", "--html", f"{tmp_path}/page.html"]) != 0
    assert "report" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_the_project_tests_use_hosts_of_their_own() -> None:
    own, users = test.INVENTORY.read_text(), paths.DEFAULT_INVENTORY.read_text()
    assert "kubeproof-test" in own
    assert "10.213.8." in own
    assert own.split("children:")[1].replace("10.213.8.", "10.213.7.") == users.split("children:")[1]


def test_a_password_that_is_asked_for_is_that_of_all_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(remote.PASSWORD_FILE, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: f"{prompt}answered")
    host = Host("a", frozenset(), {"ansible_become": True})
    for command in (["up"], ["verify"], ["backup", "list"], ["backup", "now"], ["backup", "restore"]):
        given = main.parser().parse_args([*command, "-K"])
        with options.become_password(given):
            sudo = remote.login(host).sudo
        assert sudo
        assert sudo.password == "BECOME password: answered"  # noqa: S105
    assert "-k" not in remote.login(host).rooted("true"), "it is gone with the command"


def test_hosts_that_the_verification_cannot_reach_are_named_before_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts.yml").write_text(
        "all: {hosts: {b: {ansible_connection: winrm}}}\n"
        "etcd: {hosts: {a: {ansible_host: 192.0.2.1, ansible_connection: local}}}\n"
    )
    begun: list[str] = []
    monkeypatch.setattr(up, "prepare", lambda *_given, **_options: begun.append("prepared"))
    monkeypatch.setattr("kubeproof.install.playbook.run", lambda *_given: SimpleNamespace(ok=False))
    given = main.parser().parse_args(["up", "-i", str(tmp_path / "hosts.yml")])
    with pytest.raises(KubeproofError, match="host a: the connection local is not supported"):
        up.run(given)
    assert not begun
    # Without a verification Ansible is all there is.
    given.verify = False
    up.run(given)
    assert begun


@pytest.mark.parametrize("locale", ["C", "POSIX", "xx_XX.UTF-8", "C.UTF-8"])
def test_playbooks_start_in_whatever_locale_the_user_has(locale: str) -> None:
    program = "import subprocess; from kubeproof.core import environment as ours; "
    program += "subprocess.run([ours.tool('ansible-playbook'), '--version'], env=ours.environment(), check=True)"
    environment = {**os.environ, "LC_ALL": locale}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ansible-playbook [core" in done.stdout


def test_a_shell_gets_the_locked_programs_and_its_own_configuration_if_it_has_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.main(["env"]) == 0
    printed = capsys.readouterr().out
    ask = f'{printed} echo "$PATH"; echo "$ANSIBLE_CONFIG"'
    for given, config in (({}, str(paths.PROJECT / "ansible.cfg")), ({"ANSIBLE_CONFIG": "/mine.cfg"}, "/mine.cfg")):
        done = subprocess.run(["sh", "-euc", ask], env={"PATH": "/bin", **given}, capture_output=True, check=True)
        assert done.stdout.decode().splitlines() == [f"{Path(sys.executable).parent}:/bin", config]


@pytest.mark.parametrize("verified", [True, False])
def test_hosts_that_were_left_behind_are_named_and_are_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, verified: bool
) -> None:
    (tmp_path / "hosts.yml").write_text("etcd: {hosts: {cp1: }}\nworkers: {hosts: {w1: }}\n")
    ended = Run(4, tmp_path / "log", {"left_behind": {"w1": "no record"}, "failures": []})
    monkeypatch.setattr(up, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(playbook, "run", lambda *_: ended)
    monkeypatch.setattr(verify, "verify", lambda *_: verified)
    monkeypatch.setattr(summary, "show", lambda *_: None)
    assert main.main(["up", "-i", str(tmp_path / "hosts.yml")]) == options.LEFT_BEHIND
    assert "Left behind: w1." in capsys.readouterr().out


@pytest.mark.parametrize("more", [["dns"], ["dns", "etcd"], ["--", "dns", "-k", "large"]])
def test_a_claim_without_only_is_no_file_of_tests(
    more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verify, "attend", lambda *_, **__: pytest.fail("pytest was called"))
    assert main.main(["verify", *more]) == options.FAILED
    said = capsys.readouterr().err
    assert "dns is neither a file of tests nor an option of pytest" in said
    assert "kubeproof verify --only dns\n" in said


@pytest.mark.parametrize("more", [[], ["--", "-k", "large"], ["--", "tests/architecture/test_dns.py::test_x"]])
def test_options_and_files_of_pytest_reach_it(more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def attend(command: list[str], **_: Any) -> int:
        called.append(command)
        return 0

    monkeypatch.setattr(verify, "attend", attend)
    assert main.main(["verify", *more]) == 0
    assert called[0][len(called[0]) - len(more[1:]) :] == more[1:]
