"""What makes the claims about etcd false."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kubeproof.verify.cluster import Cluster
from kubeproof.verify.sabotage import saboteur
from kubeproof.verify.tampering import changed_file, done, etcdctl, everywhere

# In no network of a cluster: nothing is there, and nothing gets there.
_GHOST = "https://192.0.2.1:2380"


@saboteur(
    "etcd-replicated",
    breaks="etcd has a member, a learner, that does not exist",
    says="etcd has 2 members",
    quick=True,
)
def ghost_member(lab: Cluster) -> Iterator[None]:
    ctl = etcdctl(lab)
    remove = f"{ctl} member list | grep {_GHOST} | cut -d, -f1 | xargs -r {ctl} member remove"
    with done(lab.etcd.host, f"{ctl} member add ghost --learner --peer-urls={_GHOST}", remove):
        yield


@saboteur(
    "etcd-private",
    breaks="etcd asks its clients for no certificate",
    says="answers a caller with https and no certificate",
)
def etcd_open_to_everybody(lab: Cluster) -> Iterator[None]:
    def without_authority(text: str) -> str:
        client, peers = text.split("\nlisten-peer-urls")
        client = re.sub(r"\n  (trusted-ca-file|client-cert-auth):.*", "", client)
        return f"{client}\nlisten-peer-urls{peers}"

    with everywhere(lab.etcd_hosts, lambda host: changed_file(host, "/etc/etcd/etcd.yaml", without_authority, "etcd")):
        yield
