"""How a turn is begun on its host: what the role asks for is what the program takes, and when it is put back."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from tests.unit.ansible_program import ansible
from tests.unit.preflight.builders import report
from tests.unit.roles.test_extra_config import rendered
from tests.unit.roles.test_texts import variables

from kubeproof.core import paths
from kubeproof.settings import specs
from kubeproof.upgrade.host_turn import units
from kubeproof.upgrade.host_turn.main import parser
from kubeproof.verify.engine import claims

TASKS = specs.ROLES / "upgrade" / "tasks"
SERVICE, TIMER = (f"etc/systemd/system/kubeproof-put-back.{kind}" for kind in ("service", "timer"))
MEMBERS = ["cp1", "cp2", "cp3"]


def act(kind: str, *hosts: str, **more: Any) -> dict[str, Any]:
    former = {"what": "kube-apiserver 1.36.3", "turn": {"kube-apiserver": "1.36.3", "emulates": ""}}
    return {
        "kind": kind,
        "title": f"{kind} kubernetes 1.37.2 as 1.36",
        "hosts": list(hosts),
        "confirmed": list(hosts),
        "former": dict.fromkeys(hosts, former),
        **more,
    }


def known(given: dict[str, Any], host: str = "cp1", **more: Any) -> dict[str, Any]:
    units = ["kube-scheduler.service", "kube-scheduler-second.service"]
    installed = {**report()["installed"], "units": units}
    facts = {"kubeproof_host": {**report(), "installed": installed}}
    groups = {"etcd": MEMBERS, "control_plane": MEMBERS, "workers": ["w1"]}
    return {
        "ansible_facts": facts, "inventory_hostname": host, "groups": groups, "__upgrade_act": given,
        "__cluster_patience": 1.0, **more,
    }  # fmt: skip


def value(expression: str, directory: Path, **given: Any) -> Any:
    everything = {**variables(directory, texts=False), **given}
    return Templar(loader=DataLoader(), variables=everything).template(trust_as_template(expression))


def begun(path: Path, given: dict[str, Any], host: str = "cp1", **more: Any) -> Namespace:
    """What the program is given when a turn begins."""
    begin = yaml.safe_load((TASKS / "begin.yml").read_text())[0]
    variables = known(given, host, **more)
    before = value(begin["vars"]["__upgrade_before"], path, **variables)
    argv = value(begin["ansible.builtin.command"]["argv"], path, **variables, __upgrade_before=before)
    assert Path(argv[0]).name == "kubeproof-turn"
    return parser().parse_args(argv[1:])


def seconds(path: Path, given: dict[str, Any], host: str = "cp1", **more: Any) -> int:
    return int(begun(path, given, host, **more).seconds)


@pytest.mark.parametrize(
    ("kind", "restarted"),
    [
        ("etcd", ["etcd.service"]),
        ("api-servers", ["kube-apiserver.service"]),
        (
            "controllers",
            ["kube-controller-manager.service", "kube-scheduler.service", "kube-scheduler-second.service"],
        ),
        ("nodes", ["containerd.service", "kubelet.service", "kube-proxy.service"]),
    ],
)
def test_the_program_takes_what_a_turn_is_begun_with(kind: str, restarted: list[str], tmp_path: Path) -> None:
    told = begun(tmp_path, act(kind, "cp1"))
    assert (told.command, told.unit, told.act) == ("begin", restarted, f"{kind} kubernetes 1.37.2 as 1.36")
    assert (told.what, told.former) == ("kube-apiserver 1.36.3", '{"kube-apiserver": "1.36.3", "emulates": ""}')


@pytest.mark.parametrize(
    ("direction", "again", "other"),
    [
        ("forward", "./kubeproof upgrade again", "./kubeproof upgrade back."),
        ("back", "./kubeproof upgrade back again", "./kubeproof upgrade."),
    ],
)
@pytest.mark.parametrize(
    ("confirmed", "outcome"),
    [(["cp1"], "which was put back to kube-apiserver 1.36.3"), ([], "where nothing was changed")],
)
def test_who_stops_an_upgrade_tells_how_to_go_on(
    tmp_path: Path, direction: str, again: str, other: str, confirmed: list[str], outcome: str
) -> None:
    [block] = yaml.safe_load((TASKS / "put_back.yml").read_text())
    given = known(
        act("api-servers", *confirmed), upgrade_direction=direction, __upgrade_members={"results": []},
        __upgrade_failure="not ready in 120 s", __upgrade_failed_task="Wait for the API server",
    )  # fmt: skip
    # In the order of the file, in which none needs a later one.
    for name, expression in block["vars"].items():
        given[name] = value(expression, tmp_path, **given)
    told = value(block["block"][-1]["ansible.builtin.fail"]["msg"], tmp_path, **given)
    assert f"failed on cp1, {outcome}: not ready in 120 s (Wait for the API server)." in told
    assert f"and run {again}, or change direction: {other}" in told


@pytest.mark.parametrize(("programs", "waits"), [(["containerd", "runc"], False), (["kubelet", "kube-proxy"], True)])
def test_a_node_is_to_have_the_version_of_the_kubelet_if_that_was_switched(
    tmp_path: Path, programs: list[str], waits: bool
) -> None:
    """The versions of what is not switched are those of the cluster's oldest, and not of every node."""
    block = next(task for task in yaml.safe_load((TASKS / "nodes.yml").read_text()) if "block" in task)["block"]
    [task] = (task for task in block if "kube_wait" in task)
    given = known(act("nodes", "w1", programs=programs, versions={"kubernetes": "1.37.2"}), "w1")
    found = value(task["vars"]["__upgrade_node_done"], tmp_path, **given)
    assert [each.get("value", "") for each in found] == ["", *(["v1.37.2"] if waits else [])]


