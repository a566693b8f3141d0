"""A reset leaves hosts as they were found, whatever happened between."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.local.session import Session
from tests.local.snapshots import Snapshot, differences

from kubeproof.core import debian, paths, process
from kubeproof.install import playbook
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import plan
from kubeproof.settings import inventory, state
from kubeproof.settings.remote import ssh_command

pytestmark = [pytest.mark.local, pytest.mark.cluster]

# What a host may have had before: things of the same kinds as ours, beside ours, and under the names of ours.
LIVED_IN = r"""
set -eu
mkdir -p /srv/data/sub && echo precious | tee /srv/data/file > /srv/data/sub/file
for file in 99-zz-kubeproof 99-kubernetes; do
  echo '# a file that an install replaces, or removes' > /etc/sysctl.d/$file.conf
  chmod 0640 /etc/sysctl.d/$file.conf
done
mkdir -m 0700 -p /etc/cni/net.d
useradd --system --user-group kube-proxy

mkdir -p /usr/local/lib/systemd/system
printf '[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' \
  > /usr/local/lib/systemd/system/kube-balancer.service
systemctl daemon-reload
systemctl enable --quiet --now kube-balancer.service

ip link add house type bridge
# No address of its own making: it would come a second later, in the midst of a comparison.
ip link set house addrgenmode none
ip link set house up
ip netns add house
ip route add blackhole 192.0.2.0/24 proto static
sysctl --quiet net.ipv4.ip_forward=0
nft --file - <<'END'
table inet house {
  chain input {
    type filter hook input priority 5
    tcp dport 9 counter drop
  }
}
END
iptables -A INPUT -p tcp --dport 9 -j ACCEPT
"""

# On w1 these are missing, and come from a repository on the host itself: with a service of its own that nobody wants.
MISSING = ("haproxy", "liblua5.3-0", "conntrack")
REPOSITORY = r"""
set -eu
cd /srv/repository
for package in *.deb; do
  dpkg-deb --field "$package"
  printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' \
    "$package" "$(stat --format=%s "$package")" "$(sha256sum "$package" | cut -d' ' -f1)"
done > Packages
rm -f /etc/apt/sources.list
echo 'deb [trusted=yes] file:/srv/repository ./' > /etc/apt/sources.list.d/repository.list
# The image switches this off by preset; other systems do not.
rm /etc/systemd/system-preset/10-kubeproof.preset
dpkg --purge MISSING > /dev/null
"""

# What an operator installs by himself, between two runs.
BY_HAND = r"""
set -eu
cd "$(mktemp -d)"
mkdir -p mine/DEBIAN mine/usr/lib/mine && touch mine/usr/lib/mine/file
printf 'Package: mine\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n' > mine/DEBIAN/control
dpkg-deb --build mine > /dev/null && dpkg --install mine.deb > /dev/null
cd / && rm -r "$OLDPWD"
"""

WORKLOAD = """
apiVersion: v1
kind: Pod
metadata: {{name: workload}}
spec:
  nodeName: w1
  containers:
    - name: main
      image: {image}
      args: [-conf, /dev/null, -dns.port, "5353"]
      ports:
        - {{containerPort: 5353, hostPort: 5399, protocol: UDP}}
      volumeMounts:
        - {{name: memory, mountPath: /memory}}
        - {{name: precious, mountPath: /precious}}
        - {{name: precious, mountPath: /precious-sub, subPath: sub}}
  volumes:
    - {{name: memory, emptyDir: {{medium: Memory}}}}
    - {{name: precious, hostPath: {{path: /srv/data, type: Directory}}}}
"""

# When a reset is killed, as tests of a shell: units stopped, network gone, data gone, files gone, users gone.
POINTS = [
    "! pgrep -x kubelet",
    "! test -e /sys/class/net/cni0",
    "! test -e /var/lib/kubelet/pods",
    "! test -e /etc/kubernetes/kubelet",
    "! id kube-balancer",
]
# Ansible's is the only Python on these hosts.
KILLER = """
echo ready
while (( SECONDS < 60 )); do
  if {point} &> /dev/null && pkill -9 -x python3; then exit 0; fi
  sleep 0.01
