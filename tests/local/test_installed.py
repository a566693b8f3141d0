"""A run continues with the existing cluster, or is refused before it changes a host. One cluster, in this order."""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.disaster.local_cluster import LocalCluster, small_cluster

from kubeproof.cli.main import main
from kubeproof.core import paths, waiting
from kubeproof.core.active_run import ActiveRun, Machine, Process
from kubeproof.install import playbook

pytestmark = [pytest.mark.local, pytest.mark.cluster]

HOSTS = ("cp1", "w1")

more = functools.partial(pytest.param, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of one control-plane host and a worker."""
    with small_cluster(tmp_path_factory.mktemp("installed"), "kubeproof-there", "10.213.248.0/24") as made:
        yield made


def refused(cluster: LocalCluster, reason: str, leaders: bool = True, /, **variables: Any) -> None:
    """A run is refused for a reason, and nothing is touched.

    ``leaders``: whether controller manager and scheduler count, which end by themselves when they can't keep their
    leases, as without etcd.
    """
    before = processes(cluster, leaders=leaders), contents(cluster)
    cluster.refused("cluster", **variables)
    found = findings(cluster)
    assert reason in found, found
    assert (processes(cluster, leaders=leaders), contents(cluster)) == before


def processes(cluster: LocalCluster, *, leaders: bool) -> dict[str, list[str]]:
    """The components' main processes, in the order of the cluster's units; with those that hold leases or without."""
    left_out = set() if leaders else {2, 3}
    found = cluster.processes(HOSTS)
    return {host: [pid for at, pid in enumerate(pids) if at not in left_out] for host, pids in found.items()}


def findings(cluster: LocalCluster) -> set[str]:
    """What the preflight had against the hosts."""
    document = json.loads((cluster.inventory.state / "reports" / "preflight-hosts.json").read_text())
    return {f"{entry['id']} {entry['host']}" for entry in document["findings"] if entry["severity"] == "error"}


def contents(cluster: LocalCluster) -> dict[str, bytes]:
    """The cluster's keys on the controller."""
    directory = cluster.inventory.state / "pki"
    return {path.name: path.read_bytes() for path in directory.glob("[!.]*")}


def test_another_host_of_etcd_makes_no_second_one(cluster: LocalCluster) -> None:
    document = yaml.safe_load(cluster.path.read_text())
    etcd = document["all"]["children"]["etcd"]["hosts"]
    try:
        # One, so that there is no third host to make; an even number of members is a finding of its own.
        etcd["w1"] = {}
        cluster.path.write_text(yaml.safe_dump(document))
        refused(cluster, "etcd-stranger w1", preflight_ignore=["etcd-members"])
    finally:
        del etcd["w1"]
        cluster.path.write_text(yaml.safe_dump(document))
    assert cluster.on("w1", "ls -d /etc/etcd /var/lib/etcd/member 2> /dev/null || true") == b""


def test_another_directory_makes_no_empty_one(cluster: LocalCluster) -> None:
    refused(cluster, "etcd-data-directory cp1", etcd_data_directory="/data/etcd")
    assert cluster.on("cp1", "ls -d /data 2> /dev/null || true") == b""


@pytest.mark.parametrize(
    ("name", "value", "host"),
    [
        ("cluster_pod_network", "10.245.0.0/16", "cp1"),
        ("containerd_root_directory", "/srv/containerd", "w1"),
        more("cluster_name", "other", "cp1"),
        more("cluster_service_network", "10.97.0.0/16", "cp1"),
        more("cluster_domain", "example.org", "w1"),
    ],
)
def test_what_a_cluster_keeps_is_not_changed(cluster: LocalCluster, name: str, value: str, host: str) -> None:
    refused(cluster, f"installed-setting {host}", **{name: value})


def test_other_versions_are_no_run_s_to_install(cluster: LocalCluster) -> None:
    recorded = "/var/lib/kubeproof/components.json"
    cluster.on("w1", f"""sed -i 's/"runc": "[^"]*"/"runc": "0.0.1"/' {recorded}""")
    refused(cluster, "version-change w1")
    assert cluster.play("cluster", preflight_allow_version_change=True).count("changed") == 0
    assert b'"runc": "0.0.1"' not in cluster.on("w1", f"cat {recorded}")


def test_a_run_of_another_controller_is_left_alone_until_it_has_ended(cluster: LocalCluster) -> None:
    runs, host = "/var/lib/kubeproof/runs", "w1"
    assert cluster.on(host, f"ls {runs}") == b"", "the last run has not released the host"
    here = ActiveRun.new("ansible-playbook playbooks/cluster.yml", Process.of(os.getpid()))
    away = replace(here, id="away", machine=Machine("ctl2", "b" * 32, "boot", "pid:[1]"))
    cluster.on(host, f"echo {shlex.quote(json.dumps(away.data()))} > {runs}/away.json")
    refused(cluster, "other-run settings")
    assert cluster.part("--check").count("changed") == 0
    cluster.on(host, f"touch -d '-31 min' {runs}/away.json")
    assert cluster.play("cluster").count("changed") == 0
    # Its record goes with the next change: a host where everything is settled is only looked at.
    cluster.part("--tags", "kubelet", "--limit", host, kubelet_max_pods=61)
    assert cluster.on(host, f"ls {runs}") == b""
    cluster.play("cluster")


def test_keys_that_the_controller_has_lost_are_not_made_again_and_come_back(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    before = contents(cluster)
    shutil.move(cluster.inventory.state / "pki", tmp_path / "pki")
    refused(cluster, "authorities-lost w1")
    assert not (cluster.inventory.state / "pki").exists()

    assert main(["backup", "keys", "--inventory", str(cluster.path)]) == 0
    assert contents(cluster) == before
    assert cluster.play("cluster").count("changed") == 0


def test_a_member_whose_disk_is_not_mounted_begins_nothing(cluster: LocalCluster) -> None:
    before = cluster.uids()
    cluster.on(
        "cp1",
        "systemctl stop etcd; mkdir /srv/disk; mv /var/lib/etcd/member /srv/disk; systemctl start --no-block etcd",
    )
    said = (
        "journalctl --quiet --unit etcd --since -1min --output cat --grep 'its data is not there: is its disk mounted'"
    )
    assert waiting.until(lambda: cluster.on("cp1", f"{said} || true"), 20, pause=1)
    assert cluster.on("cp1", "ls /var/lib/etcd") == b""
    refused(cluster, "etcd-data-lost cp1", False)
    assert cluster.on("cp1", "ls /var/lib/etcd") == b""

    # It continues by itself as soon as the disk is there.
    cluster.on("cp1", "mv /srv/disk/member /var/lib/etcd; rmdir /srv/disk")
    assert waiting.until(lambda: cluster.on("cp1", "systemctl is-active etcd || true") == b"active\n", 30, pause=1)
    assert cluster.play("cluster").count("changed") == 0
    assert before.items() <= cluster.uids().items()


def test_what_is_up_before_the_api_server_waits_for_it(cluster: LocalCluster) -> None:
    """As at the boot of a machine where the API server is long in answering: nothing ends and is started again."""
    units = {
        "cp1": "kube-controller-manager kube-scheduler",
        "w1": "kubelet kube-proxy kube-pod-network kube-network-policy",
    }

    def started_again() -> bool:
        counts = (
            cluster.on(host, f"systemctl show --value --property=NRestarts {names}") for host, names in units.items()
        )
        return any(set(count.split()) != {b"0"} for count in counts)

    cluster.on("cp1", "systemctl stop kube-apiserver")
    try:
        for host, names in units.items():
            cluster.on(host, f"systemctl restart {names}")
        # Without --authentication-skip-lookup the controller manager ends after 30 seconds.
        assert not waiting.until(started_again, 45, pause=3)
    finally:
        cluster.on("cp1", "systemctl start kube-apiserver")
    assert cluster.play("cluster").count("changed") == 0
    assert not started_again()


def test_a_node_that_is_gone_comes_back(cluster: LocalCluster) -> None:
    cluster.fill()
    before = cluster.processes(HOSTS)
    cluster.kubectl("delete", "node", "w1")

    cluster.play("cluster")

    after = cluster.processes(HOSTS)
    kubelet = 4
    assert after["cp1"] == before["cp1"]
    assert [number for number, pid in enumerate(after["w1"]) if pid != before["w1"][number]] == [kubelet]
    # It has been given another network, which its bridge has to follow.
    cluster.fill()
    network = cluster.kubectl("get", "node", "w1", "--output=jsonpath={.spec.podCIDR}")
    assert f" {network.removesuffix('.0/24')}.1/24 " in cluster.on("w1", "ip -4 -oneline address show cni0").decode()
    assert cluster.play("cluster").count("changed") == 0


def test_a_part_of_a_cluster_is_converged_alone(cluster: LocalCluster, tmp_path: Path) -> None:
    """By a tag one component, by a limit one host; texts for numbers are taken."""
    before = cluster.processes(HOSTS)
    changed: dict[str, Any] = {"kubelet_max_pods": "60", "balancer_check_interval": "1500"}
    assert cluster.part("--tags", "kubelet", "--limit", "w1", **changed).count("changed") > 0
    assert b"maxPods: 60" in cluster.on("w1", "cat /etc/kubernetes/kubelet/config.yaml")
    for host, path in (("cp1", "kubelet/config.yaml"), ("w1", "balancer/haproxy.cfg")):
        assert not {b"60", b"1500ms"} & set(cluster.on(host, f"cat /etc/kubernetes/{path}").split()), (
            f"{path} of {host}"
        )
    after = cluster.processes(HOSTS)
    kubelet = 4
    assert after["cp1"] == before["cp1"]
    assert [number for number, pid in enumerate(after["w1"]) if pid != before["w1"][number]] == [kubelet]

    # What the host's operator puts beside a unit is an input of it.
    cluster.on("w1", "mkdir /etc/systemd/system/kubelet.service.d")
    cluster.on("w1", "printf '[Service]\\nEnvironment=MINE=1\\n' > /etc/systemd/system/kubelet.service.d/mine.conf")
    # A template of the cluster's own takes the place of the role's.
    template = tmp_path / "kubelet" / "etc" / "systemd" / "system" / "kubelet.service.j2"
    template.parent.mkdir(parents=True)
    role = paths.PROJECT / "roles" / "kubelet" / "templates" / "etc" / "systemd" / "system" / template.name
    template.write_text(f"# This cluster's own.\n{role.read_text()}")
    own: dict[str, Any] = {"cluster_template_overrides": str(tmp_path)}
    cluster.part("--tags", "kubelet", **own)
    assert cluster.on("w1", "head -1 /etc/systemd/system/kubelet.service") == b"# This cluster's own.\n"
    environment = cluster.on(
        "w1", "tr '\\0' '\\n' < /proc/$(systemctl show --value --property=MainPID kubelet)/environ"
    )
    assert b"MINE=1" in environment.splitlines()
    assert b"maxPods: 110" in cluster.on("w1", "cat /etc/kubernetes/kubelet/config.yaml")
    cluster.on("w1", "rm -r /etc/systemd/system/kubelet.service.d")
    cluster.play("cluster")
    assert cluster.play("cluster").count("changed") == 0


def test_a_look_changes_nothing_and_neither_does_a_run_on_one_host(cluster: LocalCluster) -> None:
    before = cluster.processes(HOSTS)
    assert cluster.part("--check", "--diff").count("changed") == 0
    assert cluster.part("--limit", "w1").count("changed") == 0
    # What is to change is listed, and not done.
    look = cluster.part("--check", "--diff", "--tags", "kubelet", kubelet_max_pods=70)
    assert look.count("changed") > 0
    assert "w1: +maxPods: 70" in look.log.read_text()
    assert b"maxPods: 110" in cluster.on("w1", "cat /etc/kubernetes/kubelet/config.yaml")
    assert cluster.processes(HOSTS) == before


def roles(run: playbook.Run) -> set[str]:
    """Those of which a task was begun."""
    return {str(phase["role"]) for phase in run.profile["phases"]}


def test_a_cluster_at_rest_is_asked_for_what_is_in_the_api(cluster: LocalCluster) -> None:
    """And for everything, as soon as anything of its hosts or its settings is not as it was."""
    asked_each_time, of_hosts = {"access", "dns", "nodes"}, {"host", "etcd", "kubelet", "pod_network", "backup"}
    cluster.play("cluster")
    assert cluster.play("cluster").count("changed") == 0
    at_rest = cluster.play("cluster")
    assert asked_each_time <= roles(at_rest)
    assert not of_hosts & roles(at_rest)
    assert not of_hosts & roles(cluster.part("--check", "--diff"))

    taint = "node-role.kubernetes.io/control-plane"
    cluster.kubectl("taint", "node", "cp1", f"{taint}-")
    mended = cluster.play("cluster")
    assert (mended.count("changed"), of_hosts & roles(mended)) == (1, set())
    assert taint in cluster.kubectl("get", "node", "cp1", "--output=jsonpath={.spec.taints[*].key}")

    cluster.on("w1", "systemctl stop kube-proxy; chmod 0777 /etc/kubernetes/kubelet")
    assert of_hosts <= roles(cluster.part("--limit", "w1", "--check")) | {"etcd", "backup"}
    mended = cluster.play("cluster")
    assert (mended.count("changed"), of_hosts <= roles(mended)) == (2, True)
    assert not of_hosts & roles(cluster.play("cluster"))
    assert of_hosts <= roles(cluster.part("--check", cluster_http_proxy="http://10.0.0.1:3128"))


def test_a_setting_is_asked_of_the_components_that_it_reaches(cluster: LocalCluster) -> None:
    """Nothing else has changed since a run that found nothing to do."""
    cluster.play("cluster")
    cluster.play("cluster")
    others = {"host", "etcd", "apiserver", "containerd", "kube-proxy", "pod_network", "backup"}
    plan = cluster.part("--check", "--diff", kubelet_max_pods=72)
    assert ("kubelet" in roles(plan), others & roles(plan)) == (True, set())
    run = cluster.part(kubelet_max_pods=72)
    assert (changes(run), others & roles(run)) == (changes(plan), set())
    assert {role for _, role, _ in changes(run)} == {"kubelet"}
    assert b"maxPods: 72" in cluster.on("w1", "cat /etc/kubernetes/kubelet/config.yaml")
    # What has been written is asked for once more, and by all.
    back = cluster.play("cluster")
    assert {"kubelet"} | others <= roles(back)
    assert b"maxPods: 110" in cluster.on("w1", "cat /etc/kubernetes/kubelet/config.yaml")


def changes(run: playbook.Run) -> list[tuple[str, str, tuple[str, ...]]]:
    """What a run has changed, or would."""
    # In whichever order hosts came to it.
    return sorted((change["host"], change["role"], tuple(change["what"])) for change in run.profile["changes"])


@pytest.mark.parametrize(
    ("damage", "variables"),
    [
        ({}, {"kubelet_max_pods": 71, "apiserver_extra_args": {"max-requests-inflight": "399"}}),
        ({"w1": "systemctl disable --now kube-proxy"}, {"containerd_extra_config": {"oom_score": -500}}),
        more({}, {"etcd_extra_config": {"snapshot-count": 20000}, "balancer_check_interval": 1900}),
        more({"w1": "rm /etc/kubernetes/kube-proxy/config.yaml; chmod 0755 /etc/kubernetes/kubelet"}, {}),
        more({"cp1": "rm /etc/kubernetes/operator/client.crt; install /bin/true /usr/local/bin/kube-scheduler"}, {}),
        more({"cp1": "systemctl stop kube-controller-manager; rm /etc/systemd/system/etcd.service"}, {}),
    ],
)  # fmt: skip
def test_a_plan_is_what_the_run_does(cluster: LocalCluster, damage: dict[str, str], variables: dict[str, Any]) -> None:
    """No more and no less, after changes of settings and on hosts; and the run after it changes nothing."""
    for host, command in damage.items():
        cluster.on(host, command)
    before = cluster.processes(HOSTS)
    planned = cluster.part("--check", **variables)
    assert cluster.processes(HOSTS) == before
    done = cluster.part(**variables)
    assert changes(planned) == changes(done)
    assert changes(done)
    assert changes(cluster.part("--check", **variables)) == []
    assert cluster.part(**variables).count("changed") == 0


def test_a_plan_for_a_worker_that_is_new_lists_what_the_run_installs(cluster: LocalCluster) -> None:
    """Nothing is there yet of what it would ask: runtime, checkers of configurations, CAs."""
    cluster.kubectl("delete", "node", "w1")
    cluster.lose(["w1"], {})
    planned = cluster.part("--check")
    assert {host for host, _, _ in changes(planned)} >= {"w1"}
    done = cluster.part()
    of_worker = [{role for host, role, _ in changes(run) if host == "w1"} for run in (planned, done)]
    assert of_worker[0] == of_worker[1]
    assert cluster.part().count("changed") == 0


def test_a_run_that_starts_in_the_middle_says_what_it_lacks(cluster: LocalCluster) -> None:
    ended = cluster.part("--start-at-task", "Install the kubelet", fails=True)
    assert "this run has not gathered the facts of this host" in ended.log.read_text()
