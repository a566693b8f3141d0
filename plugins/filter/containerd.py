"""Filters for containerd's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import registries, runtimes

# Where images of a name are: the name itself is a web site's (containerd, core/remotes/docker/config/hosts.go).
_SERVERS = {"docker.io": "registry-1.docker.io"}
_CAPABILITIES = 'capabilities = ["pull", "resolve"]'


def containerd_hosts_file(mirror: tuple[str, object]) -> dict[str, str]:
    """One registry's ``hosts.toml`` as a file for ``install_component``.

    ``mirror`` is the upstream host, and either the URLs to ask in its place, in order, or ``mirrors`` with these,
    ``fallback``: whether upstream is asked if none of them has an image, and ``ca``
    (https://github.com/containerd/containerd/blob/main/docs/hosts.md).
    """
    upstream, given = mirror
    known = _known(upstream, given)
    trust = [f'ca = "{_ca(upstream)}"'] if known.ca else []
    # containerd asks the server last, and upstream if there is none: without a fallback the last mirror is the server.
    lines = [f'server = "https://{_SERVERS.get(upstream, upstream)}"']
    if not known.fallback:
        lines = [f'server = "{known.urls[-1]}"', _CAPABILITIES]
    elif upstream == registries.EVERY:
        # The host of each registry that has no directory of its own, of which only containerd knows.
        lines = []
    lines += trust
    for url in known.urls if known.fallback else known.urls[:-1]:
        lines += ["", f'[host."{url}"]', f"  {_CAPABILITIES}", *(f"  {line}" for line in trust)]
    return {"dest": f"/etc/containerd/certs.d/{upstream}/hosts.toml", "content": "\n".join(lines) + "\n"}


def containerd_ca_files(given: Mapping[str, object]) -> list[dict[str, str]]:
    """The certificates of registries that have a CA of their own, as files for ``install_component``.

    ``given``: mirrors by upstream host, as ``containerd_hosts_file`` takes them.
    """
    known = {upstream: _known(upstream, each) for upstream, each in given.items()}
    return [{"dest": _ca(upstream), "content": each.ca} for upstream, each in known.items() if each.ca]


def _known(upstream: str, given: object) -> registries.Mirrors:
    try:
        return registries.mirrors(upstream, given)
    except KubeproofError as error:
        raise AnsibleFilterError(f"{registries.SETTING}: {error}") from error


def _ca(upstream: str) -> str:
    return f"/etc/containerd/certs.d/{upstream}/ca.crt"


def containerd_handlers(given: Sequence[Any], programs: str, systemd_cgroup: bool) -> list[dict[str, Any]]:
    """Runtime handlers as containerd's configuration has them, its own first: ``name``, ``runtime_type``, ``options``.

    ``programs`` is the directory of runtimes' programs; ``systemd_cgroup``: whether systemd manages control groups.
    Handlers whose runtime has a configuration of its own have ``file`` and ``content`` besides.
    """
    values = {runtimes.SETTING: given}
    wrong = next((problem for _, problem in runtimes.problems(values)), "")
    if wrong:
        raise AnsibleFilterError(f"{runtimes.SETTING}: {wrong}")
    return runtimes.configured(values, runtimes.Hosts(programs, systemd_cgroup))


def containerd_handler_file(handler: Mapping[str, Any]) -> dict[str, str]:
    """The configuration of a handler's own runtime as a file for ``install_component``."""
    return {"dest": str(handler["file"]), "content": str(handler["content"])}


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "containerd_ca_files": containerd_ca_files,
            "containerd_handler_file": containerd_handler_file,
            "containerd_handlers": containerd_handlers,
            "containerd_hosts_file": containerd_hosts_file,
        }
