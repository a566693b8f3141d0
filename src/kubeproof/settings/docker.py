"""What settings mean to Docker: mirrors of its registry, and what it cannot do of what containerd can. No Ansible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import registries

CERTIFICATES = "/etc/docker/certs.d"
# The only registry of which Docker knows mirrors (docs.docker.com/docker-hub/image-library/mirror).
HUB = "docker.io"
_IMAGES = "images of components are made on the controller for it, and kubeproof imports these into containerd only"


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What Docker cannot do of what is set, by setting."""
    if values.get("cluster_control_plane_form") == "static-pods":
        yield "cluster_control_plane_form", f"static-pods cannot be had with Docker: {_IMAGES}. Set services"
    if values.get("kube_proxy_form") == "daemonset":
        yield "kube_proxy_form", f"daemonset cannot be had with Docker: {_IMAGES}. Set service"
    if values.get("containerd_extra_config"):
        yield "containerd_extra_config", "it is containerd's, and the runtime is Docker: use docker_extra_config"
    for upstream, entry in (values.get(registries.SETTING) or {}).items():
        try:
            _urls(str(upstream), registries.mirrors(str(upstream), entry))
        except KubeproofError as error:
            yield registries.SETTING, str(error)


def mirrors(given: Mapping[str, object]) -> list[str]:
    """The URLs of ``registry-mirrors`` in ``daemon.json``, in the order in which Docker asks them, and then its Hub.

    Raises KubeproofError if Docker cannot do what is asked for.
    """
    return [url for upstream, entry in given.items() for url in _urls(upstream, registries.mirrors(upstream, entry))]


def ca_files(given: Mapping[str, object]) -> dict[str, str]:
    """Certificates by path: Docker looks them up by the host that it asks, the registry's or a mirror's."""
    found: dict[str, list[str]] = {}
    for upstream, entry in sorted(given.items()):
        known = registries.mirrors(upstream, entry)
        for host in [upstream, *(urlsplit(url).netloc for url in known.urls)] if known.ca else []:
            authorities = found.setdefault(f"{CERTIFICATES}/{host}/ca.crt", [])
            if known.ca not in authorities:
                authorities.append(known.ca)
    return {path: "\n".join(authorities) for path, authorities in found.items()}


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
