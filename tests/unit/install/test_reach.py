"""Which plays a changed setting reaches."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeproof.core import paths
from kubeproof.install.reach import Reach

ETCD = {"Install etcd", "Restart the etcd leader"}
NODES = "Install kubelets"
REPLACED = "Remove kube-proxy where it is replaced"
# Of these, roles register for others: what all hosts have been asked before, or each play begins with.
SHARED = {"__components_fetched"}


@pytest.fixture(scope="module")
def reach() -> Reach:
    """Of this project."""
    return Reach(paths.PROJECT)


def reached(reach: Reach, *settings: str) -> set[str]:
    """The plays that are not left out."""
    return reach.plays.keys() - set(reach.not_of(settings))


@pytest.mark.parametrize(
    ("settings", "plays"),
    [
        ((), set()),
        (("kubelet_max_pods",), {NODES}),
        (("kube_proxy_mode",), {"Install kube-proxy", REPLACED}),
        (("etcd_heartbeat_interval",), ETCD),
        (("kubelet_max_pods", "etcd_heartbeat_interval"), {NODES, *ETCD}),
        (("scheduler_port",), {"Install schedulers"}),
        (("apiserver_audit_log_days",), {"Install the API servers"}),
        (("balancer_check_interval",), {"Install load balancers"}),
        # The host's is made of the other one's by way of an internal variable.
        (("host_conntrack_max",), {"Prepare the hosts", "Install kube-proxy", REPLACED}),
        # In the API only.
        (("traefik_external_traffic_policy",), set()),
        # Of another playbook.
        (("upgrade_soak",), set()),
    ],
)
def test_a_setting_reaches_plays_whose_roles_name_it(reach: Reach, settings: tuple[str, ...], plays: set[str]) -> None:
    assert reached(reach, *settings) == plays


@pytest.mark.parametrize("name", ["cluster_domain", "component_versions", "backup_targets", "cluster_host_address"])
def test_what_all_roles_or_the_code_behind_them_name_reaches_all_plays(reach: Reach, name: str) -> None:
    assert reach.not_of([name]) == []
    assert reach.not_of([name, "kubelet_max_pods"]) == []


def test_what_nothing_names_is_not_known_to_reach_nothing(reach: Reach) -> None:
    assert reach.not_of(["kubelet_of_tomorrow"]) == []


def test_plays_that_may_be_left_out_are_those_that_ask_for_it(reach: Reach) -> None:
    texts = [(paths.PROJECT / "playbooks" / "parts" / name).read_text() for name in ("components.yml", "cluster.yml")]
    begins = [play for text in texts for play in yaml.safe_load(text) if "ansible.builtin.meta" in play["tasks"][0]]
    assert set(reach.plays) == {play["name"] for play in begins}
    assert len(reach.plays) == len(begins) >= 17
    assert reach.plays["Install etcd"] == {"etcd"}
    assert reach.plays[NODES] == {"kubelet"}
    assert reach.plays["Install the pod network"] == {"calico", "cilium", "flannel", "pod_network"}


def test_each_setting_of_a_role_reaches_the_plays_of_that_role(reach: Reach) -> None:
    for role in {role for roles in reach.plays.values() for role in roles}:
        plays = {play for play, roles in reach.plays.items() if role in roles}
        for name in _options(role):
            assert plays <= reached(reach, name), name


def _options(role: str) -> list[str]:
    path = paths.PROJECT / "roles" / role / "meta" / "argument_specs.yml"
    entries = yaml.safe_load(path.read_text())["argument_specs"] if path.is_file() else {}
    return [name for entry in entries.values() for name in entry.get("options", {})]


def test_names_of_settings_are_not_put_together() -> None:
    """Only whole names are found."""
    together = re.compile(
        r"""_['"]\s*~|~\s*['"]_|\blookup\('setting',\s*[^'\s]|\blookup\('(ansible\.builtin\.)?vars'"""
    )
    for path in (*(paths.PROJECT / "roles").rglob("*.yml"), *(paths.PROJECT / "roles").rglob("*.j2")):
        assert not together.search(path.read_text()), path
    built = re.compile(r"""f"(\{\w+\}_|[a-z_]+_\{\w+\}_?[a-z]*")""")
    code = (*(paths.PROJECT / "plugins").rglob("*.py"), *(paths.PROJECT / "src/kubeproof/install").rglob("*.py"))
    for path in code:
        found = {match.group() for match in built.finditer(path.read_text())} - {'f"ansible_{name}_tags"'}
        assert not found, path


def test_no_role_waits_for_what_another_one_registers(reach: Reach) -> None:
    """Its play may be left out."""
    roles = {role for roles in reach.plays.values() for role in roles}
    for role in roles:
        names = set(_registered(paths.PROJECT / "roles" / role / "tasks")) - SHARED
        for other in roles - {role}:
            for path in (paths.PROJECT / "roles" / other).rglob("*"):
                if path.is_file():
                    assert names.isdisjoint(re.findall(r"\w+", path.read_text(errors="replace"))), (role, path)


def _registered(directory: Path) -> list[str]:
    found: list[str] = []
    for path in directory.rglob("*.yml"):
        tasks: list[dict[str, Any]] = list(yaml.safe_load(path.read_text()) or [])
        while tasks:
            task = tasks.pop()
            tasks += [*task.get("block", []), *task.get("rescue", []), *task.get("always", [])]
            found += [task["register"]] if "register" in task else []
            found += [name for name in task.get("ansible.builtin.set_fact", {}) if name != "cacheable"]
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One with two plays of a role each."""

    def write(path: str, content: Any) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content if isinstance(content, str) else yaml.safe_dump(content))

    leave = {"ansible.builtin.meta": "end_play", "when": ["ansible_play_name in checked.at_rest"]}
    calls = [{"block": [{"ansible.builtin.import_role": {"name": name}}]} for name in ("one", "two")]
    plays = [{"name": f"Play {at}", "tasks": [leave, call]} for at, call in enumerate(calls, 1)]
    write("playbooks/parts/cluster.yml", [*plays, {"name": "Always", "tasks": [calls[0]]}])
    write("playbooks/parts/components.yml", [])
    for role in ("one", "two", "common", "called"):
        write(f"roles/{role}/meta/main.yml", {"dependencies": [{"role": "common"}] if role == "two" else []})
    write("roles/one/tasks/main.yml", [{"debug": {"msg": "{{ one_port }} {{ __made }}"}}])
    write("roles/two/tasks/main.yml", [{"ansible.builtin.include_role": {"name": "called"}}])
    write("roles/two/templates/etc/file.j2", "{{ lookup('setting', 'two_port') }}\n")
    write("roles/two/README.md", "Not one_port.\n")
    write("roles/common/vars/main.yml", {"__made": "{{ __of_it }}", "__of_it": "{{ deep }}", "__other": "{{ wide }}"})
    write("roles/called/tasks/main.yml", [{"debug": {"msg": "{{ called_port }}"}}])
    write("plugins/filter/named.py", "# code_port\n")
    write("src/kubeproof/preflight/judge.py", "# one_port two_port\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("one_port", ["Play 2"]),
        ("two_port", ["Play 1"]),
        # By way of two variables, of which the role of the other play is made, too.
        ("deep", []),
        ("wide", ["Play 1"]),
        ("called_port", ["Play 1"]),
        ("code_port", []),
        ("unknown", []),
    ],
)
def test_names_are_found_wherever_a_role_takes_them_from(project: Path, name: str, left_out: list[str]) -> None:
    assert Reach(project).not_of([name]) == left_out