@pytest.mark.parametrize(
    ("plan", "before", "removed", "told"),
    [
        (True, True, True, "failed\nNothing was changed by this run."),
        (False, True, False, "failed\nNothing was changed by this run."),
        (True, False, False, "failed\nWhat this run has changed before stays as it is"),
    ],
)
def test_a_rehearsal_that_fails_after_other_acts_forgets_no_upgrade(
    tmp_path: Path, plan: bool, before: bool, removed: bool, told: str
) -> None:
    """Without its note, the next run does not know that it is not finished."""
    (block,) = (each for each in yaml.safe_load((TASKS / "rehearsal.yml").read_text()) if "rescue" in each)
    refused, stop = block["rescue"]
    given = known(
        act("rehearsal", untouched=before), __upgrade_plan={"untouched": plan}, ansible_failed_result={"msg": "failed"}
    )
    assert value(refused["upgrade_plan"]["untouched"], tmp_path, **given) is removed
    assert value(stop["ansible.builtin.fail"]["msg"], tmp_path, **given).startswith(told)


def test_at_the_end_nothing_of_the_former_version_is_left(tmp_path: Path) -> None:
    [removed, _] = yaml.safe_load((TASKS / "end.yml").read_text())
    # A round trip to each host, and no module of half a second for each.
    assert "loop" not in removed
    here = json.loads(json.dumps(removed).replace("/var/lib/kubeproof", str(tmp_path)))
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [here]}]))
    for name in ("staged", "turn", "units"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    command = ("--inventory", "host1,", "--connection", "local", str(tmp_path / "play.yml"))
    ends = [ansible("playbook", *command, *options).stdout for options in (["--check"], [], [])]
    assert [int(each.partition("changed=")[2][0]) for each in ends] == [0, 1, 0], ends
    assert sorted(path.name for path in tmp_path.iterdir()) == ["play.yml", "units"]


def test_no_node_is_drained_while_no_controller_manager_acts() -> None:
    acts, upgraded, *_ = yaml.safe_load((TASKS / "nodes.yml").read_text())
    [lease] = acts["kube_wait"]["objects"]
    assert lease["path"].endswith("/leases/kube-controller-manager")
    assert lease["renewed"] is True
    assert "node_drain" in upgraded["block"][0]


def test_a_drain_holds_to_what_pods_may_lose() -> None:
    """The plan has asked before the first turn, from which pods go to nodes whose turn is later."""
    _, upgraded, *_ = yaml.safe_load((TASKS / "nodes.yml").read_text())
    given = upgraded["block"][0]["node_drain"]
    assert given["local_data"] == "{{ upgrade_delete_local_data }}"
    assert given["bare_pods"] == "{{ upgrade_delete_bare_pods }}"


def test_the_unit_puts_back(tmp_path: Path) -> None:
    text = rendered("upgrade", SERVICE, tmp_path, **known(act("nodes", "w1")), cluster_etcd_port="12379")
    program, *arguments = shlex.split(text.partition("ExecStart=")[2].splitlines()[0])
    told = parser().parse_args(arguments)
    assert Path(program).name == "kubeproof-turn"
    assert (told.command, told.by, told.etcd_port) == ("put-back", "host", 12379)


def test_a_turn_has_its_time_and_slow_hosts_have_more(tmp_path: Path) -> None:
    assert seconds(tmp_path, act("nodes", "w1", "w2"), "w2") == 900
    assert seconds(tmp_path, act("nodes", "w1"), "w1", upgrade_confirm_seconds="800") == 800
    assert seconds(tmp_path, act("nodes", "w1"), "w1", __cluster_patience=2.5) == 2250


def test_what_is_put_back_has_the_time_to_start_that_it_has_in_a_run(tmp_path: Path) -> None:
    def given(kind: str, **more: Any) -> int:
        return int(begun(tmp_path, act(kind, "cp1"), **more).start_seconds)

    assert given("api-servers") == 120
    assert given("etcd") == 120
    assert given("etcd", etcd_start_timeout="300", __cluster_patience=2.0) == 600
    assert given("nodes", etcd_start_timeout="300") == 120


@pytest.mark.parametrize("kind", ["etcd", "controllers"])
def test_turns_that_begin_together_have_the_time_of_all_and_are_put_back_one_after_the_other(
    tmp_path: Path, kind: str
) -> None:
    given = act(kind, *MEMBERS)
    assert [seconds(tmp_path, given, host) for host in MEMBERS] == [2700, 2880, 3060]
    assert seconds(tmp_path, act(kind, "cp2", "cp3"), "cp3") == 1980


def test_members_that_start_slowly_are_put_back_farther_apart(tmp_path: Path) -> None:
    given = act("etcd", *MEMBERS)
    assert [seconds(tmp_path, given, host, etcd_start_timeout="300") for host in MEMBERS] == [2700, 3060, 3420]


def test_who_only_takes_part_in_the_transfer_of_leadership_adds_no_time(tmp_path: Path) -> None:
    given = act("etcd", "e1", "e2", "e3")
    given["hosts"] += ["cp1", "cp2"]
    assert seconds(tmp_path, given, "e3") == 3060


def test_the_timer_is_installed_before_there_is_a_turn(tmp_path: Path) -> None:
    """By the plan, whose play has no act: each turn's own time is what the program is given."""
    without = {name: each for name, each in known({}).items() if name != "__upgrade_act"}
    assert "\nOnActiveSec=900\n" in rendered("upgrade", TIMER, tmp_path, **without)
    (task,) = (each for each in yaml.safe_load((TASKS / "main.yml").read_text()) if "install_component" in each)
    directories = {each["path"]: each for each in task["install_component"]["directories"]}
    drop_ins = f"/{TIMER}.d"
    assert directories[drop_ins]["data"], "a reset removes what the program has written"
    assert Path(drop_ins).name == f"{units.TIMER}.d"


def test_a_turn_of_a_member_of_etcd_is_about_nothing_else() -> None:
    """Its defragmentation is of no version, and brought by the converge at the end."""
    (turn,) = yaml.safe_load((TASKS / "etcd.yml").read_text())
    included = [task.get("ansible.builtin.include_role") for task in turn["block"]]
    assert [each["tasks_from"] for each in included if each and each["name"] == "etcd"] == ["member", "leader"]
    tasks = yaml.safe_load((specs.ROLES / "etcd" / "tasks" / "member.yml").read_text())
    assert [task["ansible.builtin.import_tasks"] for task in tasks] == ["install.yml", "start.yml"]


def test_what_is_verified_on_the_way_needs_no_pods() -> None:
    (task,) = yaml.safe_load((TASKS / "quick-verification.yml").read_text())
    assert task["verify_cluster"]["level"] == "quick"
    catalogue = claims.load()
    for name in task["verify_cluster"]["only"]:
        chosen = catalogue.select([name])
        assert any(claim.level is claims.Level.QUICK for claim in catalogue.claims if claim.id in chosen), name


@pytest.mark.parametrize(("left", "stops"), [(MEMBERS, False), (["cp1", "cp3"], True)])
def test_a_run_does_not_go_on_without_a_host_that_was_lost(tmp_path: Path, left: list[str], stops: bool) -> None:
    """Ansible would: one of several hosts that cannot be reached is no failure to it."""
    (play,) = yaml.safe_load((paths.PROJECT / "playbooks/parts/upgrade/act.yml").read_text())
    stop = play["tasks"][-1]
    given = known(act("controllers", *MEMBERS), ansible_play_hosts=left, __upgrade_act_name="5/9 controllers")
    lost = value(stop["vars"]["__upgrade_lost"], tmp_path, **given)
    assert value("{{ " + stop["when"] + " }}", tmp_path, **given, __upgrade_lost=lost) is stops
    told = value(stop["ansible.builtin.fail"]["msg"], tmp_path, **given, __upgrade_lost=["cp2"])
    assert told.startswith("5/9 controllers: cp2 cannot be reached any more.")


def test_a_host_that_is_not_to_be_confirmed_has_no_timer(tmp_path: Path) -> None:
    given = {**act("etcd", *MEMBERS), "confirmed": ["cp2"]}
    assert value("{{ __upgrade_timed }}", tmp_path, **known(given, "cp2")) is True
    assert value("{{ __upgrade_timed }}", tmp_path, **known(given, "cp1")) is False


def test_who_has_policies_in_the_way_of_that_pod_is_told_how_to_do_without(tmp_path: Path) -> None:
    reach, remove = yaml.safe_load((TASKS / "probe.yml").read_text())
    assert remove["node_probe"]["state"] == "absent"
    given = known(act("nodes", "w1"), "w1", ansible_failed_result={"msg": "timed out"}, __upgrade_neighbour="w2")
    told = value(reach["rescue"][0]["ansible.builtin.fail"]["msg"], tmp_path, **given)
    assert told.startswith("a pod in kube-system on w1 could not be reached from w2: timed out. ")
    assert "upgrade_probe_nodes: false" in told


def test_a_pod_is_reached_from_a_node_that_has_no_turn_and_can_be_reached(tmp_path: Path) -> None:
    there = {"ansible_facts": {"kubeproof_host": {"arch": "amd64"}}}
    hostvars = {
        name: {**({} if name == "cp1" else there), "inventory_hostname": name} for name in (*MEMBERS, "w1", "w2")
    }
    given = {
        **known(act("nodes", "w1"), "w1"), "hostvars": hostvars, "ansible_play_batch": ["w1"],
        "__cluster_nodes": [*MEMBERS, "w1", "w2"],
    }  # fmt: skip
    assert value("{{ __upgrade_neighbours }}", tmp_path, **given) == ["cp2", "cp3", "w2"]
