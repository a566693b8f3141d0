"""The same hosts, programs and images brought up and upgraded by kubeadm, for comparison.

kubeadm is built of the same module as the components. What it has no opinion on is what the installation left: the
container runtime, etcd (kubeadm's ``external``), the pod network, kube-proxy as a service, the kubelet's
configuration, and the CA, so that their certificates are valid. kubeadm does the rest, as its users have it do: API
server, controller manager and scheduler as static pods, certificates, kubeconfigs, CoreDNS, and ``kubeadm join``. The
address of the cluster is that of the first control-plane host, which answers all of them.

An upgrade is the one of its documentation, with everything sent before it begins: ``kubeadm upgrade apply`` on the
first host and ``kubeadm upgrade node`` on the others, then node by node the drain, the kubelet and the runtime.

https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-upgrade/
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from bench import plain

from kubeproof.components import cache as caching
from kubeproof.components import gobuild, pins
from kubeproof.components.progress import silent
from kubeproof.settings.inventory import Inventory

KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"
# Started as soon as the files are there. The control plane and the kubelet are kubeadm's.
UNITS = ("containerd", "etcd", "kube-pod-network")
# These need the API server's address from the load balancer, which is there at once.
NODE_UNITS = ("kube-balancer", "kube-pod-network", "kube-proxy")
# What an upgrade replaces of a snapshot; the rest is kubeadm's.
PROGRAMS = ("usr/local/bin", "opt/cni/bin", "etc/etcd")
_IMAGES = "localhost/kubeproof"
_PARTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_PATCHES = "/tmp/patches"  # noqa: S108  (on such a host)
_TOKEN = "kubead.0123456789abcdef"  # noqa: S105  (of hosts that live for a minute)
_PKI = "/etc/kubernetes/pki"
_ETCD = "/etc/kubernetes/apiserver"
# With its last words, if it fails.
_LOG = ">/tmp/kubeadm.log 2>&1 || { tail -n 20 /tmp/kubeadm.log >&2; exit 1; }"
_CONTAINERD = "unix:///run/containerd/containerd.sock"
_KUBELET_UNIT = """\
[Unit]
After=containerd.service
[Service]
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/local/bin/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \\
  --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml \\
  --hostname-override=%s --node-ip=%s $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=1
KillMode=process
[Install]
WantedBy=multi-user.target
"""

_SERVICES = "10.96.0.0/16"  # The default of cluster_service_network.


@dataclass(frozen=True)
class Hosts:
    """Those of a cluster, with their addresses by name; the first of the control plane begins."""

    cluster: Inventory
    control_plane: Mapping[str, str]
    workers: Mapping[str, str]

    @property
    def all(self) -> Mapping[str, str]:
        """The control plane's first."""
        return {**self.control_plane, **self.workers}

    @property
    def first(self) -> str:
        """The host where the cluster begins."""
        return next(iter(self.control_plane))

    def on(self, name: str, script: str, given: bytes = b"") -> bytes:
        """What a script prints on a host; it must succeed."""
        return plain.ssh(self.cluster, name, script, given)


def program() -> Path:
    """The kubeadm of the pinned version of Kubernetes, built here or taken from the cache."""
    # Its module is one of its own: with kubeadm's requirements that of the components would be another.
    pinned = dataclasses.replace(pins.load(), root=Path(__file__).parent)
    kubernetes = pinned.components["kubernetes"]
    packages = {"kubeadm": "k8s.io/kubernetes/cmd/kubeadm"}
    build = dataclasses.replace(kubernetes.go, module="kubeadm", packages=packages)
    component = dataclasses.replace(kubernetes, go=build, binaries={})
    tools = gobuild.toolchain()
    with caching.Cache() as cache:
        built, _ = gobuild.build(pinned, component, tools.arch, tools, cache, silent)
    return built.blobs["kubeadm"].path


