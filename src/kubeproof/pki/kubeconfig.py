"""The admin's kubeconfig: the one credential that is handed to a person, and so carries its key in it."""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kubeproof.core import fast_yaml, files
from kubeproof.pki import cas

ADMIN_GROUP = "kubeproof:cluster-admins"
"""Bound to cluster-admin by a ClusterRoleBinding, so that unlike ``system:masters`` its rights can be taken away."""
NAME = "admin.kubeconfig"
"""Its file in the state directory."""
_USER = "kubeproof-admin"
_WANTED = cas.Wanted("kubernetes", _USER, ("client",), organizations=(ADMIN_GROUP,))


@dataclass(frozen=True)
class Target:
    """The cluster: its name, the URL that its API has by default, and those of its API servers by host."""

    cluster: str
    server: str
    servers: Mapping[str, str]

    def clusters(self) -> dict[str, str]:
        """URLs by the name of a context: the cluster's own comes first, and a server's is behind it with its host.

        A kubeconfig knows one address for a context. If that server is down, there is another context.
        """
        others = {f"{self.cluster}-{host}": url for host, url in self.servers.items()}
        return {self.cluster: self.server, **(others if set(others.values()) - {self.server} else {})}


def compose(clusters: Mapping[str, Mapping[str, str]], user: str, credentials: Mapping[str, str]) -> dict[str, Any]:
    """A kubeconfig for one user, with a context for each cluster; the first is the current one.

    ``clusters`` and ``credentials``: as a kubeconfig has them, the former by name.
    """
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": dict(cluster)} for name, cluster in clusters.items()],
        "users": [{"name": user, "user": dict(credentials)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}} for name in clusters],
        "current-context": next(iter(clusters)),
    }


def ensure_kubeconfig(state: Path, target: Target, *, pretend: bool = False) -> bool:
    """Write ``admin.kubeconfig`` if there is none, or if it is no longer right; returns whether it was written.

    The certificate, of which there are copies elsewhere, stays the same as long as it can. ``pretend``: nothing is
    written, only said.
    """
    path = state / NAME
    ca = cas.CA.load(state / "pki", "kubernetes")
    now = datetime.datetime.now(datetime.UTC)
    found = _read(path)
    user = _sound_user(found, ca, now)
    document = _with_choices(_kubeconfig(target, ca, user or _new_user(ca, now)), found)
    if found == document and not path.stat().st_mode & 0o077:
        return False
    if not pretend:
        files.write_private(path, yaml.safe_dump(document, sort_keys=False))
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        document = fast_yaml.load(path.read_text())
    except (OSError, yaml.YAMLError):
        return {}
    return document if isinstance(document, dict) else {}


def _with_choices(document: dict[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """A kubeconfig with what a person has chosen in the one that there is: the context, and namespaces in it."""
    try:
        namespaces = {each["name"]: each["context"].get("namespace") for each in found["contexts"]}
    except (KeyError, TypeError, AttributeError):
        return document
    for each in document["contexts"]:
        if namespaces.get(each["name"]):
            each["context"]["namespace"] = namespaces[each["name"]]
    names = {each["name"] for each in document["contexts"]}
    chosen = found.get("current-context")
    return {**document, "current-context": chosen if chosen in names else document["current-context"]}


def _sound_user(document: Mapping[str, Any], ca: cas.CA, now: datetime.datetime) -> dict[str, str] | None:
    """The credentials in a kubeconfig; None if they are none, or of no use any more."""
    try:
        user: dict[str, str] = document["users"][0]["user"]
        certificate = base64.b64decode(user["client-certificate-data"]).decode()
        key = serialization.load_pem_private_key(base64.b64decode(user["client-key-data"]), password=None)
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error):
        return None
    return None if ca.reason_to_issue(_WANTED, certificate, _public_pem(key), now) else user


def _new_user(ca: cas.CA, now: datetime.datetime) -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = ca.issue(_WANTED, _public_pem(key), now)
    return {"client-certificate-data": _encoded(certificate), "client-key-data": _encoded(cas.private_pem(key))}


def _public_pem(key: Any) -> str:
    encoded = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return str(encoded.decode())


def _encoded(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def _kubeconfig(target: Target, ca: cas.CA, user: Mapping[str, str]) -> dict[str, Any]:
    trusted = {"certificate-authority-data": _encoded(ca.pem())}
    return compose({name: {"server": url, **trusted} for name, url in target.clusters().items()}, _USER, user)
