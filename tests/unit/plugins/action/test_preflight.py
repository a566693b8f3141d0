"""The actions in real plays: what Ansible passes to them, and what people see. No host but this one is touched."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from plugins.action.preflight import _wanted

from kubeproof import preflight
from kubeproof.components import pins
from kubeproof.pki import cas
from kubeproof.preflight import identity
from kubeproof.preflight.model import Host

ROOT = Path(__file__).resolve().parents[4]
SETTINGS = {"name": "Settings", "preflight": {"stage": "settings"}, "run_once": True}
HOSTS = {"name": "Hosts", "preflight": {"stage": "hosts"}, "run_once": True}
ASK = {"name": "Ask", "host_report": {}}


class Play:
    """A play on an inventory of its own, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.inventory: dict[str, Any] = {
            "all": {
                "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
                "children": {
                    "etcd": {"hosts": {"h1": {}}},
                    "control_plane": {"hosts": {"h1": {"ansible_host": "192.0.2.1"}}},
                    "workers": {"hosts": {"h2": {"ansible_host": "192.0.2.2"}}},
                },
            }
        }

    @property
    def variables(self) -> dict[str, Any]:
        """Variables of all hosts."""
        found: dict[str, Any] = self.inventory["all"]["vars"]
        return found

    def run(
        self, *tasks: dict[str, Any], options: tuple[str, ...] = (), fatal: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run tasks on all hosts. ``fatal``: what fails on one ends the play, as in the playbooks."""
        (self.directory / "hosts.yml").write_text(yaml.safe_dump(self.inventory))
        play = {"hosts": "all", "gather_facts": False, "any_errors_fatal": fatal, "tasks": list(tasks)}
        (self.directory / "play.yml").write_text(yaml.safe_dump([play]))
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "play.yml", *options]
        settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"}
        return subprocess.run(
            command, cwd=self.directory, env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )

    def findings(self, stage: str) -> set[tuple[str, str, str]]:
        """What the report says: id, subject and host of each finding."""
        document = json.loads((self.directory / ".kubeproof" / "reports" / f"preflight-{stage}.json").read_text())
        return {(entry["id"], entry["subject"], entry["host"]) for entry in document["findings"]}


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def test_good_settings_pass_and_touch_no_host(play: Play) -> None:
    play.variables["ansible_connection"] = "ssh"
    show = {
        "name": "Show",
        "ansible.builtin.debug": {"msg": "{{ found.findings | length }} findings"},
        "run_once": True,
    }
    done = play.run(SETTINGS | {"register": "found"}, show)
    assert done.returncode == 0, done.stdout
    assert "0 findings" in done.stdout
    assert play.findings("settings") == set()


def test_all_that_is_wrong_with_settings_is_said_at_once(play: Play) -> None:
    (play.directory / "group_vars").mkdir()
    (play.directory / "group_vars" / "workers.yml").write_text("---\nkubelet_max_pds: 30\n")
    play.variables.update(
        cluster_service_network="10.244.7.0/24",
        cluster_domain="{{ site }}.local",
        motd="hello",
        etcd_peer_port="{{ ansible_facts['kubeproof_host'].cpus }}",
    )
    play.inventory["all"]["children"]["workers"]["hosts"]["h2"]["ansible_host"] = "192.0.2.1"
    done = play.run(SETTINGS, options=("-e", "kube_proxy_mode=ipvs", "-e", "scheduler_prt=1"))
    assert done.returncode != 0
    assert play.findings("settings") == {
        ("unknown-setting", "kubelet_max_pds", "settings"),
        ("unknown-setting", "scheduler_prt", "settings"),
        ("network-overlap", "cluster_service_network", "settings"),
        ("duplicate-address", "192.0.2.1", "h2"),
        *(("invalid-setting", name, host) for name in ("cluster_domain", "kube_proxy_mode") for host in ("h1", "h2")),
    }
    assert (
        "unknown setting `kubelet_max_pds` (group_vars/workers.yml:2) [unknown-setting:kubelet_max_pds]" in done.stdout
    )
    assert "→ Did you mean `kubelet_max_pods`?" in done.stdout
    assert "'site' is undefined" in done.stdout
    assert '"msg": "preflight: 8 errors"' in done.stdout


def test_settings_may_be_made_of_other_hosts_variables(play: Play) -> None:
    play.inventory["all"]["children"]["resolvers"] = {"hosts": {"r1": {"ansible_host": "192.0.2.53", "kept": "kept"}}}
    play.variables.update(
        dns_forwarders="{{ groups['resolvers'] | map('extract', hostvars, 'ansible_host') | list }}",
        cluster_state_directory="{{ inventory_dir }}/{{ hostvars['r1'].kept }}",
        kubelet_max_pods="{{ hostvars['h1'].ansible_facts['kubeproof_host'].cpus }}",
    )
    begin = {"name": "Begin", "preflight": {"stage": "inventory"}, "run_once": True}
    done = play.run(begin, SETTINGS)
    assert done.returncode == 0, done.stdout
    report = json.loads((play.directory / "kept" / "reports" / "preflight-settings.json").read_text())
    assert report["findings"] == []


def test_a_finding_can_be_ignored(play: Play) -> None:
    play.variables.update(cluster_owner="me", preflight_ignore=["unknown-setting:cluster_owner"])
    assert play.run(SETTINGS).returncode == 0


def test_who_leaves_two_members_is_told_how_the_third_is_removed(play: Play) -> None:
    """Members tell that: a run that ended at the settings never got to it."""
    play.inventory["all"]["children"]["etcd"]["hosts"]["h2"] = {}
    assert play.run(SETTINGS).returncode != 0
    assert play.findings("settings") == {("etcd-members", "", "settings")}
    cas.ensure_cas(play.directory / ".kubeproof" / "pki", "test", datetime.timedelta(days=1))
    members = [
        {"id": f"a{each}", "name": f"h{each}", "peer_urls": [f"https://192.0.2.{each}:2380"], "started": True}
        for each in (1, 2, 3)
    ]
    numbers = dict.fromkeys(("size", "in_use", "revision", "applied"), 0)
    says = {"cluster": "c", "members": members, "alarms": [], **numbers}
    etcd = {"data": {"/var/lib/etcd": {"there": True, "restore": ""}}, "says": says}
    told = f"{{{{ ansible_facts['kubeproof_host'] | combine({{'etcd': {etcd}}}, recursive=true) }}}}"
    tell = {"name": "Tell", "ansible.builtin.set_fact": {"kubeproof_host": told, "cacheable": True}}
    assert play.run(SETTINGS, ASK, tell, HOSTS).returncode != 0
    assert play.findings("settings") == set()
    both = {("etcd-members", "", "settings"), ("etcd-outsider", "a3", "settings")}
    assert both <= play.findings("hosts")
    play.variables["preflight_ignore"] = ["etcd-members"]
    play.run(SETTINGS, ASK, tell, HOSTS)
    assert both & play.findings("hosts") == {("etcd-outsider", "a3", "settings")}


def test_a_restore_takes_two_members(play: Play) -> None:
    play.inventory["all"]["children"]["etcd"]["hosts"]["h2"] = {}
    assert play.run(SETTINGS).returncode != 0
    restore = {**SETTINGS, "preflight": {"stage": "settings", "purpose": "restore"}}
    done = play.run(restore)
    assert done.returncode == 0, done.stdout
    assert "etcd would have 2 members" in done.stdout


def test_misuse_is_explained(play: Play) -> None:
    wrong = {"name": "Wrong", "preflight": {"stage": "all"}}
    derive = {"name": "Derive", "ansible.builtin.debug": {"msg": "{{ {} | host_settings }}"}}
    aimless = {"name": "Aimless", "preflight": {"stage": "hosts", "purpose": "fun"}}
    tasks = (wrong, HOSTS, derive, ASK, aimless)
    done = play.run(*(task | {"run_once": True, "ignore_errors": True} for task in tasks), options=("--limit", "h1"))
    shown = done.stdout + done.stderr
    assert "stage is 'all'; it must be one of inventory, settings, hosts" in shown
    assert "h1 has no report; run host_report on all hosts first" in shown
    assert "purpose is 'fun'; it must be one of converge, restore, replace-member" in shown
    assert "this run has not gathered the facts of this host" in shown


def test_hosts_that_cannot_be_asked_are_findings_among_the_others(play: Play) -> None:
    hosts = play.inventory["all"]["children"]["workers"]["hosts"]
    # On loopback, port 1, nobody answers; and no Python is at that path.
    hosts["h3"] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts["h4"] = {"ansible_host": "192.0.2.4", "ansible_python_interpreter": "/nonexistent/python3"}
    play.variables["cluster_host_address"] = "192.0.2.{{ inventory_hostname[1] }}"
    done = play.run(ASK, HOSTS)
    assert done.returncode != 0
    found = play.findings("hosts")
    assert {("unreachable", "", "h3"), ("unexamined", "", "h4"), ("address", "192.0.2.1", "h1")} <= found
    assert ("same-machine", "h1", "h2") in found
    # With pipelining ssh may be gone before Ansible has written to it, which then says that instead.
    assert re.search("Connection refused|Data could not be sent", done.stdout), done.stdout
    assert "/nonexistent/python3" in done.stdout


def carries(host: str, **identity: list[str]) -> dict[str, Any]:
    """A host tells under what it was installed; the others that they are new."""
    told = f"{{{{ {json.dumps(identity)} if inventory_hostname == '{host}' else {{}} }}}}"
    return {
        "name": "Tell",
        "ansible.builtin.set_fact": {"kubeproof_host": {"identity": told}, "cacheable": True},
    }


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), {("version-change", "", "h1")}),
        (("-e", '{"component_versions": {"runc": "0.0.1", "coredns": "0.0.2"}}'), set()),
        (("-e", "preflight_allow_version_change=true"), set()),
    ],
    ids=["other", "pinned", "allowed"],
)
def test_versions_are_those_that_are_installed(
    play: Play, options: tuple[str, ...], found: set[tuple[str, str, str]]
) -> None:
    before = "{'installed': {'components': {'runc': '0.0.1', 'coredns': '0.0.2'}}}"
    told = f"{{{{ ansible_facts['kubeproof_host'] | combine({before}, recursive=true) }}}}"
    tell = {"name": "Tell", "ansible.builtin.set_fact": {"kubeproof_host": told, "cacheable": True}}
    play.run(ASK, {**tell, "when": "inventory_hostname == 'h1'"}, HOSTS, options=options)
    assert {each for each in play.findings("hosts") if each[0] == "version-change"} == found


def test_hosts_that_others_do_not_reach_are_found(play: Play) -> None:
    closed = {"address": "192.0.2.1", "port": 6443, "error": "timed out"}
    connected = {"__preflight_connected": {"failed_targets": [closed]}}
    tell = {"name": "Tell", "ansible.builtin.set_fact": connected, "when": "inventory_hostname == 'h2'"}
    done = play.run(ASK, tell, {"name": "Ports", "preflight": {"stage": "ports"}, "run_once": True})
    assert done.returncode != 0
    assert play.findings("ports") == {("port-closed", "", "h1")}
    assert "6443 of kube-apiserver from h2 (timed out)" in done.stdout


def test_a_udp_port_matters_where_it_was_listened_on(play: Play) -> None:
    play.variables.update(pod_network_plugin="flannel")
    closed = [{"address": f"192.0.2.{each}", "port": 8472, "protocol": "udp", "error": "no answer"} for each in (1, 2)]
    told = {
        "__preflight_connected": {"failed_targets": closed},
        # h2 has another program there.
        "__preflight_listening": {"udp": "{{ [8472] if inventory_hostname == 'h1' else [] }}"},
    }
    tell = {"name": "Tell", "ansible.builtin.set_fact": told}
    done = play.run(ASK, tell, {"name": "Ports", "preflight": {"stage": "ports"}, "run_once": True})
    assert play.findings("ports") == {("port-closed", "", "h1")}
    assert "8472 (UDP) of flannel's VXLAN from h2 (no answer)" in done.stdout


def test_a_run_of_nodes_alone_looks_for_a_host_that_answers(play: Play) -> None:
    show = {"name": "Show", "ansible.builtin.debug": {"msg": "outside={{ found.outside | join('+') }}"}}
    answers = {"results": [{"item": "h1", "unreachable": True, "msg": "via ssh: No route to host"}]}
    tell = {"name": "Tell", "ansible.builtin.set_fact": {"__preflight_outside": answers}}
    done = play.run(SETTINGS | {"register": "found"}, show, ASK, tell, HOSTS, options=("--limit", "h2"))
    assert "outside=h1" in done.stdout
    assert ("no-control-plane", "", "settings") in play.findings("hosts")


@pytest.mark.parametrize(("forks", "refused"), [("1", True), ("2", False)])
def test_a_start_of_etcd_takes_forks_for_its_quorum(play: Play, forks: str, refused: bool) -> None:
    play.inventory["all"]["children"]["etcd"]["hosts"] = {"h1": {}, "h2": {}, "h3": {}}
    play.variables["cluster_host_address"] = "192.0.2.{{ inventory_hostname[1] }}"
    play.run(ASK, HOSTS, options=("--forks", forks))
    assert ("etcd-forks" in {each[0] for each in play.findings("hosts")}) is refused


def test_addresses_are_those_of_all_hosts_of_the_cluster(play: Play) -> None:
    play.inventory["all"]["children"]["workers"]["hosts"]["h2"]["cluster_host_address"] = "192.0.2.22"
    limit = ("--limit", "h1")
    play.run(ASK, HOSTS, options=limit)
    # What is wrong with the machine that the tests run on.
    play.variables["preflight_ignore"] = sorted({each[0] for each in play.findings("hosts")})
    show = {"name": "Show", "ansible.builtin.debug": {"msg": "{{ found.addresses | to_json }}"}}
    done = play.run(ASK, HOSTS | {"register": "found"}, show, options=limit)
    assert r"{\"h1\": \"192.0.2.1\", \"h2\": \"192.0.2.22\"}" in done.stdout


def test_a_setting_that_follows_from_facts_is_judged_once_they_are_known(play: Play) -> None:
    play.variables["kubelet_max_pods"] = "{{ 'pods on ' ~ ansible_facts['kubeproof_host'].arch }}"
    play.run(SETTINGS, ASK, HOSTS)
    assert play.findings("settings") == set()
    wrong = ("invalid-setting", "kubelet_max_pods")
    assert {each[2] for each in play.findings("hosts") if each[:2] == wrong} == {"h1", "h2"}


def test_a_host_in_no_group_of_ours_is_looked_at_too(play: Play) -> None:
    play.inventory["all"]["hosts"] = {"h9": {"ansible_host": "192.0.2.9"}}
    directory = play.directory / ".kubeproof" / "pki"
    cas.ensure_cas(directory, "test", datetime.timedelta(days=2))
    ours = identity.Kept.of(directory.parent).digests["etcd"]
    left = f"{{'installed': {{'active': ['kubelet.service']}}, 'identity': {{'etcd': ['{ours}']}}}}"
    told = f"{{{{ ansible_facts['kubeproof_host'] | combine({left}, recursive=true) }}}}"
    tell = {"name": "Tell", "ansible.builtin.set_fact": {"kubeproof_host": told, "cacheable": True}}
    play.run(ASK, {**tell, "when": "inventory_hostname == 'h9'"}, HOSTS)
    assert {each for each in play.findings("hosts") if each[2] == "h9"} == {("left-group", "", "h9")}


def test_other_hosts_cannot_fail_a_run(play: Play) -> None:
    """A bastion, even the first host: unreachable, or without Python, and without the settings of the cluster."""
    children = play.inventory["all"]["children"]
    for group in ("etcd", "control_plane", "workers"):
        children[group]["vars"] = {"data": "/srv"}
    play.variables["etcd_data_directory"] = "{{ data }}/etcd"
    children["bastions"] = {
        "hosts": {
            "b1": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
            "b2": {"ansible_python_interpreter": "/nonexistent/python3"},
        }
    }
    role = {"name": "Check", "ansible.builtin.import_role": {"name": str(ROOT / "roles" / "preflight")}}
    done = play.run(role, fatal=True)
    assert "Check all hosts against the settings" in done.stdout, done.stdout
    found = play.findings("hosts")
    # h1 and h2 are this very machine.
    assert ("same-machine", "h1", "h2") in found
    assert not {each for each in found if each[2].startswith("b")}, done.stdout


def test_a_name_that_a_component_and_an_image_share_has_the_version_of_what_hosts_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinned = pins.load()
    components = {**pinned.components, "coredns": replace(pinned.components["coredns"], version="9.9.9")}
    images = {**pinned.images, "etcd": replace(pinned.images["pause"], name="etcd", version="9.9.9")}
    monkeypatch.setattr(pins, "load", lambda: replace(pinned, components=components, images=images))
    wanted = _wanted([])
    assert wanted.components["coredns"] == pinned.images["coredns"].version
    assert wanted.components["etcd"] == pinned.components["etcd"].version
    assert "kube-apiserver" not in wanted.components
    assert wanted.programs["kube-apiserver"] == "kubernetes"


@pytest.mark.parametrize(
    ("runtime", "programs"),
    [
        ("containerd", {"containerd": "containerd", "runc": "runc"}),
        ("crio", {"crio": "crio", "runc": "runc"}),
        # Its containerd and runc are of the engine's version in no way that could be compared.
        ("docker", {"docker": "docker", "cri-dockerd": "cri-dockerd"}),
    ],
)
def test_programs_of_a_runtime_are_those_of_its_component(runtime: str, programs: dict[str, str]) -> None:
    wanted = _wanted([preflight.Variables(Host("one", frozenset(), ""), {}, {"container_runtime": runtime}, {})])
    names = ("containerd", "crio", "docker", "cri-dockerd", "runc")
    assert {name: wanted.programs[name] for name in names if name in wanted.programs} == programs


class TestCas:
    MAKE: ClassVar[dict[str, Any]] = {
        "name": "Make",
        "pki_authorities": {
            "state_directory": "{{ inventory_dir }}/state",
            "cluster": "test",
            "days": 1,
            "server": "https://192.0.2.1:6443",
            "hosts": {"h1": "192.0.2.1"},
            "port": 6443,
        },
        "run_once": True,
    }

    def test_are_made_for_new_hosts(self, play: Play) -> None:
        done = play.run(carries("nobody"), self.MAKE)
        assert done.returncode == 0, done.stdout
        assert (play.directory / "state" / "pki" / "etcd.key").exists()

    @pytest.mark.parametrize("options", [(), ("--check",)])
    def test_are_not_made_where_one_has_others(self, play: Play, options: tuple[str, ...]) -> None:
        done = play.run(carries("h2", kubernetes=["abc"]), self.MAKE, options=options)
        assert done.returncode != 0
        assert "No CAs were created, and no host was changed." in done.stdout
        assert "it was installed with the CA kubernetes, which" in done.stdout
        assert "./kubeproof backup keys -i" in done.stdout
        assert not (play.directory / "state" / "pki").exists()

    def test_are_not_made_while_nobody_looks(self, play: Play) -> None:
        done = play.run(carries("nobody"), self.MAKE, options=("--limit", "h2"))
        assert done.returncode != 0
        assert "[authorities-left-out]" in done.stdout
        assert not (play.directory / "state" / "pki").exists()


def test_a_report_changes_nothing_and_settings_follow_from_it(play: Play) -> None:
    show = {"name": "Show", "ansible.builtin.debug": {"msg": "{{ ansible_facts['kubeproof_host'] | host_settings }}"}}
    done = play.run(ASK, show, options=("--check",))
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout
    assert "changed=1" not in done.stdout
    assert '"cgroupDriver":' in done.stdout
