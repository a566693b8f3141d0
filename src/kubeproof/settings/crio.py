"""What settings mean to CRI-O: mirrors of registries, in its form. No Ansible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import registries

CERTIFICATES = "/etc/containers/certs.d"
# As containerd takes an image's name without a registry.
_UNQUALIFIED = "docker.io"


def check(upstream: str, known: registries.Mirrors) -> None:
    """Whether CRI-O can ask the mirrors of a registry. Raises KubeproofError."""
    _location(upstream, known)


def registries_configuration(given: Mapping[str, object]) -> str:
    """The file that has mirrors (containers-registries.conf.5), by upstream host as the setting has them.

    Raises KubeproofError if CRI-O cannot do what is asked for.
    """
    lines = ["# https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md"]
    lines.append(f"unqualified-search-registries = [{json.dumps(_UNQUALIFIED)}]")
    for upstream, entry in sorted(given.items()):
        known = registries.mirrors(upstream, entry)
        # It asks the location last. A registry that is blocked has no mirrors either: without a fallback the location
        # is the last mirror.
        last = _location(upstream, known)
        lines += ["", "[[registry]]", f"prefix = {json.dumps(upstream)}", *last]
        for url in known.urls if known.fallback else known.urls[:-1]:
            lines += ["", "[[registry.mirror]]", *_at(upstream, url)]
    return "\n".join(lines) + "\n"


def _location(upstream: str, known: registries.Mirrors) -> list[str]:
    if upstream == registries.EVERY:
        raise KubeproofError(f"{upstream} is containerd's alone: with CRI-O each registry has to be named")
    for url in known.urls:
        _parts(upstream, url)
    return [f"location = {json.dumps(upstream)}"] if known.fallback else _at(upstream, known.urls[-1])


def _at(upstream: str, url: str) -> list[str]:
    parts = _parts(upstream, url)
    # To it that is both: plain HTTP, and certificates that are not verified.
    plain = ["insecure = true"] if parts.scheme == "http" else []
    return [f"location = {json.dumps(parts.netloc)}", *plain]


def _parts(upstream: str, url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        # containerd asks URL/v2/NAME, CRI-O HOST/v2/PATH/NAME.
        raise KubeproofError(f"{upstream}: {url} has more than a host, of which CRI-O makes another address")
    return parts