def prepare(hosts: Hosts, snapshots: Mapping[str, plain.Snapshot], version: str) -> None:
    """Everything on the hosts but what kubeadm makes: their files and images, and none of our control plane."""
    kubeadm = program().read_bytes()
    plain.send(hosts.cluster, snapshots)

    def one(name: str) -> None:
        unit = _KUBELET_UNIT % (name, hosts.all[name])
        hosts.on(name, "cat >/usr/local/bin/kubeadm; chmod 0755 /usr/local/bin/kubeadm", kubeadm)
        script = "rm -f /etc/kubernetes/manifests/*; cat >/etc/systemd/system/kubelet.service; systemctl daemon-reload"
        hosts.on(name, f"{script}; sysctl -q -p /etc/sysctl.d/99-zz-kubeproof.conf", unit.encode())
        hosts.on(name, "systemctl start containerd; until ctr version >/dev/null 2>&1; do sleep 0.1; done")
        _images(hosts, name, version)

    plain.everywhere(hosts.all, one)


def create(hosts: Hosts, version: str, dns_tag: str) -> None:
    """``kubeadm init`` on the first host, after which the others can join."""
    _start(hosts, hosts.control_plane, UNITS)
    first, address = hosts.first, hosts.control_plane[hosts.first]
    endpoints = [f"https://{each}:2379" for each in hosts.control_plane.values()]
    documents = [
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "bootstrapTokens": [{"token": _TOKEN, "ttl": "1h"}],
            "localAPIEndpoint": {"advertiseAddress": address, "bindPort": 6443},
            "nodeRegistration": _registration(first, address),
            "patches": {"directory": _PATCHES},
        },
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "kubernetesVersion": f"v{version}",
            "imageRepository": _IMAGES,
            "controlPlaneEndpoint": f"{address}:6443",
            "networking": {"serviceSubnet": _SERVICES, "dnsDomain": "cluster.local"},
            "dns": {"imageTag": dns_tag},
            "apiServer": {"certSANs": ["127.0.0.1"]},
            "etcd": {
                "external": {
                    "endpoints": endpoints,
                    "caFile": f"{_ETCD}/etcd-ca.crt",
                    "certFile": f"{_ETCD}/etcd-client.crt",
                    "keyFile": f"{_ETCD}/etcd-client.key",
                }
            },
        },
        yaml.safe_load(hosts.on(first, "cat /etc/kubernetes/kubelet/config.yaml")),
    ]
    hosts.on(first, "cat >/tmp/kubeadm.yaml", yaml.safe_dump_all(documents).encode())
    # Our images have their program in /, and kubeadm looks at the manifests' commands, which have no path.
    patch = json.dumps([{"op": "add", "path": "/spec/containers/0/env", "value": [{"name": "PATH", "value": "/"}]}])
    for name in hosts.control_plane:
        for part in _PARTS:
            hosts.on(name, f"mkdir -p {_PATCHES}; cat >{_PATCHES}/{part}0+json.json", patch.encode())
    hosts.on(first, f"cp /etc/kubernetes/controller-manager/ca.key {_PKI}/ca.key")
    skip = "addon/kube-proxy"
    _kubeadm(hosts, first, f"init --config /tmp/kubeadm.yaml --skip-phases={skip} --ignore-preflight-errors=all")


def join(hosts: Hosts) -> None:
    """``kubeadm join`` on all others: those of the control plane one at a time, workers at once."""
    _start(hosts, hosts.all, NODE_UNITS)
    shared = " ".join(f"{_PKI}/{name}" for name in ("ca.crt", "ca.key", "sa.*", "front-proxy-ca.*"))
    keys = hosts.on(hosts.first, f"tar --create --absolute-names {shared}")
    for name in list(hosts.control_plane)[1:]:
        hosts.on(name, "tar --extract --absolute-names", keys)
        endpoint = {"advertiseAddress": hosts.control_plane[name], "bindPort": 6443}
        _join(hosts, name, {"controlPlane": {"localAPIEndpoint": endpoint}, "patches": {"directory": _PATCHES}})
    plain.everywhere(hosts.workers, lambda name: _join(hosts, name, {}))


