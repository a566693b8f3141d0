"""Damage to a running cluster: a plan lists its repair, one run makes it, and nothing else is touched.

Each test breaks one thing on one host, the last ones several at once, chosen at random. Prints a table at its end: what
was broken, what the plan listed, how long plan and run took; and the seed of what was chosen.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.disaster.local_cluster import LocalCluster, small_cluster
from tests.local.snapshots import Snapshot

from kubeproof.install import playbook

pytestmark = [pytest.mark.local, pytest.mark.cluster]

HOSTS = ("cp1", "w1")
# Of units of ours, by their files.
_UNITS = "$(cd /etc/systemd/system && ls *.service)"
_STARTED = re.compile(r"(?P<unit>\S+\.service): (re)?started: ")
# What a component stores, and what is noted of each start, and of each installed file and program (its inode among
# that).
_STORED = re.compile(
    r"files: (\w+: )?/(var/(lib|log|backups)/(etcd|kubelet|containerd|cni|kubernetes)"
    r"|var/lib/kubeproof/(units|settled|components\.json|program-versions\.json)|opt/containerd"
    r"|var/log/(pods|containers|kubernetes)|root/)"
)
# Not compared: containers and their addresses, which belong to the cluster and not to the installation; and what
# grows by itself.
_COMPARED = ("files", "unit_files", "users", "groups", "routes", "rules", "sysctls", "listeners")
# Of a pod's network.
_PODS = re.compile(r"(routes|sysctls): .*\bveth")
# Issued again, with other content, if it is lost.
_ISSUED = re.compile(r"files: (\S+\.(crt|key)): (\S+ \S+) \w+ => \3 \w+")
_SEED = "KUBEPROOF_DAMAGE_SEED"
_ROUNDS = 4
_AT_ONCE = 6
_NEVER = "(?!)"


@dataclass(frozen=True)
class Damage:
    """One thing that is broken, by a command on a host or by kubectl."""

    name: str
    host: str
    command: str = ""
    kubectl: tuple[str, ...] = ()
    planned: str = field(kw_only=True)
    """What a line of the plan for this host must match (a regular expression)."""
    mended: frozenset[str] = frozenset()
    """Units, with their hosts, that something else than the run restarts: the node's reconciler, or systemd."""
    later: str = _NEVER
    """What the plan can only say it does not know yet: lines of the run (a regular expression)."""
    left: str = _NEVER
    """What is rightly not as before (a regular expression)."""

    def do(self, cluster: LocalCluster) -> None:
        """Break it."""
        if self.command:
            cluster.on(self.host, self.command)
        if self.kubectl:
            cluster.kubectl(*self.kubectl)

    def listed(self, run: playbook.Run) -> list[str]:
        """What a run has changed on its host, or would."""
        return [line for change in run.profile["changes"] for line in change["what"] if change["host"] == self.host]


