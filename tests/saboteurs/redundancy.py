"""What makes the claims false that take several control-plane hosts or etcd members."""

from __future__ import annotations

from collections.abc import Iterator

from tests.saboteurs.apiserver import erased
from tests.saboteurs.framework.mutations import rules, running, stopped
from tests.saboteurs.framework.registry import saboteur

from kubeproof.verify.act import leader_election
from kubeproof.verify.act.disruption import stopped_everywhere
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.hosts import Host, NotObservable

_SCRATCH_PORT = 12379


def _members(lab: Cluster) -> tuple[Host, ...]:
    if len(lab.etcd_hosts) < 3:
        raise NotObservable("it takes three etcd members")
    return lab.etcd_hosts


@saboteur(
    "etcd-consistent",
    breaks="Written keys are deleted, behind the API servers",
    says="was acknowledged, and is gone|was acknowledged at revision .* has it at None",
)
def acknowledged_writes_vanish(lab: Cluster) -> Iterator[None]:
    _members(lab)
    with erased(lab, "consistent"):
        yield


@saboteur(
    "etcd-quorum",
    breaks="One etcd member is down already",
    says="no write was acknowledged|catches up",
)
def one_member_is_down_already(lab: Cluster) -> Iterator[None]:
    # Not the first one, on which etcd is asked.
    with stopped(_members(lab)[-1], "etcd"):
        yield


# By itself, since it takes long to find: all that is asked of a cluster without a majority waits.
@saboteur(
    "control-plane-loss",
    breaks="A control-plane host more would be one too many: one etcd member is down already",
    says="nothing can be created|a new pod runs|was lost, nodes get",
)
def a_control_plane_without_a_spare(lab: Cluster) -> Iterator[None]:
    yield from one_member_is_down_already(lab)


@saboteur(
    "etcd-no-split",
    breaks="The last member has a store of its own for those who ask it",
    says="without a majority the member on .* accepts a write",
)
def a_member_for_itself(lab: Cluster) -> Iterator[None]:
    last = _members(lab)[-1]
    port = lab.settings["cluster_etcd_port"]
    pki = "/etc/etcd/pki"
    url = f"https://127.0.0.1:{_SCRATCH_PORT}"
    scratch = (
        "d=$(mktemp -d); trap 'rm -rf $d' EXIT; etcd --data-dir $d --name scratch "
        f"--listen-client-urls {url} --advertise-client-urls {url} --listen-peer-urls http://127.0.0.1:12380 "
        f"--cert-file {pki}/server.crt --key-file {pki}/server.key --trusted-ca-file {pki}/ca.crt --client-cert-auth"
    )
    chain = f"""
  chain output {{
    type nat hook output priority -100; policy accept;
    ip daddr 127.0.0.1 tcp dport {port} redirect to :{_SCRATCH_PORT}
  }}"""
    with running(last, scratch), rules(last, chain, "ip"):
        yield


@saboteur(
    "etcd-separate",
    breaks="A host that is no API server is connected to etcd",
    says="clients of etcd are not API servers",
)
def a_stranger_at_etcd(lab: Cluster) -> Iterator[None]:
    if {host.name for host in lab.etcd_hosts} & {host.name for host in lab.control_plane}:
        raise NotObservable("it takes etcd on hosts of its own")
    stranger = next(node.host for node in lab.nodes if not node.control_plane)
    address, port = lab.etcd_hosts[0].address, lab.settings["cluster_etcd_port"]
    with running(stranger, f"while sleep 0.1; do timeout 5 bash -c 'exec 3<>/dev/tcp/{address}/{port}; cat <&3'; done"):
        yield


@saboteur(
    "api-load-balanced",
    breaks="One node reaches one API server only",
    says="do not reach the API server of",
)
def a_node_with_one_api_server(lab: Cluster) -> Iterator[None]:
    others = ", ".join(host.address for host in leader_election.several_control_plane_hosts(lab)[1:])
    node = next(node.host for node in lab.nodes if not node.control_plane)
    port = lab.api_servers[0][1]
    chain = f"""
  chain output {{
    type filter hook output priority 0; policy accept;
    ip daddr {{ {others} }} tcp dport {port} reject with tcp reset
  }}"""
    with rules(node, chain):
        yield


@saboteur(
    "api-load-balanced",
    breaks="No host can take over the virtual address",
    says="(does not answer|is not ready).* within",
)
def an_address_without_a_successor(lab: Cluster) -> Iterator[None]:
    address = str(lab.settings["cluster_virtual_address"])
    if not address:
        raise NotObservable("the cluster has no virtual address")
    holders = leader_election.address_holders(lab, address)
    others = [host for host in leader_election.several_control_plane_hosts(lab) if host not in holders]
    with stopped_everywhere(others, "kube-virtual-address"):
        yield


@saboteur(
    "sched-leader",
    breaks="All schedulers but the one that leads are stopped",
    says="the kube-scheduler of .* was killed nobody has taken its lease",
)
def schedulers_that_do_not_stand_in(lab: Cluster) -> Iterator[None]:
    with stopped_everywhere(_followers(lab, "kube-scheduler"), "kube-scheduler"):
        yield


@saboteur(
    "ctl-leader",
    breaks="All controller managers but the one that leads are stopped",
    says="the kube-controller-manager of .* was killed nobody has taken its lease",
)
def controller_managers_that_do_not_stand_in(lab: Cluster) -> Iterator[None]:
    with stopped_everywhere(_followers(lab, "kube-controller-manager"), "kube-controller-manager"):
        yield


def _followers(lab: Cluster, component: str) -> list[Host]:
    leader = leader_election.holder(leader_election.lease(lab.api, component))
    return [host for host in leader_election.several_control_plane_hosts(lab) if host.name != leader]
