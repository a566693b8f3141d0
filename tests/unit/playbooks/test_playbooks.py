"""The playbooks as this version of ansible-core takes them: syntax, tags, and a run that finds no host."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.ansible_program import ansible, complaints

from kubeproof.core import paths
from kubeproof.install.playbook import run
from kubeproof.settings import state

PLAYBOOKS = sorted((paths.PROJECT / "playbooks").glob("*.yml"))


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_a_playbook_is_understood(playbook: Path) -> None:
    inventory = str(paths.PROJECT / "inventory" / "example-ha" / "hosts.yml")
    done = ansible("playbook", "--syntax-check", "--inventory", inventory, str(playbook))
    assert done.returncode == 0, done.stderr
    assert complaints(done) == []


def test_molecule_has_the_plugins_that_playbooks_need() -> None:
    """Molecule does not read ansible.cfg."""
    ours = configparser.ConfigParser()
    ours.read(paths.PROJECT / "ansible.cfg")
    wanted = {value for value in ours["defaults"].values() if value.startswith("plugins/")}
    # It has its own output, and shows no documentation.
    wanted -= {ours["defaults"]["callback_plugins"], ours["defaults"]["doc_fragment_plugins"]}
    molecule = yaml.safe_load((paths.PROJECT / ".config" / "molecule" / "config.yml").read_text())
    given = {value.removeprefix("${MOLECULE_PROJECT_DIRECTORY}/") for value in molecule["ansible"]["env"].values()}
    assert wanted - given == set()


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """An inventory whose hosts nobody answers for: on loopback, port 1."""
    document: dict[str, Any] = yaml.safe_load((paths.PROJECT / "inventory" / "example-ha" / "hosts.yml").read_text())
    variables = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-o ControlMaster=no"}
    for group in document["all"]["children"].values():
        for name, own in (group.get("hosts") or {}).items():
            if own:
                group["hosts"][name] = {"cluster_host_address": own["ansible_host"], **variables}
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_run_that_reaches_no_host_ends_with_a_list_of_them(nowhere: Path) -> None:
    log, profile = nowhere.parent / "log", nowhere.parent / "profile.json"
    done = ansible(
        "playbook",
        "--check",
        "--inventory",
        str(nowhere),
        str(paths.PROJECT / "playbooks" / "cluster.yml"),
        ANSIBLE_STDOUT_CALLBACK="kubeproof",
        KUBEPROOF_LOG=str(log),
        KUBEPROOF_PROFILE=str(profile),
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert complaints(done) == []
    # With results, which the callback shows in its own way.
    assert re.findall(r'"(?:warnings|deprecations)": \[[^]]+', log.read_text()) == []
    assert "Traceback" not in done.stdout + done.stderr + log.read_text()
    reports = nowhere.parent / state.NAME / "reports"
    assert json.loads((reports / "preflight-settings.json").read_text())["findings"] == []
    findings = json.loads((reports / "preflight-hosts.json").read_text())["findings"]
    described = yaml.safe_load(nowhere.read_text())["all"]["children"]
    hosts = {name for group in described.values() for name in group["hosts"]}
    assert {finding["host"] for finding in findings} == hosts
    assert {finding["id"] for finding in findings} == {"unreachable"}
    assert set(json.loads(profile.read_text())["hosts"]) == hosts


def test_what_is_wrong_is_in_the_log_of_the_run(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANSIBLE_LOG_PATH", raising=False)
    with (nowhere.parent / "output").open("w") as output:
        done = run("cluster", (nowhere,), nowhere.parent / state.NAME, ("--check",), output=output)
    assert done.returncode == 2
    findings = json.loads((nowhere.parent / state.NAME / "reports" / "preflight-hosts.json").read_text())["findings"]
    for text in ((nowhere.parent / "output").read_text(), done.log.read_text()):
        assert findings[0]["mend"] in " ".join(text.split())


def test_every_role_has_a_tag_and_every_tag_is_known() -> None:
    """A tag that nobody knows is refused, so that the list must be whole."""
    imported = yaml.safe_load((paths.PROJECT / "playbooks" / "cluster.yml").read_text())[0]
    known = set(imported["vars"]["__preflight_tags"])
    inventory = str(paths.PROJECT / "inventory" / "example-ha" / "hosts.yml")
    listed = ansible("playbook", "--list-tags", "--inventory", inventory, "playbooks/cluster.yml")
    assert listed.returncode == 0, listed.stderr
    found = {tag for tags in re.findall(r"TASK TAGS: \[(.*)\]", listed.stdout) for tag in tags.split(", ") if tag}
    assert found == known | {"always"}
    page = (paths.PROJECT / "docs" / "operations" / "partial-runs.md").read_text()
    assert [tag for tag in known if f"`{tag}`" not in page] == []


def test_whoever_starts_pods_from_images_made_here_has_them_imported() -> None:
    """No registry has them: a run with only that tag would else apply pods that never start."""
    plays = yaml.safe_load((paths.PROJECT / "playbooks" / "parts" / "cluster.yml").read_text())
    tags: dict[str, set[str]] = {}
    for play in plays:
        for task in play["tasks"]:
            given = task.get("ansible.builtin.import_role", {})
            name = f"{given.get('name')}/{given.get('tasks_from', 'main')}"
            tags.setdefault(name, set()).update(task.get("tags", ()), play.get("tags", ()))
    started = [tags[f"{role}/main"] for role in ("containerd", "kubelet", "kube-proxy", "dns", "addons")]
    # The Gateway API has definitions only.
    assert set().union(*started) - {"gateway_api", "control_plane", "node"} <= tags["components/images"]


@pytest.mark.parametrize(
    ("playbook", "options", "told"),
    [
        ("cluster", ("--tags", "kublet"), "no part of this playbook has the tag kublet; you may mean kubelet"),
        ("cluster", ("--skip-tags", "kublet,dns"), "no part of this playbook has the tag kublet; you may mean kubelet"),
        ("cluster", ("--skip-tags", "components"), "--skip-tags components is not possible: all roles need the facts"),
        ("cluster", ("--skip-tags", "traefik"), "--skip-tags traefik is not possible: add-ons are applied together"),
        (
            "restore",
            ("--tags", "etcd"),
            "this playbook is run as a whole: it has no part for --tags or --skip-tags etcd",
        ),
        ("replace-member", ("--skip-tags", "dns"), "this playbook is run as a whole"),
    ],
)
def test_a_tag_that_nothing_has_is_refused(playbook: str, options: tuple[str, ...], told: str, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {children: {etcd: {hosts: {cp1: {ansible_host: 192.0.2.1}}}}}\n")
    done = ansible("playbook", "--inventory", str(tmp_path / "hosts.yml"), f"playbooks/{playbook}.yml", *options)
    assert done.returncode == 2
    assert told in done.stdout
    assert "UNREACHABLE" not in done.stdout


def test_no_component_s_tag_leaves_out_others_images(tmp_path: Path) -> None:
    """Ansible leaves out what has any tag that is skipped."""
    (tmp_path / "hosts.yml").write_text("all: {children: {etcd: {hosts: {cp1: {ansible_host: 192.0.2.1}}}}}\n")

    def listed(*options: str) -> str:
        done = ansible(
            "playbook", "--inventory", str(tmp_path / "hosts.yml"), "playbooks/cluster.yml", "--list-tasks", *options
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    for tag in ("kubelet", "dns"):
        assert "components : Import container images" in listed("--skip-tags", tag), tag
        assert "components : Import container images" in listed("--tags", tag), tag


@pytest.mark.parametrize("playbook", ["cluster", "restore", "replace-member"])
def test_a_run_gets_to_the_hosts(playbook: str, tmp_path: Path) -> None:
    """What a role may be given is checked by Ansible only when it runs; these runs end at a host that is not there."""
    hosts = {"cp1": {"ansible_host": "127.0.0.1", "ansible_port": 1, "cluster_host_address": "192.0.2.1"}}
    groups = {group: {"hosts": {"cp1": None}} for group in ("etcd", "control_plane", "workers")}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": groups}}))
    given = json.dumps({"restore_from": "latest", "member": "cp1"})
    done = ansible(
        "playbook", "--inventory", str(tmp_path / "hosts.yml"), f"playbooks/{playbook}.yml", "--extra-vars", given
    )
    assert done.returncode == 2
    assert "[unreachable]" in done.stdout, done.stdout
    assert "Validation of arguments failed" not in done.stdout + done.stderr


def test_nothing_changes_a_host_between_the_look_at_the_end_of_an_upgrade_and_its_converge() -> None:
    """What changes a host has the tasks after it ask all of them again."""
    plays = yaml.safe_load((paths.PROJECT / "playbooks" / "parts" / "upgrade" / "rest.yml").read_text())
    names = [play["name"] for play in plays]
    (converge,) = (
        number
        for number, play in enumerate(plays)
        if "ansible.builtin.import_playbook" in play and play["ansible.builtin.import_playbook"].endswith("cluster.yml")
    )
    before = plays[converge - 1]
    assert before["tasks"][-1]["ansible.builtin.include_role"]["name"] == "preflight", names
    assert before["tasks"][-1]["ansible.builtin.include_role"]["tasks_from"] == "report"
