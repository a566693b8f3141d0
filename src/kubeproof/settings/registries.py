"""Mirrors of registries, as ``containerd_registry_mirrors`` has them. No Ansible."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from kubeproof.core.errors import KubeproofError
from kubeproof.settings.urls import is_http

SETTING = "containerd_registry_mirrors"
# containerd's directory for registries that have none of their own.
EVERY = "_default"
# The directory of an upstream's file has its name, which containerd looks up with the port
# (https://github.com/containerd/containerd/blob/main/docs/hosts.md).
_UPSTREAM = re.compile(r"_default|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")
# A URL becomes a quoted string of TOML.
_QUOTES = {'"', "'", "\\"}


@dataclass(frozen=True)
class Mirrors:
    """The URLs to ask in an upstream's place, in order, and whether it is asked itself if none of them has an image.

    ``ca``: certificates (PEM) by which all of these are verified, upstream too; empty: by those that the host trusts.
    """

    urls: tuple[str, ...]
    fallback: bool
    ca: str = ""


def mirrors(upstream: str, given: object) -> Mirrors:
    """Those of an upstream, from a list of URLs or from a mapping. Raises KubeproofError if it is neither."""
    urls, fallback, ca = given, True, ""
    if isinstance(given, Mapping) and given.keys() <= {"mirrors", "fallback", "ca"}:
        fallback, ca = given.get("fallback", True), given.get("ca") or ""
        # With a CA it may be about the registry itself.
        urls = given.get("mirrors", [] if ca else None)
    if isinstance(urls, str) or not isinstance(urls, Sequence) or not isinstance(fallback, bool):
        raise KubeproofError(f"{upstream} takes a list of URLs, or {{mirrors: [...], fallback: false, ca: ...}}")
    if ca and not _is_ca(ca):
        raise KubeproofError(f"{upstream}: ca is not the text of certificates (PEM): {str(ca)[:40]!r}")
    if not urls and not fallback:
        raise KubeproofError(f"{upstream} has no mirror, and no fallback")
    wrong = [str(url) for url in urls if not is_http(str(url)) or _QUOTES & set(str(url))]
    if wrong:
        raise KubeproofError(f"{upstream}: {wrong[0]!r} is not of the form https://HOST:PORT/PATH")
    return Mirrors(tuple(str(url) for url in urls), fallback, str(ca))


def ca_files(given: Mapping[str, object], directory: str) -> dict[str, str]:
    """Certificates by path, for runtimes that look them up by the host that they ask, the registry's or a mirror's.

    ``directory``: has a directory for each of these hosts. Raises KubeproofError.
    """
    found: dict[str, list[str]] = {}
    for upstream, entry in sorted(given.items()):
        known = mirrors(upstream, entry)
        for host in [upstream, *(urlsplit(url).netloc for url in known.urls)] if known.ca else []:
            authorities = found.setdefault(f"{directory}/{host}/ca.crt", [])
            if known.ca not in authorities:
                authorities.append(known.ca)
    return {path: "\n".join(authorities) for path, authorities in found.items()}


def _is_ca(text: object) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=str(text))
    except (ssl.SSLError, ValueError):
        return False
    return True


def problems(given: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with the setting, a line each."""
    for upstream, entry in given.items():
        if not _UPSTREAM.fullmatch(str(upstream)):
            yield f"{upstream!r} is not the host of a registry: docker.io, registry.example.org:5000, or _default"
            continue
        try:
            mirrors(str(upstream), entry)
        except KubeproofError as error:
            yield str(error)
