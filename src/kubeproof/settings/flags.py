"""Flags of components: those of a role together with those of the user's, and which of the latter can't be. No Ansible.

The user gives names without dashes, and values as YAML has them; https://pkg.go.dev/github.com/spf13/pflag reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from kubeproof.core import fast_yaml
from kubeproof.settings import specs

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
# Each of these may be given several times, and every time adds to it; others take a list with commas.
_SEVERAL = frozenset({"service-account-issuer", "service-account-key-file", "tls-sni-cert-key"})
# What the role gives of these stays, and the user's comes with it.
_ADDED = frozenset({"enable-admission-plugins"})
_SETTING = re.compile(r"\b\w+")
# Variables that are made of a setting.
_MADE_OF = {"__cluster_pod_networks": "cluster_pod_network", "__cluster_service_networks": "cluster_service_network"}


@dataclass(frozen=True)
class Component:
    """Whose flags a setting holds: the role that gives it others, and flags that can't be, as patterns with reasons."""

    role: str
    refused: Mapping[str, str] = field(default_factory=dict)


_AUTHENTICATION = "the API server reads it from a file, which excludes this flag; use apiserver_authentication (jwt)"
_OWN_ISSUER = "the first issuer signs tokens, and cannot be changed: this one would only be accepted in addition"
_IN_THE_CONFIGURATION = "the scheduler ignores it if there is a configuration file; use scheduler_extra_config"
_LEADERS = "it is in the scheduler's configuration; use scheduler_lease_seconds, or leaderElection in the configuration"
COMPONENTS: Mapping[str, Component] = {
    "apiserver_extra_args": Component(
        "apiserver",
        {
            "oidc-.*": _AUTHENTICATION,
            "authentication-config": _AUTHENTICATION,
            "anonymous-auth": "anonymous requests are allowed to /livez, /readyz and /healthz only, for load "
            "balancers: the file of authentication-config says so, which excludes this flag",
            "authorization-(config|policy-file|webhook-.*)": "authorization other than Node,RBAC is not supported",
            "service-account-issuer": _OWN_ISSUER,
            "admission-control": "enable-admission-plugins, which is set, excludes it; use that",
        },
    ),
    "controller_manager_extra_args": Component(
        "controller-manager",
        {"cluster-signing-(kubelet|kube-apiserver|legacy)-.*": "cluster-signing-cert-file is set, and excludes it"},
    ),
    "scheduler_extra_args": Component(
        "scheduler",
        {
            "(contention-)?profiling|kube-api-(burst|content-type|qps)|kubeconfig": _IN_THE_CONFIGURATION,
            "leader-elect.*": _LEADERS,
        },
    ),
}


def render(given: Mapping[str, Any]) -> list[str]:
    """Flags of a command line, sorted by name: lists and dictionaries with commas, switches as true and false."""
    return [f"--{name}={text}" for name, value in sorted(given.items()) for text in _texts(str(name), value)]


def together(own: Sequence[str], given: Mapping[str, Any]) -> list[str]:
    """A role's flags and the user's. What both may give is one flag in the end."""
    added = {name: _items(given[name]) for name in _ADDED & given.keys()}
    flags = [_with(flag, added) for flag in own]
    here = {_name(flag) for flag in own}
    return flags + render({name: value for name, value in given.items() if name not in added or name not in here})


def _with(flag: str, added: Mapping[str, Sequence[str]]) -> str:
    name, _, value = flag.partition("=")
    more = added.get(name.removeprefix("--"), ())
    return f"{name}={','.join(dict.fromkeys([*value.split(','), *more]))}" if more else flag


def _items(value: Any) -> list[str]:
    """What a flag that takes several is given, whether as a list or with commas."""
    texts = [_text(each) for each in value] if isinstance(value, (list, tuple)) else str(value).split(",")
    return [text.strip() for text in texts if text.strip()]