done
exit 1
"""

KUBECTL = (
    "kubectl --cache-dir /tmp/kubectl --server https://127.0.0.1:6443"
    " --certificate-authority /etc/kubernetes/pki/ca.crt"
    " --client-certificate /etc/kubernetes/operator/client.crt --client-key /etc/kubernetes/operator/client.key"
)


@dataclass(frozen=True)
class Cluster:
    """The hosts of an inventory."""

    path: Path

    @property
    def hosts(self) -> dict[str, inventory.Host]:
        return dict(inventory.load(self.path).hosts)

    def on(self, name: str, script: str) -> str:
        """Output of a shell script that runs on a host."""
        return process.run([*ssh_command(self.hosts[name]), "bash", "-s"], stdin=script, timeout=120)

    def play(self, name: str, *arguments: str) -> playbook.Run:
        return playbook.run(name, self.path, self.path.parent / state.NAME, arguments)

    def reset(self, *arguments: str) -> playbook.Run:
        return self.play("reset", "--extra-vars", "reset_confirmed=true", *arguments)

    def snapshots(self) -> dict[str, Snapshot]:
        return {name: Snapshot.take(host) for name, host in self.hosts.items()}

    def changes(self, before: dict[str, Snapshot]) -> list[str]:
        """What is different on which host."""
        return differences(before, self.snapshots())

    def take_packages(self) -> None:
        """Have packages missing on w1, and a repository that has them, without a server."""
        layout = "${Package}_${Version}_${Architecture}.deb\n"
        names = self.on("w1", f"dpkg-query --show --showformat '{layout}' {' '.join(MISSING)}").split()
        debs_directory = debian.packages_directory(
            paths.cache_directory(), plan(inventory.load(self.path)).hosts[0].system.suite
        )
        debs = [debs_directory / name.replace(":", "%3a") for name in names]
        self.on("w1", "mkdir -p /srv/repository")
        for deb in debs:
            with deb.open("rb") as stream:
                target = f"cat > /srv/repository/{shlex.quote(deb.name)}"
                subprocess.run([*ssh_command(self.hosts["w1"]), target], stdin=stream, check=True)
        self.on("w1", REPOSITORY.replace("MISSING", " ".join(MISSING)))

    def run_workload(self) -> None:
        """Have a pod on w1 with all that reaches out of a pod: a port of the host, directories of it, memory."""
        image = self.on("cp1", f"{KUBECTL} -n kube-system get deployment coredns -o jsonpath={{..image}}")
        self.on("cp1", f"{KUBECTL} apply -f - <<'END'\n{WORKLOAD.format(image=image)}\nEND")
        self.on("cp1", f"{KUBECTL} wait --for=condition=Ready --timeout=60s pod/workload")
        assert "5399" in self.on("w1", "iptables-save"), "the workload's port is not mapped"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, system: str) -> Iterator[Cluster]:
    """Two hosts, one of them as somebody has used it, and nothing of ours on them."""
    path = tmp_path_factory.mktemp("reset") / "hosts.yml"
    document = yaml.safe_load((paths.PROJECT / "inventory" / "test" / "hosts.yml").read_text())
    network = {"name": "kubeproof-undone", "subnet": "10.213.249.0/24"}
    document["all"]["vars"] |= {"local_host_network": network, "local_host_system": system}
    document["all"]["children"] = {
        "control_plane": {"hosts": {"cp1": {"ansible_host": "10.213.249.11"}}},
        "etcd": {"hosts": {"cp1": {}}},
        "workers": {"hosts": {"w1": {"ansible_host": "10.213.249.21"}}},
    }
    path.write_text(yaml.safe_dump(document))
    made = plan(inventory.load(path))
    found = Cluster(path)
    try:
        lifecycle.create(made, print)
        found.on("w1", LIVED_IN)
        found.take_packages()
        yield found
    finally:
        lifecycle.destroy(made, print)


@pytest.fixture(scope="module")
def before(cluster: Cluster) -> dict[str, Snapshot]:
    """The hosts as they were found."""
    return cluster.snapshots()


def test_a_host_that_never_had_a_cluster_is_left_alone(cluster: Cluster, before: dict[str, Snapshot]) -> None:
    reset = cluster.reset()
    assert reset.ok
    assert reset.count("changed") == 0
    assert cluster.changes(before) == []


def test_nothing_happens_without_confirmation(cluster: Cluster, before: dict[str, Snapshot]) -> None:
    assert not cluster.play("reset").ok
    assert cluster.changes(before) == []


def test_hosts_are_left_as_they_were_found(cluster: Cluster, before: dict[str, Snapshot]) -> None:
    assert cluster.play("cluster").ok
    assert cluster.on("w1", "systemctl is-enabled haproxy; systemctl is-active haproxy; :").split() == [
        "disabled", "inactive"
    ], "a second haproxy"  # fmt: skip
    cluster.run_workload()
    assert cluster.changes(before), "the snapshots do not even see a cluster"

    with Session(cluster.hosts["cp1"]) as one, Session(cluster.hosts["w1"]) as other:
        reset = cluster.reset()
    assert reset.ok
    assert cluster.changes(before) == []
    for session in (one, other):
        assert session.answers > 10
        assert session.longest_silence < 3
    again = cluster.reset()
    assert again.ok
    assert again.count("changed") == 0


@pytest.mark.slow
def test_a_killed_reset_is_finished_by_the_next_and_others_things_stay(
    cluster: Cluster, before: dict[str, Snapshot]
) -> None:
    assert cluster.play("cluster").ok, "a cluster can be installed again"
    cluster.run_workload()
    cluster.on("w1", "echo mine > /etc/kubernetes/notes.txt; mkdir /opt/cni/bin/theirs; echo > /var/lib/cni/networks/x")

    for point in POINTS:
        kill_reset(cluster, point)
    reset = cluster.reset()
    assert reset.ok
    assert "others put something in it: notes.txt" in reset.log.read_text()

    assert {change.split(" d")[0].split(" -")[0] for change in cluster.changes(before)} == {
        f"w1: files: new: {path}"
        for path in (
            "/etc/kubernetes", "/etc/kubernetes/notes.txt", "/opt/cni", "/opt/cni/bin", "/opt/cni/bin/theirs",
            "/var/lib/cni", "/var/lib/cni/networks", "/var/lib/cni/networks/x",
        )
    }  # fmt: skip
    cluster.on("w1", "rm -r /etc/kubernetes /opt/cni /var/lib/cni")
    assert cluster.changes(before) == []


@pytest.mark.slow
def test_what_somebody_installs_or_comes_to_use_is_theirs(cluster: Cluster, before: dict[str, Snapshot]) -> None:
    assert cluster.play("cluster").ok
    cluster.on("w1", BY_HAND + "echo '# mine' >> /etc/haproxy/haproxy.cfg")
    assert cluster.play("cluster").ok

    reset = cluster.reset()
    assert reset.ok
    told = reset.log.read_text()
    assert "its configuration was changed: /etc/haproxy/haproxy.cfg" in told
    states = cluster.on(
        "w1", "dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' mine haproxy conntrack; :"
    )
    assert states.split() == ["haproxy", "installed", "mine", "installed"]

    cluster.on("w1", "dpkg --purge mine haproxy liblua5.3-0")
    assert cluster.changes(before) == []


def test_hosts_that_are_down_do_not_hold_up_the_others(cluster: Cluster, before: dict[str, Snapshot]) -> None:
    document = yaml.safe_load(cluster.path.read_text())
    document["all"]["children"]["workers"]["hosts"]["w9"] = {"ansible_host": "10.213.249.99"}
    more = Cluster(cluster.path.with_name("more.yml"))
    more.path.write_text(yaml.safe_dump(document))
    cluster.on("cp1", "mkdir /var/lib/kubeproof")

    reset = more.reset("--extra-vars", "reset_state=true")
    assert not reset.ok
    assert "Not reset: w9." in reset.log.read_text()
    assert (cluster.path.parent / state.NAME / "pki").is_dir(), "a host still has certificates of these authorities"
    assert cluster.changes(before) == []


def test_the_controller_forgets_the_cluster_only_if_told_to(cluster: Cluster) -> None:
    kept = cluster.path.parent / state.NAME
    assert cluster.reset().ok
    assert (kept / "pki").is_dir()
    assert (kept / "admin.kubeconfig").is_file()
    assert cluster.reset("--extra-vars", "reset_state=true").ok
    left = {path.name for path in kept.iterdir()}
    assert "backup-identity.txt" in left, "backups that are kept elsewhere can't be opened any more"
    # Else that of the local hosts themselves, and of this very run.
    assert left <= {".gitignore", "backup-identity.txt", "ssh", "logs", "reports"}


def kill_reset(cluster: Cluster, point: str) -> None:
    """Kill a reset at work on each host, as soon as a test of a shell is true there."""
    killers = [
        subprocess.Popen(
            [*ssh_command(host), KILLER.format(point=point)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # Of its own: ssh makes it non-blocking, with which Ansible does not start.
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for host in cluster.hosts.values()
    ]
    for killer in killers:
        # A login can take longer than a reset.
        assert killer.stdout
        assert killer.stdout.readline() == "ready\n"
    reset = cluster.reset()
    assert [killer.wait(timeout=60) for killer in killers] == [0] * len(killers), f"not killed when {point}"
    assert not reset.ok
