"""Filters for containerd's configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import registries

# Where images of a name are: the name itself is a web site's (containerd, core/remotes/docker/config/hosts.go).
_SERVERS = {"docker.io": "registry-1.docker.io"}
_CAPABILITIES = 'capabilities = ["pull", "resolve"]'


def containerd_hosts_file(mirror: tuple[str, object]) -> dict[str, str]:
    """One registry's ``hosts.toml`` as a file for ``install_component``.

    ``mirror`` is the upstream host, and either the URLs to ask in its place, in order, or ``mirrors`` with these and
    ``fallback``: whether upstream is asked if none of them has an image
    (https://github.com/containerd/containerd/blob/main/docs/hosts.md).
    """
    upstream, given = mirror
    try:
        known = registries.mirrors(upstream, given)
    except KubeproofError as error:
        raise AnsibleFilterError(f"{registries.SETTING}: {error}") from error
    # containerd asks the server last, and upstream if there is none: without a fallback the last mirror is the server.
    server = f'server = "https://{_SERVERS.get(upstream, upstream)}"'
    lines = [server] if known.fallback else [f'server = "{known.urls[-1]}"', _CAPABILITIES]
    for url in known.urls if known.fallback else known.urls[:-1]:
        lines += ["", f'[host."{url}"]', f"  {_CAPABILITIES}"]
    return {"dest": f"/etc/containerd/certs.d/{upstream}/hosts.toml", "content": "\n".join(lines) + "\n"}


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"containerd_hosts_file": containerd_hosts_file}