DAMAGES = [
    Damage("configuration deleted", "w1", "rm /etc/kubernetes/kubelet/config.yaml", planned="kubelet/config.yaml"),
    Damage("configuration emptied", "cp1", ": > /etc/etcd/etcd.yaml", planned="etcd.yaml"),
    Damage(
        "configuration with garbage",
        "cp1",
        "echo '}' >> /etc/kubernetes/apiserver/encryption.yaml",
        planned="apiserver/encryption.yaml",
    ),
    Damage(
        "secret readable by everyone",
        "cp1",
        "chmod 0644 /etc/kubernetes/apiserver/encryption.yaml",
        planned="apiserver/encryption.yaml",
    ),
    Damage(
        "file of another owner",
        "w1",
        "chown 4321:4321 /etc/kubernetes/kube-proxy/config.yaml",
        planned="kube-proxy/config.yaml",
    ),
    Damage("directory open to everyone", "w1", "chmod 0777 /etc/kubernetes/kubelet", planned="/etc/kubernetes/kubelet"),
    Damage("certificate deleted", "w1", "rm /etc/kubernetes/kubelet/server.crt", planned=r"kubelet/server\.crt"),
    Damage(
        "certificate with garbage",
        "w1",
        "echo garbage > /etc/kubernetes/kube-proxy/client.crt",
        planned=r"kube-proxy/client\.crt",
    ),
    Damage("key deleted", "cp1", "rm /etc/etcd/pki/peer.key", planned="peer"),
    Damage(
        "key with garbage", "w1", "echo garbage > /etc/kubernetes/kube-proxy/client.key", planned="kube-proxy/client"
    ),
    Damage("CA's certificate deleted", "w1", "rm /etc/kubernetes/pki/ca.crt", planned=r"ca\.crt"),
    Damage("kubeconfig deleted", "w1", "rm /etc/kubernetes/kubelet/kubeconfig", planned="kubelet/kubeconfig"),
    Damage("program deleted", "w1", "rm /usr/local/bin/kube-proxy", planned="/usr/local/bin/kube-proxy"),
    Damage(
        "program replaced",
        "cp1",
        "install /bin/true /usr/local/bin/kube-scheduler",
        planned="/usr/local/bin/kube-scheduler",
    ),
    Damage(
        "program damaged in place",
        "w1",
        "printf x | dd of=/opt/cni/bin/bridge bs=1 seek=5000 conv=notrunc status=none",
        planned="/opt/cni/bin/bridge",
    ),
    Damage(
        "program crashes",
        "w1",
        "cd /usr/local/bin && mv kubelet kept && cp kept kubelet && truncate --size 5000 kubelet && rm kept "
        "&& systemctl kill --signal=KILL kubelet; sleep 2",
        planned="/usr/local/bin/kubelet",
        # systemd tries it again and again, and at last in the moment in which the program is whole again.
        mended=frozenset(["w1 kubelet.service"]),
    ),
    Damage("unit file deleted", "cp1", "rm /etc/systemd/system/etcd.service", planned="etcd.service"),
    Damage(
        "unit file edited",
        "w1",
        "sed -i 's/^Restart=always/Restart=no/' /etc/systemd/system/containerd.service && systemctl daemon-reload",
        planned="containerd.service",
    ),
    Damage(
        "unit stopped",
        "cp1",
        "systemctl stop kube-controller-manager",
        planned="kube-controller-manager.service: started",
    ),
    Damage("unit disabled", "w1", "systemctl disable kubelet", planned="kubelet.service: enabled"),
    Damage(
        "unit masked",
        "w1",
        "cd /etc/systemd/system && ln -sf /dev/null kube-proxy.service && systemctl daemon-reload "
        "&& systemctl stop kube-proxy",
        planned="kube-proxy.service",
    ),
    Damage(
        "timer stopped and disabled",
        "cp1",
        "systemctl disable --now etcd-backup.timer",
        planned=r"etcd-backup\.timer",
        # It takes the empty directory of links away, and the one that a run makes instead is the run's, which a reset
        # removes.
        left=r"cp1: files: /var/lib/kubeproof/manifest\.json: ",
    ),
    Damage(
        "CNI configuration deleted", "w1", "rm /etc/cni/net.d/10-kubeproof.conflist", planned="10-kubeproof.conflist"
    ),
    Damage(
        "routes and rules flushed, reconciler stopped",
        "w1",
        "systemctl stop kube-pod-network && ip route flush proto 86; nft flush ruleset",
        planned="kube-pod-network.service: started",
        # By the reconciler, once it runs again: kube-proxy does not see that its rules are gone.
        mended=frozenset(["w1 kube-proxy.service"]),
    ),
    Damage(
        "sysctl changed",
        "w1",
        "echo 0 > /proc/sys/net/bridge/bridge-nf-call-ip6tables; rm /etc/sysctl.d/99-zz-kubeproof.conf",
        planned="99-zz-kubeproof.conf",
        # The policy engine sets it, too, some seconds after its start.
        later=r"sysctl net\.bridge\..*",
    ),
    Damage(
        "configuration of kernel modules deleted",
        "w1",
        "rm /etc/modules-load.d/kubernetes.conf",
        planned="modules-load.d/kubernetes.conf",
    ),
    Damage(
        "process with older inputs than its files",
        "w1",
        "cd /etc/containerd && cp -a config.toml /root/kept && echo '# other' >> config.toml "
        "&& systemctl restart containerd && sleep 3 && mv /root/kept config.toml",
        planned="containerd.service: restarted: a file was changed after its start",
        # Its server for exec and logs has another port after each start.
        left=r"w1: listeners: (gone|new): tcp 127\.0\.0\.1:\d+ LISTEN",
    ),
    Damage(
        "image that may be removed",
        "w1",
        "ctr --address /run/containerd/containerd.sock --namespace k8s.io images label "
        "$(ctr --address /run/containerd/containerd.sock --namespace k8s.io images list --quiet | grep coredns) "
        "io.cri-containerd.pinned=",
        planned="coredns.* pinned",
    ),
    Damage(
        "image deleted",
        "w1",
        "ctr --address /run/containerd/containerd.sock --namespace k8s.io images rm "
        "$(ctr --address /run/containerd/containerd.sock --namespace k8s.io images list --quiet | grep coredns)",
        planned="coredns",
    ),
    Damage(
        "user deleted",
        "cp1",
        "sed -i '/^kube-scheduler:/d' /etc/passwd /etc/shadow",
        planned="user kube-scheduler",
        # It is now their last line.
        left=r"cp1: files: /etc/(passwd|shadow): ",
    ),
    Damage(
        "records of earlier runs deleted",
        "w1",
        "rm -r /var/lib/kubeproof/settled /var/lib/kubeproof/units",
        planned="kubelet.service: restarted: it was not started by kubeproof",
        # containerd's server for exec and logs has another port after each start.
        left=r"w1: listeners: (gone|new): tcp 127\.0\.0\.1:\d+ LISTEN",
    ),
    Damage(
        "taint removed",
        "cp1",
        kubectl=("taint", "node", "cp1", "node-role.kubernetes.io/control-plane-"),
        planned="Node cp1: tainted",
    ),
    Damage(
        "role binding deleted",
        "cp1",
        kubectl=("delete", "clusterrolebinding", "kubeproof:cluster-admins"),
        planned="kubeproof:cluster-admins",
    ),
    Damage(
        "Deployment deleted", "cp1", kubectl=("delete", "-n", "kube-system", "deployment", "coredns"), planned="coredns"
    ),
    # The last one: the bridge has the former network's address until the next pod.
    Damage(
        "Node deleted",
        "w1",
        kubectl=("delete", "node", "w1"),
        planned="kubelet.service: restarted",
        # By itself: kube-proxy ends when its node does (kubernetes/pkg/proxy/node.go).
        mended=frozenset(["w1 kube-proxy.service"]),
        # It gets another pod network.
        later=r"/etc/cni/net\.d/10-kubeproof\.conflist: content|/etc/kubernetes/pod-network/network\.json: content"
        r"|kube-pod-network\.service: reloaded: /etc/kubernetes/pod-network"
        # Where the run comes while it is down for that.
        r"|kube-proxy\.service: started.*",
        left=r"w1: files: /etc/cni/net\.d/10-kubeproof\.conflist: |w1: (routes|rules|sysctls): |cp1: (routes|rules): "
        r"|(cp1|w1): files: /etc/kubernetes/pod-network/network\.json: ",
    ),
]


