"""Filters for containerd's configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def containerd_hosts_file(mirror: tuple[str, Sequence[str]]) -> dict[str, str]:
    """One registry's ``hosts.toml`` as a file for ``install_component``.

    ``mirror`` is the upstream host and the URLs to ask in its place, in order
    (https://github.com/containerd/containerd/blob/main/docs/hosts.md).
    """
    upstream, urls = mirror
    lines = [f'server = "https://{upstream}"']
    for url in urls:
        lines += ["", f'[host."{url}"]', '  capabilities = ["pull", "resolve"]']
    return {"dest": f"/etc/containerd/certs.d/{upstream}/hosts.toml", "content": "\n".join(lines) + "\n"}


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"containerd_hosts_file": containerd_hosts_file}
