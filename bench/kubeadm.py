"""The same hosts, programs and images brought up by kubeadm, for comparison.

kubeadm is built of the same module as the components. What it has no opinion on is what the installation left: the
container runtime, etcd (kubeadm's ``external``), the pod network, kube-proxy as a service, the kubelet's
configuration, and the CA, so that their certificates are valid. kubeadm does the rest, as its users have it do: API
server, controller manager and scheduler as static pods, certificates, kubeconfigs, CoreDNS, and ``kubeadm join``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from kubeproof.components import cache as caching
from kubeproof.components import gobuild, pins
from kubeproof.components.progress import silent

KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"
# Started as soon as the files are there. The control plane and the kubelet are kubeadm's.
UNITS = ("containerd", "etcd", "kube-pod-network")
# These need the API server's address from the load balancer, which is there at once.
NODE_UNITS = ("kube-balancer", "kube-proxy")
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

On = Callable[[str, str, bytes], bytes]


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


def prepare(on: On, name: str, address: str) -> None:
    """Everything on a host but what kubeadm makes: its program, the kubelet's unit, and none of our control plane."""
    on(name, "cat >/usr/local/bin/kubeadm; chmod 0755 /usr/local/bin/kubeadm", program().read_bytes())
    unit = _KUBELET_UNIT % (name, address)
    script = "rm -f /etc/kubernetes/manifests/*; cat >/etc/systemd/system/kubelet.service; systemctl daemon-reload"
    on(name, f"{script}; sysctl -q -p /etc/sysctl.d/99-kubernetes.conf", unit.encode())


def images(on: On, name: str, version: str) -> None:
    """What the node's runtime has before kubeadm begins, by the names that kubeadm gives to images."""
    ctr = "ctr --namespace k8s.io images"
    tags = "; ".join(
        f"{ctr} tag --force $({ctr} ls -q | grep -F /{part}: | head -n1) {_IMAGES}/{part}:v{version}" for part in _PARTS
    )
    script = (
        f"systemctl start {' '.join(UNITS[:1])}; until ctr version >/dev/null 2>&1; do sleep 0.1; done; "
        "find /var/lib/kubeproof -name '*.tar' -exec ctr --namespace k8s.io images import --local {} ';' >/dev/null; "
        f"{tags if name == 'cp1' else 'true'}"
    )
    on(name, script, b"")


def init(on: On, address: str, version: str, dns_tag: str, kubelet: bytes, services: str) -> None:
    """``kubeadm init`` on cp1."""
    documents = [
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "bootstrapTokens": [{"token": _TOKEN, "ttl": "1h"}],
            "localAPIEndpoint": {"advertiseAddress": address, "bindPort": 6443},
            "nodeRegistration": _registration("cp1", address),
            "patches": {"directory": _PATCHES},
        },
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "kubernetesVersion": f"v{version}",
            "imageRepository": _IMAGES,
            "controlPlaneEndpoint": f"{address}:6443",
            "networking": {"serviceSubnet": services, "dnsDomain": "cluster.local"},
            "dns": {"imageTag": dns_tag},
            "apiServer": {"certSANs": ["127.0.0.1"]},
            "etcd": {
                "external": {
                    "endpoints": [f"https://{address}:2379"],
                    "caFile": f"{_ETCD}/etcd-ca.crt",
                    "certFile": f"{_ETCD}/etcd-client.crt",
                    "keyFile": f"{_ETCD}/etcd-client.key",
                }
            },
        },
        yaml.safe_load(kubelet),
    ]
    on("cp1", "cat >/tmp/kubeadm.yaml", yaml.safe_dump_all(documents).encode())
    # Our images have their program in /, and kubeadm looks at the manifests' commands, which have no path.
    for part in _PARTS:
        patch = [{"op": "add", "path": "/spec/containers/0/env", "value": [{"name": "PATH", "value": "/"}]}]
        script = f"mkdir -p {_PATCHES}; cat >{_PATCHES}/{part}0+json.json"
        on("cp1", script, json.dumps(patch).encode())
    on("cp1", f"cp /etc/kubernetes/controller-manager/ca.key {_PKI}/ca.key", b"")
    skip = "addon/kube-proxy"
    ignore = "--ignore-preflight-errors=all"
    on("cp1", f"kubeadm init --config /tmp/kubeadm.yaml --skip-phases={skip} {ignore} {_LOG}", b"")


def join(on: On, name: str, address: str, server: str) -> None:
    """``kubeadm join`` on a worker."""
    document = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "token": _TOKEN,
                "apiServerEndpoint": f"{server}:6443",
                "unsafeSkipCAVerification": True,
            }
        },
        "nodeRegistration": _registration(name, address),
    }
    on(name, f"rm -f {_PKI}/ca.crt; cat >/tmp/kubeadm.yaml", yaml.safe_dump(document).encode())
    on(name, f"kubeadm join --config /tmp/kubeadm.yaml --ignore-preflight-errors=all {_LOG}", b"")


def _registration(name: str, address: str) -> dict[str, object]:
    ignored: Sequence[str] = ["all"]
    flags = [{"name": "node-ip", "value": address}]
    return {
        "name": name, "criSocket": _CONTAINERD, "ignorePreflightErrors": list(ignored), "kubeletExtraArgs": flags,
        "imagePullPolicy": "Never",
    }  # fmt: skip
