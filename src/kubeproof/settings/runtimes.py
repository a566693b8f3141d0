"""The container runtime, and runtime handlers of containerd, as ``containerd_runtimes`` has them. No Ansible."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import crio, docker, registries

SETTING = "containerd_runtimes"
CHOICE = "container_runtime"
CONTAINERD, CRIO, DOCKER = "containerd", "crio", "docker"
NAMES = {CONTAINERD: "containerd", CRIO: "CRI-O", DOCKER: "Docker"}
"""Runtimes that can be chosen, as people call them."""
ROOTS = {
    CONTAINERD: "containerd_root_directory",
    CRIO: "crio_root_directory",
    DOCKER: "docker_root_directory",
}
"""By runtime, the setting that has the directory for its images and containers."""
RUNC, GVISOR = "runc", "gvisor"
DEFAULT = "runc"
"""containerd's own handler, for pods without a RuntimeClass."""
DIRECTORY = "/etc/containerd/runtimes"
# What the API demands of a RuntimeClass's handler (RFC 1123, label).
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KEYS = {"name", "type", "options"}
# Flags of runsc. These are set for it by its shim, or here.
_FLAG = re.compile(r"[a-z][a-z0-9_-]*")
_OF_THE_SHIM = ("bundle", "log", "log-format", "root", "systemd-cgroup")
# Why no other runtime can be chosen, and the way out.
_REFUSED = {
    "rktlet": "rkt and rktlet were given up by their projects, and speak no CRI v1, without which no kubelet starts "
    "since Kubernetes 1.26: leave it out, or set containerd",
}
# Names of the same, as people write them.
_SPELT = {"cri-o": "crio", "cri-dockerd": "docker", "dockerd": "docker", "rkt": "rktlet"}


@dataclass(frozen=True)
class Handler:
    """A way to run pods. ``type`` is one of ``TYPES``; ``options`` are those of that runtime, by its own names."""

    name: str
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Hosts:
    """What configurations of hosts say: where programs are, and whether systemd manages the cgroups."""

    programs: str
    systemd_cgroup: bool


def handlers(values: Mapping[str, Any]) -> list[Handler]:
    """Those of the setting that are right."""
    given = values.get(SETTING)
    entries = given if isinstance(given, Sequence) and not isinstance(given, str) else ()
    return [
        Handler(str(entry["name"]), str(entry["type"]), dict(entry.get("options") or {}))
        for entry in entries
        if not any(_entry(entry))
    ]


def gvisor(values: Mapping[str, Any]) -> bool:
    """Whether hosts need gVisor."""
    return any(each.type == GVISOR for each in handlers(values))


def others(values: Mapping[str, Any]) -> list[Handler]:
    """Handlers whose pods another program runs than runc."""
    return [
        each
        for each in handlers(values)
        if each.type == GVISOR or posixpath.basename(str(each.options.get("BinaryName", RUNC))) != RUNC
    ]


