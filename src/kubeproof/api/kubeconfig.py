"""Access to a cluster, from a kubeconfig: where its API is, whom to trust, and who we are."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kubeproof.core import fast_yaml
from kubeproof.core.errors import KubeproofError


@dataclass(frozen=True)
class Anonymous:
    """A caller who shows nothing."""


@dataclass(frozen=True)
class Certificate:
    """A caller who shows a client certificate. Both in PEM."""

    certificate: str
    key: str


@dataclass(frozen=True)
class Token:
    """A caller who shows a bearer token."""

    value: str


Credentials = Anonymous | Certificate | Token


@dataclass(frozen=True)
class Access:
    """A cluster's API as one caller reaches it. ``ca`` in PEM."""

    server: str
    ca: str
    credentials: Credentials


def load(path: Path) -> Access:
    """Read the current context of a kubeconfig."""
    return load_all(path)[0]


def load_all(path: Path) -> tuple[Access, ...]:
    """Read the current context of a kubeconfig, and those that lead the same caller to other servers of the cluster."""
    document = _read(path)
    try:
        current = _named(document, "contexts", document["current-context"])["context"]
        first = _access(document, current, path)
        found = {first.server: first}
        for entry in document["contexts"]:
            if entry["context"]["user"] == current["user"] and entry["context"]["cluster"] != current["cluster"]:
                other = _access(document, entry["context"], path)
                if other.ca == first.ca:
                    found.setdefault(other.server, other)
        return tuple(found.values())
    except (KeyError, TypeError, binascii.Error, OSError) as error:
        raise KubeproofError(f"the kubeconfig {path} cannot be used: {error!r}") from error


def current_cluster(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The cluster of a kubeconfig's current context, and its name, as they are written there."""
    document = _read(path)
    try:
        name = str(_named(document, "contexts", document["current-context"])["context"]["cluster"])
        return name, _named(document, "clusters", name)["cluster"]
    except (KeyError, TypeError) as error:
        raise KubeproofError(f"the kubeconfig {path} cannot be used: {error!r}") from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise KubeproofError(
            f"there is no kubeconfig at {path}",
            hint="playbooks/cluster.yml writes it; for a cluster that was installed otherwise, give --kubeconfig",
        )
    try:
        document = fast_yaml.load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise KubeproofError(f"the kubeconfig {path} cannot be used: {error!r}") from error
    if not isinstance(document, dict):
        raise KubeproofError(f"the kubeconfig {path} cannot be used: it is not a mapping")
    return document


def _access(document: Mapping[str, Any], context: Mapping[str, Any], path: Path) -> Access:
    cluster = _named(document, "clusters", context["cluster"])["cluster"]
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        ca=_material(cluster, "certificate-authority", path),
        credentials=_credentials(_named(document, "users", context["user"])["user"], path),
    )


def _credentials(user: Mapping[str, Any], path: Path) -> Credentials:
    if "token" in user:
        return Token(str(user["token"]))
    if "client-certificate" in user or "client-certificate-data" in user:
        return Certificate(_material(user, "client-certificate", path), _material(user, "client-key", path))
    raise KubeproofError(
        f"the user in {path} has neither a client certificate nor a token",
        hint="other authentication methods are not supported",
    )


def _named(document: Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    for entry in document[section]:
        if entry["name"] == name:
            found: Mapping[str, Any] = entry
            return found
    raise KeyError(f"{section}: {name}")


def _material(section: Mapping[str, Any], name: str, path: Path) -> str:
    """PEM that is in the kubeconfig itself or in a file that it names, relative to it."""
    if f"{name}-data" in section:
        return base64.b64decode(section[f"{name}-data"], validate=True).decode()
    return (path.parent / str(section[name])).read_text()