@dataclass(frozen=True)
class Row:
    """What became of a damage."""

    damage: Damage
    planned: tuple[str, ...]
    plan_seconds: float
    run_seconds: float


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of one control-plane host and a worker."""
    with small_cluster(tmp_path_factory.mktemp("damage"), "kubeproof-damage", "10.213.247.0/24") as made:
        made.play("cluster")
        yield made


@pytest.fixture(scope="module")
def table() -> Iterator[list[Row]]:
    """Rows of all damages, printed at the end."""
    rows: list[Row] = []
    yield rows
    print("\n| damage | host | plan | plan, s | run, s |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        listed = "<br>".join(row.planned).replace("|", "\\|")
        print(f"| {row.damage.name} | {row.damage.host} | {listed} | {row.plan_seconds:.1f} | {row.run_seconds:.1f} |")


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name.replace(" ", "-"))
def test_a_run_repairs_it_as_planned_and_nothing_else(cluster: LocalCluster, table: list[Row], damage: Damage) -> None:
    before, hosts = starts(cluster), snapshots(cluster)
    damage.do(cluster)
    begun = time.monotonic()
    planned = cluster.part("--check")
    seconds = time.monotonic() - begun
    listed = damage.listed(planned)
    assert any(re.search(damage.planned, line) for line in listed), listed

    begun = time.monotonic()
    done = cluster.part()
    table.append(Row(damage, tuple(listed), seconds, time.monotonic() - begun))
    assert changes(planned, damage.mended, damage.later) == changes(done, damage.mended, damage.later)
    now = starts(cluster)
    assert {unit for unit in before if before[unit] != now.get(unit)} <= started(done) | damage.mended
    after = snapshots(cluster)
    left = [f"{host}: {line}" for host in HOSTS for line in hosts[host].changes(after[host])]
    explained = (_STORED.search, _ISSUED.search, _PODS.search, re.compile(damage.left).match)
    assert [line for line in left if not any(explains(line) for explains in explained)] == []


def test_an_unmounted_disk_is_named_and_nothing_begins_without_it(cluster: LocalCluster) -> None:
    """Of etcd's data. The plan is the refusal; once it is mounted again, a run starts what was stopped."""
    data, kept = "/var/lib/etcd", "/mnt/kept"
    cluster.on("cp1", f"systemctl stop etcd && mkdir {kept} && mount --bind {data} {kept} && umount {data}")
    try:
        for options in (["--check"], []):
            assert "[etcd-data-lost:" in cluster.part(*options, fails=True).log.read_text()
        assert cluster.on("cp1", f"ls {data}") == b""
    finally:
        cluster.on("cp1", f"mount --bind {kept} {data} && umount {kept} && rmdir {kept}")
    assert "cp1 etcd.service" in started(cluster.part())
    assert cluster.part("--check").profile["changes"] == []