def programs(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Programs of handlers that hosts must have already: a run brings runc, and what ``host_packages`` names."""
    named = {str(each.options["BinaryName"]) for each in handlers(values) if "BinaryName" in each.options}
    packages = values.get("host_packages") or {}
    ours = f"{posixpath.normpath(str(values.get('cluster_bin_directory', '')))}/runc"
    return tuple(sorted(path for path in named if path != ours and posixpath.basename(path) not in packages))


def chosen(values: Mapping[str, Any]) -> str:
    """The container runtime of nodes."""
    return str(values.get(CHOICE) or CONTAINERD)


def unused_directories(values: Mapping[str, Any]) -> set[str]:
    """Settings of the directories of runtimes that nodes do not have."""
    return {setting for runtime, setting in ROOTS.items() if runtime != chosen(values)}


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong, by setting."""
    runtime = chosen(values)
    if values.get(CHOICE, runtime) != runtime:
        # Roles compare the setting with names.
        yield CHOICE, f"it is empty: leave it out, or set {_listed(NAMES)}"
    elif runtime not in NAMES:
        meant = _SPELT.get(runtime.lower(), runtime.lower())
        known = f"write {meant} for {NAMES[meant]}, or set containerd" if meant in NAMES else _REFUSED.get(meant)
        yield CHOICE, known or f"{runtime!r} is no runtime that kubeproof knows; it installs {_listed(NAMES)}"
    elif runtime != CONTAINERD:
        yield from _of_another(runtime, values)
    given = values.get(SETTING) or []
    if not isinstance(given, Sequence) or isinstance(given, str):
        yield SETTING, f"{given!r} is not a list"
        return
    for entry in given:
        for problem in _entry(entry):
            yield SETTING, problem
    names = [str(entry["name"]) for entry in given if isinstance(entry, Mapping) and "name" in entry]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield SETTING, f"{name} is there twice"


def _of_another(runtime: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What cannot be with a runtime in containerd's place."""
    name = NAMES[runtime]
    if values.get("component_source") == "go":
        told = f"{runtime} takes downloads, and component_source is go, from which {name} is not built"
        yield CHOICE, f"{told}. Set component_source to release, or to mirror with component_mirror, or set containerd"
    if values.get(SETTING):
        yield SETTING, f"its handlers are containerd's, and the runtime is {name}: leave them out, or set containerd"
    if values.get("containerd_extra_config"):
        yield "containerd_extra_config", f"it is containerd's, and the runtime is {name}: use {runtime}_extra_config"
    for setting, unfit, fit in _OF_IMAGES:
        if values.get(setting) == unfit:
            told = "images of components are made on the controller for it, and imported into containerd only"
            yield setting, f"{unfit} cannot be had with {name}: {told}. Set {fit}"
    for upstream, entry in (values.get(registries.SETTING) or {}).items():
        try:
            _CHECKS[runtime](str(upstream), registries.mirrors(str(upstream), entry))
        except KubeproofError as error:
            yield registries.SETTING, str(error)


# Settings whose value takes images that the controller makes, and the value that takes none.
_OF_IMAGES = (("cluster_control_plane_form", "static-pods", "services"), ("kube_proxy_form", "daemonset", "service"))
_CHECKS: Mapping[str, Callable[[str, registries.Mirrors], None]] = {CRIO: crio.check, DOCKER: docker.check}


def _listed(names: Iterable[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} or {last}" if before else last


def _entry(entry: object) -> Iterator[str]:
    """What is wrong with one entry of the setting."""
    if not isinstance(entry, Mapping) or not entry.keys() >= {"name", "type"} or not entry.keys() <= _KEYS:
        yield f"{entry!r} is not of the form {{name: gvisor, type: gvisor, options: {{...}}}}; options may be left out"
        return
    name, kind, options = entry["name"], entry["type"], entry.get("options") or {}
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield f"{name!r} is not the name of a handler: up to 63 of a-z, 0-9 and -, with no - at either end"
    if kind not in TYPES:
        yield f"{name}: {kind!r} is not a type; known are {', '.join(TYPES)}"
        return
    if name == DEFAULT and kind != RUNC:
        yield f"{name} is the handler of pods without a RuntimeClass, of type {RUNC}: one of type {kind} needs another"
    if not isinstance(options, Mapping):
        yield f"{name}: options {options!r} are not a dictionary"
        return
    for key, value in options.items():
        yield from (f"{name}: {problem}" for problem in _OPTIONS[kind](str(key), value))


def _runc_option(key: str, value: object) -> Iterator[str]:
    if key not in _RUNC_OPTIONS:
        yield f"{key} is not an option of runc; known are {', '.join(_RUNC_OPTIONS)}"
    elif _RUNC_OPTIONS[key] is bool and not isinstance(value, bool):
        yield f"{key} is true or false, not {value!r}"
    elif _RUNC_OPTIONS[key] is str and not (isinstance(value, str) and _plain_path(value)):
        yield f"{key} is the absolute path of a program, not {value!r}"


def _plain_path(text: str) -> bool:
    return posixpath.isabs(text) and posixpath.normpath(text) == text and text.isprintable()


def _gvisor_option(key: str, value: object) -> Iterator[str]:
    if not _FLAG.fullmatch(key):
        yield f"{key!r} is not the name of a flag of runsc, as `runsc flags` lists them without dashes"
    elif key in _OF_THE_SHIM:
        yield f"{key} is set for runsc, and cannot be another"
    elif not isinstance(value, str | int) or not str(value).isprintable():
        yield f"{key} is a text, a number, or true or false, not {value!r}"


_RUNC_OPTIONS: Mapping[str, type] = {"BinaryName": str, "NoNewKeyring": bool, "NoPivotRoot": bool}
_OPTIONS: Mapping[str, Callable[[str, object], Iterator[str]]] = {RUNC: _runc_option, GVISOR: _gvisor_option}
TYPES = tuple(_OPTIONS)


# --- containerd's configuration ---


def configured(values: Mapping[str, Any], hosts: Hosts) -> list[dict[str, Any]]:
    """Handlers as containerd is to have them: ``name``, ``runtime_type``, ``options``; its own comes first.

    ``file`` is where a runtime has a configuration of its own, and ``content`` what is in it.
    """
    given = {each.name: each for each in handlers(values)}
    first = given.pop(DEFAULT, Handler(DEFAULT, RUNC))
    return [_CONFIGURED[each.type](each, hosts) for each in (first, *given.values())]


def _runc(handler: Handler, hosts: Hosts) -> dict[str, Any]:
    options = {"BinaryName": f"{hosts.programs}/runc", "SystemdCgroup": hosts.systemd_cgroup, **handler.options}
    return {"name": handler.name, "runtime_type": "io.containerd.runc.v2", "options": options}


def _gvisor(handler: Handler, hosts: Hosts) -> dict[str, Any]:
    # https://gvisor.dev/docs/user_guide/containerd/configuration/
    file = f"{DIRECTORY}/{handler.name}.toml"
    flags = {"systemd-cgroup": hosts.systemd_cgroup, **handler.options}
    lines = [f"binary_name = {_quoted(f'{hosts.programs}/runsc')}", "", "[runsc_config]"]
    # It takes all of them as texts.
    lines += [f"  {key} = {_quoted(_text(value))}" for key, value in sorted(flags.items())]
    return {
        "name": handler.name,
        "runtime_type": "io.containerd.runsc.v1",
        "options": {"TypeUrl": "io.containerd.runsc.v1.options", "ConfigPath": file},
        "file": file,
        "content": "\n".join(lines) + "\n",
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_CONFIGURED: Mapping[str, Callable[[Handler, Hosts], dict[str, Any]]] = {RUNC: _runc, GVISOR: _gvisor}