def stage(hosts: Hosts, snapshots: Mapping[str, plain.Snapshot], version: str) -> None:
    """Send the programs and images of an upgrade, and import the images."""
    plain.stage(hosts.cluster, snapshots)
    plain.everywhere(hosts.all, lambda name: _images(hosts, name, version, plain.STAGED))


def upgrade(hosts: Hosts, version: str) -> None:
    """Upgrade what was staged: etcd, which kubeadm leaves to its user here; each host, and its kubelet and runtime."""
    same = {"imagePullPolicy": "Never", "patches": {"directory": _PATCHES}, "ignorePreflightErrors": ["all"]}
    # kubeadm knows no version of CoreDNS as new as ours, which stays.
    same["skipPhases"] = ["addon/coredns", "addon/kube-proxy"]
    apply = {"kubernetesVersion": f"v{version}", "forceUpgrade": True}
    document = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "UpgradeConfiguration",
        "apply": {**same, **apply},
        "node": same,
    }
    for name in hosts.control_plane:
        plain.switch(hosts.cluster, name, PROGRAMS, "etcd")
    for name in hosts.all:
        hosts.on(name, "cat >/tmp/upgrade.yaml", yaml.safe_dump(document).encode())
        verb = "apply" if name == hosts.first else "node"
        _kubeadm(hosts, name, f"upgrade {verb} --config /tmp/upgrade.yaml")
        with plain.drained(hosts.cluster, hosts.first, name, version, KUBECTL):
            plain.switch(hosts.cluster, name, PROGRAMS, *plain.NODE_UNITS)


def _registration(name: str, address: str) -> dict[str, object]:
    ignored: Sequence[str] = ["all"]
    flags = [{"name": "node-ip", "value": address}]
    return {
        "name": name, "criSocket": _CONTAINERD, "ignorePreflightErrors": list(ignored), "kubeletExtraArgs": flags,
        "imagePullPolicy": "Never",
    }  # fmt: skip


def _images(hosts: Hosts, name: str, version: str, root: str = "") -> None:
    """Import the node's images, and give those of the control plane the names that kubeadm looks for."""
    ctr = "ctr --namespace k8s.io images"
    tags = "".join(
        f"; {ctr} tag --force {_IMAGES}/{part}:{version} {_IMAGES}/{part}:v{version} >/dev/null" for part in _PARTS
    )
    load = f"find {root}/var/lib/kubeproof/images -name '*.tar' -exec {ctr} import --local {{}} ';' >/dev/null"
    hosts.on(name, load + (tags if name in hosts.control_plane else ""))


def _start(hosts: Hosts, names: Sequence[str] | Mapping[str, str], units: Sequence[str]) -> None:
    plain.everywhere(names, lambda name: hosts.on(name, f"systemctl start --no-block {shlex.join(units)}"))


def _kubeadm(hosts: Hosts, name: str, arguments: str) -> None:
    hosts.on(name, f"kubeadm {arguments} {_LOG}")


def _join(hosts: Hosts, name: str, more: Mapping[str, object]) -> None:
    document = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "token": _TOKEN,
                "apiServerEndpoint": f"{hosts.control_plane[hosts.first]}:6443",
                "unsafeSkipCAVerification": True,
            }
        },
        "nodeRegistration": _registration(name, hosts.all[name]),
        **more,
    }
    clear = "" if more else f"rm -f {_PKI}/ca.crt; "
    hosts.on(name, f"{clear}cat >/tmp/kubeadm.yaml", yaml.safe_dump(document).encode())
    _kubeadm(hosts, name, "join --config /tmp/kubeadm.yaml --ignore-preflight-errors=all")