@pytest.mark.parametrize("number", range(_ROUNDS))
def test_several_at_once_are_repaired_as_planned(cluster: LocalCluster, number: int) -> None:
    seed = os.environ.get(_SEED) or str(time.time_ns() % 2**32)
    # Without those whose repair no plan can know as a whole: it would not know what others break there, either.
    known = [damage for damage in DAMAGES if damage.later == _NEVER]
    chosen = random.Random(f"{seed}/{number}").sample(known, _AT_ONCE)  # noqa: S311  (no secret)
    print(f"{_SEED}={seed} {number}: {', '.join(damage.name for damage in chosen)}")
    # Those that take an API server first, and of them last the one that takes the rights to ask it.
    for damage in sorted(chosen, key=lambda damage: (not damage.kubectl, "clusterrolebinding" in damage.kubectl)):
        damage.do(cluster)
    planned = cluster.part("--check")
    done = cluster.part()
    assert components(planned) == components(done)
    assert {damage.host for damage in chosen} <= {host for host, _ in components(planned)}
    mended = frozenset[str]().union(*(damage.mended for damage in chosen))
    assert started(planned) - mended == started(done) - mended
    assert cluster.part("--check").profile["changes"] == []


def components(run: playbook.Run) -> set[tuple[str, str]]:
    """Hosts, each with a role that has changed something on it, or would."""
    return {(change["host"], change["role"]) for change in run.profile["changes"]}


def changes(run: playbook.Run, mended: frozenset[str], later: str = _NEVER) -> list[tuple[str, str, tuple[str, ...]]]:
    """What a run has changed, or would; in whichever order hosts came to it.

    Of units that something else restarts, too, only that they are started and not why. ``later``: lines left out.
    """

    def told(host: str, line: str) -> str:
        start = _STARTED.match(line)
        return start["unit"] if start and f"{host} {start['unit']}" in mended else line

    listed = (
        (change["host"], change["role"], [line for line in change["what"] if not re.fullmatch(later, line)])
        for change in run.profile["changes"]
    )
    return sorted((host, role, tuple(told(host, line) for line in lines)) for host, role, lines in listed if lines)


def started(run: playbook.Run) -> set[str]:
    """The units that a run says it has started or restarted, with their hosts."""
    found = ((change["host"], _STARTED.match(line)) for change in run.profile["changes"] for line in change["what"])
    return {f"{host} {match['unit']}" for host, match in found if match}


def starts(cluster: LocalCluster) -> dict[str, str]:
    """When each unit of ours was started, by systemd's own number for that.

    Those that a timer starts are left out: a backup is made at each full hour, whatever a run does then.
    """
    found = {}
    for host in HOSTS:
        asked = f"systemctl show --property=Id,InvocationID,TriggeredBy {_UNITS}"
        for block in cluster.on(host, asked).decode().split("\n\n"):
            unit = dict(line.split("=", 1) for line in block.splitlines() if line)
            if ".timer" not in unit["TriggeredBy"]:
                found[f"{host} {unit['Id']}"] = unit["InvocationID"]
    return found


def snapshots(cluster: LocalCluster) -> dict[str, Snapshot]:
    """The hosts, in what an installation is responsible for."""
    taken = {host: Snapshot.take(cluster.inventory.host(host)).sections for host in HOSTS}
    return {host: Snapshot({name: sections[name] for name in _COMPARED}) for host, sections in taken.items()}
