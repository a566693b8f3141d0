"""What settings mean to Docker: mirrors of its registry. No Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import registries

CERTIFICATES = "/etc/docker/certs.d"
# The only registry of which Docker knows mirrors (docs.docker.com/docker-hub/image-library/mirror).
HUB = "docker.io"


def check(upstream: str, known: registries.Mirrors) -> None:
    """Whether Docker can ask the mirrors of a registry. Raises KubeproofError."""
    _urls(upstream, known)


def mirrors(given: Mapping[str, object]) -> list[str]:
    """The URLs of ``registry-mirrors`` in ``daemon.json``, in the order in which Docker asks them, and then its Hub.

    Raises KubeproofError if Docker cannot do what is asked for.
    """
    return [url for upstream, entry in given.items() for url in _urls(upstream, registries.mirrors(upstream, entry))]


def _urls(upstream: str, known: registries.Mirrors) -> tuple[str, ...]:
    if upstream == registries.EVERY:
        raise KubeproofError(f"{upstream} is containerd's alone: Docker knows mirrors of {HUB} only")
    if known.urls and upstream != HUB:
        raise KubeproofError(
            f"{upstream}: Docker knows mirrors of {HUB} only. Leave its mirrors out, name the mirror in images, or set "
            "container_runtime to containerd"
        )
    if not known.fallback:
        raise KubeproofError(f"{upstream}: fallback cannot be false with Docker, which asks {HUB} after its mirrors")
    for url in known.urls:
        parts = urlsplit(url)
        if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
            # moby refuses queries and users (daemon/pkg/registry/config.go, ValidateMirror); of a path it makes another
            # address than containerd does.
            raise KubeproofError(f"{upstream}: {url} has more than a host, which Docker does not take as a mirror")
    return known.urls
