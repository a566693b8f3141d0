"""A proxy for what comes from elsewhere, images and packages: never for the cluster's own addresses. No Ansible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kubeproof.settings import families
from kubeproof.settings.urls import is_http

_SETTINGS = {"http_proxy": "cluster_http_proxy", "https_proxy": "cluster_https_proxy"}


def environment(
    settings: Mapping[str, Any], addresses: Mapping[str, str], ipv6: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Environment variables for proxies, in both spellings; none without a proxy.

    ``settings``: the role cluster's. ``addresses``: the hosts', by name; ``ipv6``: those of the second family, if the
    cluster has one. Go's programs take networks among the exceptions
    (https://pkg.go.dev/golang.org/x/net/http/httpproxy); those that don't pass them over.
    """
    proxies = {name: str(settings[setting]) for name, setting in _SETTINGS.items() if settings.get(setting)}
    if not proxies:
        return {}
    own = ["localhost", "127.0.0.0/8", *addresses.values(), settings.get("cluster_virtual_address", "")]
    own += ["::1", *ipv6.values()] if ipv6 else []
    own += families.listed(settings["cluster_pod_network"]) + families.listed(settings["cluster_service_network"])
    own += [".svc", f".{settings['cluster_domain']}"]
    excepted = ",".join(dict.fromkeys(filter(None, map(str, [*own, *settings.get("cluster_no_proxy", ())]))))
    told = {**proxies, "no_proxy": excepted}
    return told | {name.upper(): value for name, value in told.items()}


def environment_file(told: Mapping[str, str]) -> str:
    """The same as ``EnvironmentFile=`` of systemd takes it."""
    return "".join(f'{name}="{_escaped(value)}"\n' for name, value in sorted(told.items()))


def _escaped(value: str) -> str:
    return "".join(f"\\{character}" if character in '"\\`$' else character for character in value)


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the settings. A proxy's address may have a password in it, and is not repeated."""
    for setting in _SETTINGS.values():
        value = str(values.get(setting, ""))
        if value and not is_http(value):
            yield setting, "it is not of the form http://HOST:PORT, with USER:PASSWORD@ before the host if need be"
    for entry in values.get("cluster_no_proxy") or ():
        if not str(entry) or any(character in " ,;'\"" for character in str(entry)):
            yield "cluster_no_proxy", f"{entry!r} is not one name, address or network"
        elif right := families.with_prefix(str(entry)):
            yield "cluster_no_proxy", f"{entry!r} has a netmask; write {right}"
