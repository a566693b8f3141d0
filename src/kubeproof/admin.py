"""The admin's kubeconfig: the one credential that is handed to a person, and so carries its key in it."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kubeproof import pki

ADMIN_GROUP = "kubeproof:cluster-admins"
"""Bound to cluster-admin by a ClusterRoleBinding, so that unlike ``system:masters`` its rights can be taken away."""
_WANTED = pki.Wanted("kubernetes", "kubeproof-admin", ("client",), organizations=(ADMIN_GROUP,))


def ensure_kubeconfig(state: Path, cluster: str, server: str) -> bool:
    """Write ``admin.kubeconfig`` if there is none, or if it is no longer right; returns whether it was written."""
    path = state / "admin.kubeconfig"
    authority = pki.Authority.load(state / "pki", "kubernetes")
    now = datetime.datetime.now(datetime.UTC)
    if _is_current(path, authority, cluster, server, now):
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    certificate = authority.issue(_WANTED, public.decode(), now)
    document = _kubeconfig(cluster, server, authority, certificate, pki.private_pem(key))
    pki.write_private(path, yaml.safe_dump(document, sort_keys=False).encode())
    return True


def _is_current(path: Path, authority: pki.Authority, cluster: str, server: str, now: datetime.datetime) -> bool:
    if not path.exists() or path.stat().st_mode & 0o077:
        return False
    document = yaml.safe_load(path.read_text())
    user = document["users"][0]["user"]
    certificate = base64.b64decode(user["client-certificate-data"]).decode()
    key = serialization.load_pem_private_key(base64.b64decode(user["client-key-data"]), password=None)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    expected = _kubeconfig(cluster, server, authority, "", b"")["clusters"]
    same_cluster: bool = document["clusters"] == expected
    return same_cluster and not authority.reason_to_issue(_WANTED, certificate, public.decode(), now)


def _kubeconfig(cluster: str, server: str, authority: pki.Authority, certificate: str, key: bytes) -> dict[str, Any]:
    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    access = {"server": server, "certificate-authority-data": encoded(authority.pem().encode())}
    user = {"client-certificate-data": encoded(certificate.encode()), "client-key-data": encoded(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": access}],
        "users": [{"name": "kubeproof-admin", "user": user}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": "kubeproof-admin"}}],
        "current-context": cluster,
    }