def _texts(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [",".join(f"{key}={_text(each)}" for key, each in sorted(value.items()))]
    if not isinstance(value, (list, tuple)):
        return [_text(value)]
    texts = [_text(each) for each in value]
    return texts if name in _SEVERAL else [",".join(map(_quoted, texts))]


def _quoted(text: str) -> str:
    """An item of a list as pflag takes it: as in a line of CSV."""
    return '"{}"'.format(text.replace('"', '""')) if "," in text or '"' in text else text


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _name(flag: str) -> str:
    return flag.removeprefix("--").partition("=")[0]


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with further flags, by setting. ``values``: the settings, which are dictionaries."""
    for setting, component in COMPONENTS.items():
        for problem in _of(component, values.get(setting) or {}):
            yield setting, problem
    yield from _pulled(values)
    for name, more in sorted((values.get("scheduler_more") or {}).items()):
        given = more.get("args") if isinstance(more, Mapping) else None
        if given is not None and not isinstance(given, Mapping):
            yield "scheduler_more", f"{name}: args is a dictionary of flags"
        for problem in _of(COMPONENTS["scheduler_extra_args"], given if isinstance(given, Mapping) else {}):
            yield "scheduler_more", f"{name}: {problem}"


def _pulled(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """With AlwaysPullImages every pod's image has to be in a registry."""
    given = values.get("apiserver_extra_args") or {}
    if "AlwaysPullImages" not in _items(given.get("enable-admission-plugins") or ""):
        return
    if values.get("component_source", "auto") not in ("release", "mirror"):
        told = "their images may be made on the controller, for no registry; set component_source to release or mirror"
    elif values.get("kube_proxy_form") == "daemonset":
        told = "kube-proxy's image is made on the controller and in no registry; set kube_proxy_form to service"
    else:
        return
    yield "apiserver_extra_args", f"AlwaysPullImages makes the cluster's own pods wait forever: {told}"


def _of(component: Component, given: Mapping[str, Any]) -> Iterator[str]:
    own = own_flags(component.role)
    seen: dict[str, str] = {}
    for name, value in given.items():
        # Kubernetes takes these for the same.
        flag = str(name).replace("_", "-")
        other = seen.setdefault(flag, str(name))
        if other != name:
            yield f"{name} and {other} are the same flag"
        elif not _NAME.fullmatch(flag):
            yield f"{name!r} is not a flag name; write it without leading dashes"
        elif flag != name:
            yield f"{name}: write it {flag}"
        elif reason := _refused(component, own, flag):
            yield f"{name} cannot be given: {reason}"
        elif problem := _value_problem(value):
            yield f"{name} {problem}"


def _refused(component: Component, own: Mapping[str, Sequence[str]], flag: str) -> str:
    for pattern, reason in component.refused.items():
        if re.fullmatch(pattern, flag):
            return reason
    if flag not in own or flag in _ADDED:
        return ""
    settings = " and ".join(own[flag])
    return f"kubeproof gives it already; use {settings}" if settings else "kubeproof gives it itself, and relies on it"


def _value_problem(value: Any) -> str:
    if value is None:
        return "has no value: write true for a switch, '' for an empty text"
    items = (
        list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else [value]
    )
    if any(item is None or isinstance(item, (Mapping, list, tuple)) for item in items):
        return "is a list or dictionary of something else than texts, numbers and switches"
    if any(not character.isprintable() for item in items for character in str(item)):
        return "has a line break or another character in it that is none to print"
    return ""


@cache
def own_flags(role: str, roles: Path = specs.ROLES) -> Mapping[str, Sequence[str]]:
    """Flags that a role gives its component, from its variables, each with the settings that it is made of."""
    document = fast_yaml.load((roles / role / "vars" / "main.yml").read_text(encoding="utf-8"))
    listed = [value for value in document.values() if isinstance(value, list)]
    flags = [str(item) for value in listed for item in value if str(item).startswith("--")]
    options = specs.load(roles).options
    return {_name(flag): _settings(flag, options) for flag in flags}


def _settings(flag: str, options: Mapping[str, Any]) -> list[str]:
    named = (_MADE_OF.get(name, name) for name in _SETTING.findall(flag))
    return [name for name in named if name in options]


_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./{}\[\]()-]+")
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$"})


def unit_command(words: Sequence[Any]) -> str:
    """A command as ``ExecStart=`` takes it: each word as it is, whatever systemd would make of it."""
    program, *arguments = map(str, words)
    return " \\\n  ".join([program, *map(_unit_word, arguments)])


def _unit_word(word: str) -> str:
    return word if _PLAIN.fullmatch(word) else f'"{word.translate(_ESCAPED)}"'


def pod_words(words: Sequence[Any]) -> list[str]:
    """A command as a container has it, in which the kubelet would replace ``$(NAME)``."""
    return [str(word).replace("$", "$$") for word in words]
