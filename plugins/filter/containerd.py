"""Filters for containerd's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

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
    urls, fallback = _parsed(upstream, given)
    # containerd asks the server last, and upstream if there is none: without a fallback the last mirror is the server.
    server = f'server = "https://{_SERVERS.get(upstream, upstream)}"'
    lines = [server] if fallback else [f'server = "{urls[-1]}"', _CAPABILITIES]
    for url in urls if fallback else urls[:-1]:
        lines += ["", f'[host."{url}"]', f"  {_CAPABILITIES}"]
    return {"dest": f"/etc/containerd/certs.d/{upstream}/hosts.toml", "content": "\n".join(lines) + "\n"}


def _parsed(upstream: str, given: object) -> tuple[Sequence[str], bool]:
    if isinstance(given, Mapping) and given.keys() <= {"mirrors", "fallback"}:
        urls, fallback = given.get("mirrors"), given.get("fallback", True)
    else:
        urls, fallback = given, True
    if isinstance(urls, str) or not isinstance(urls, Sequence) or not isinstance(fallback, bool):
        raise AnsibleFilterError(
            f"containerd_registry_mirrors: {upstream} takes a list of URLs, or {{mirrors: [...], fallback: false}}"
        )
    if not urls and not fallback:
        raise AnsibleFilterError(f"containerd_registry_mirrors: {upstream} has no mirror, and no fallback")
    return [str(url) for url in urls], fallback


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"containerd_hosts_file": containerd_hosts_file}
