"""Hosts whose system cannot be changed: that all of the cluster is elsewhere, and works."""

from __future__ import annotations

import pytest

from kubeproof.verify.act.pods import Pod
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable, on_hosts

# access(2), which denies root nothing but what the file system does: nothing is written where it can be.
_READ_ONLY = "test ! -w /usr"
# Executables of the units that kubeproof installed, and files that it made, where they really are.
_UNITS = r"""
cd /etc/systemd/system
for unit in etcd kube-apiserver kube-controller-manager kube-scheduler containerd crio docker cri-docker kubelet \
    kube-proxy kube-network-policy
do
    [ -f $unit.service ] || continue
    pid=$(systemctl show --property=MainPID --value $unit.service)
    [ "$pid" = 0 ] || readlink /proc/$pid/exe
done
"""
_FILES = (
    r"""sed 's/[,{}]/\n/g' /var/lib/kubeproof/manifest.json | """
    r"""sed -n 's/^ *"path": *"\(\/usr\/[^"]*\)".*/\1/p'"""
)


@pytest.mark.claim("container-os")
def test_the_cluster_is_beside_a_system_that_cannot_be_changed(
    cluster: Cluster, agents: list[Pod], evidence: Evidence
) -> None:
    read_only = on_hosts(cluster.hosts.all, _read_only)
    hosts = [host for host in cluster.hosts.all if read_only[host.name]]
    if not hosts:
        raise NotObservable("it takes hosts whose /usr is read-only")
    for name, (programs, files) in on_hosts(hosts, _found).items():
        evidence[name] = {"programs": programs, "files below /usr": files}
        assert programs, f"no component's service runs on {name}"
        inside = [path for path in programs if path.startswith("/usr/")]
        assert not inside, f"{', '.join(inside)} run on {name} out of its read-only /usr"
        assert not files, f"kubeproof lists {', '.join(files)} on {name} as its own, in its read-only /usr"
    pods = [pod for pod in agents if read_only[cluster.node(pod.node).host.name]]
    answers = {pod.name: pod.http("hostname") for pod in pods}
    wrong = [f"{pod.name} on {pod.node} answers {answers[pod.name]!r}" for pod in pods if answers[pod.name] != pod.name]
    assert not wrong, "; ".join(wrong)
    names = ", ".join(host.name for host in hosts)
    evidence.headline = f"/usr is read-only on {names}; all services run from elsewhere, {len(pods)} pods answer"


def _read_only(host: Host) -> bool:
    return host.attempt(_READ_ONLY)[0] == 0


def _found(host: Host) -> tuple[list[str], list[str]]:
    """Executables of services, and files of ours below /usr."""
    return sorted(set(host.run(_UNITS).split())), host.run(_FILES).split()
