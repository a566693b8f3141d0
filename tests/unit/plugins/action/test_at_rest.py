"""Runs of which the preflight knows that nothing is to be done, on made reports. No host but this one is touched."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml
from tests.unit.ansible_program import ansible
from tests.unit.preflight.builders import report

from kubeproof.core import paths

_FOREIGN = """$ANSIBLE_VAULT;1.2;AES256;other
30613233633461343837653833666333643061636561303338373661313838333565653635353162
6532666131303062663463353838306230373131393531650a343132303936353134363666646330
"""


ETCD = "Install etcd"
NODES = "Install kubelets"


class Vaulted(str):
    """A value that Ansible decrypts when it is used."""

    __slots__ = ()


yaml.SafeDumper.add_representer(Vaulted, lambda dumper, text: dumper.represent_scalar("!vault", text, style="|"))


def run(directory: Path, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """The first task of the playbook, the preflight, what a play that may be left out begins with, and the end."""
    hosts = {}
    for number, name in enumerate(("cp1", "w1"), 1):
        node = {"there": True, "networks": [f"10.244.{number}.0/24"], "given": [f"10.244.{number}.0/24"]}
        clock: dict[str, Any] = {"clock": {"start": 0, "end": 1}, "asked": {"before": 0, "after": 1}}
        found = report(number, hostname=name, installed={"units": ["kubelet.service"]}, node=node, **clock)
        settled: dict[str, Any] = {"settled": {"tasks": {"abc": {}}, "units": {}}}
        hosts[name] = {"cluster_host_address": f"10.0.0.{number}", "made": {**found, **settled}}
    groups = {"etcd": ["cp1"], "control_plane": ["cp1"], "workers": ["w1"]}
    children = {group: {"hosts": {name: hosts[name] for name in names}} for group, names in groups.items()}
    given = {"ansible_connection": "local", "ansible_become": False, **variables}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": given, "children": children}}))
    [[begin, *_], [_, *_, end]] = [
        [task for play in yaml.safe_load((paths.PROJECT / path).read_text()) for task in play["tasks"]]
        for path in ("playbooks/parts/inventory.yml", "playbooks/parts/cluster.yml")
    ]
    fact = {"name": "Report", "ansible.builtin.set_fact": {"kubeproof_host": "{{ made }}", "cacheable": True}}
    judge = {"preflight": {"stage": "hosts"}, "register": "__preflight_checked", "run_once": True}
    fetched = {
        "ansible.builtin.debug": {"msg": "fetched"},
        "register": "__components_fetched",
        "changed_when": "other_build",
    }
    parts = yaml.safe_load((paths.PROJECT / "playbooks" / "parts" / "cluster.yml").read_text())
    leave_out = parts[0]["tasks"][0]
    say = {"ansible.builtin.debug": {"msg": "asking {{ inventory_hostname }}"}}
    say_etcd = {"ansible.builtin.debug": {"msg": "asking etcd of {{ inventory_hostname }}"}}
    assert {ETCD, NODES} <= {part["name"] for part in parts}
    play = {"hosts": "all", "gather_facts": False, "any_errors_fatal": True}
    plays = [
        {**play, "vars": {"__preflight_tags": []}, "tasks": [begin, fact, judge, fetched]},
        {**play, "name": ETCD, "tasks": [leave_out, say_etcd]},
        {**play, "name": NODES, "tasks": [leave_out, say]},
        {**play, "tasks": [end]},
    ]
    (directory / "play.yml").write_text(yaml.safe_dump(plays))
    given_options = ("--extra-vars", '{"other_build": false}', *options)
    return ansible(
        "playbook", "--inventory", str(directory / "hosts.yml"), str(directory / "play.yml"), *given_options,
        # To --step, in each play: continue without asking.
        answers="c\n" * 4,
    )  # fmt: skip


def asks(directory: Path, *options: str, **variables: Any) -> bool:
    """Whether plays that ask hosts are carried out, all of them."""
    asked = components(directory, *options, **variables)
    assert asked in (set(), {"etcd", "kubelet"})
    return bool(asked)


def components(directory: Path, *options: str, **variables: Any) -> set[str]:
    """Of what hosts are asked, with plays of etcd and of kubelets."""
    done = run(directory, *options, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = {"etcd": "asking etcd of cp1" in done.stdout, "kubelet": "asking cp1" in done.stdout}
    told = [text for text in ("only the API is asked", "about what these reach") if text in done.stdout]
    assert told or all(asked.values())
    return {component for component, is_asked in asked.items() if is_asked}


def test_hosts_are_asked_until_a_run_has_found_nothing_and_when_anything_has_changed(tmp_path: Path) -> None:
    assert asks(tmp_path)
    assert not asks(tmp_path)
    assert not asks(tmp_path, "--check", "--diff", "-v", "--forks", "2")
    # In any group, and on the command line.
    assert asks(tmp_path, "--extra-vars", "cluster_domain=other")
    assert not asks(tmp_path, "--extra-vars", "cluster_domain=other")
    assert asks(tmp_path)
    # The other compiler of the machine, after it was judged.
    assert asks(tmp_path, "--extra-vars", '{"other_build": true}')
    # Ansible read other tasks than those that are there now: nor is that recorded.
    for _ in range(2):
        assert asks(tmp_path, "--extra-vars", '{"__preflight_begun": {"code": "before"}}')
    (tmp_path / ".kubeproof" / "backup-identity.txt").write_text("another")
    assert asks(tmp_path, "--check")


def test_a_setting_alone_has_hosts_asked_about_what_it_reaches(tmp_path: Path) -> None:
    assert asks(tmp_path)
    assert components(tmp_path, "--check", kubelet_max_pods=60) == {"kubelet"}
    assert components(tmp_path, "--extra-vars", "etcd_heartbeat_interval=200") == {"etcd"}
    # The one before is recorded: its plays had nothing to do with that.
    assert not asks(tmp_path, "--extra-vars", "etcd_heartbeat_interval=200")
    assert components(tmp_path, kubelet_max_pods=60, etcd_heartbeat_interval=300) == {"etcd", "kubelet"}
    assert not asks(tmp_path, kubelet_max_pods=60, etcd_heartbeat_interval=300, preflight_clock_skew_warning=0.4)
    assert asks(tmp_path, kubelet_max_pods=61, cluster_domain="other")


def test_some_settings_have_hosts_asked_each_time(tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    assert asks(tmp_path, cluster_template_overrides=str(templates))
    assert asks(tmp_path, cluster_template_overrides=str(templates))


def test_a_run_of_which_tasks_can_be_declined_is_not_recorded(tmp_path: Path) -> None:
    assert asks(tmp_path, "--step")
    assert asks(tmp_path)
    assert asks(tmp_path, "--step")


def test_a_part_of_the_hosts_is_asked(tmp_path: Path) -> None:
    assert asks(tmp_path)
    done = run(tmp_path, "--limit", "cp1")
    assert "asking cp1" in done.stdout


def test_what_is_no_setting_is_not_decrypted(tmp_path: Path) -> None:
    assert asks(tmp_path, smtp_password=Vaulted(_FOREIGN))
    assert not asks(tmp_path, smtp_password=Vaulted(_FOREIGN))
