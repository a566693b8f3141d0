"""Checks of the settings, before any host is touched."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from kubeproof.preflight import networks, topology
from kubeproof.preflight.findings import SETTINGS, Finding
from kubeproof.preflight.model import Host, PortRule, Rules
from kubeproof.preflight.specs import Specs

# How alike two names must be (difflib's ratio) for one to be taken as a slip of the other. One letter in twelve is 0.92;
# `cluster_size` and `cluster_name`, two different things, are 0.75.
ALIKE = 0.87
# What hosts of one cluster may set each for itself.
OF_ONE_HOST = {"cluster_host_address", "cluster_bin_directory", "cluster_balancer_port"}
PORTS = range(1, 65536)


@dataclass(frozen=True)
class Variables:
    """The variables of one host.

    ``given``: all that the inventory, files beside it and the command line set, each with the place where.
    ``values``: known settings with their values, templates rendered: those given, and what the checks read.
    ``broken``: settings whose template cannot be rendered, with the reason.
    """

    host: Host
    given: Mapping[str, str]
    values: Mapping[str, Any]
    broken: Mapping[str, str]


def check_settings(hosts: Sequence[Variables], groups: Mapping[str, Sequence[str]], specs: Specs) -> Iterator[Finding]:
    """All that can be said before a host is asked. ``groups``: the inventory's, nested ones resolved."""
    yield from _unknown(hosts, specs)
    yield from _missing(hosts, specs)
    yield from topology.check_groups(groups)
    yield from networks.check_names([variables.host for variables in hosts])
    invalid = [finding for variables in hosts for finding in _values(variables, specs)]
    yield from invalid
    yield from _differences(hosts)
    # The rest reads values, which must be what they should be for that.
    if hosts and not invalid:
        yield from _cluster(hosts, groups)


def of(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a prefix, by their names without it."""
    return {name[len(prefix) :]: value for name, value in values.items() if name.startswith(prefix)}


def _unknown(hosts: Sequence[Variables], specs: Specs) -> Iterator[Finding]:
    """Names that look as if they were meant to be settings. Others are none of our business."""
    places: dict[str, str] = {}
    for variables in hosts:
        for name, place in variables.given.items():
            places.setdefault(name, place)
    for name in sorted(places.keys() - specs.names):
        if name.startswith(("__", "ansible_")):
            continue
        close = difflib.get_close_matches(name, specs.names, n=1, cutoff=0.6 if specs.ours(name) else ALIKE)
        if close or specs.ours(name):
            mend = f"Did you mean `{close[0]}`?" if close else "No setting is named like it: see the README's list of settings."
            yield Finding("unknown-setting", name, SETTINGS, f"unknown setting `{name}`{_at(places[name])}", mend)


def _at(place: str) -> str:
    return f" ({place})" if place else ""


def _missing(hosts: Sequence[Variables], specs: Specs) -> Iterator[Finding]:
    required = [name for name, option in specs.options.items() if option.get("required")]
    for variables, name in itertools.product(hosts, required):
        if name not in variables.given:
            yield Finding("missing-setting", name, variables.host.name, f"`{name}` is not set, and has no default", "Set it.")


def _values(variables: Variables, specs: Specs) -> Iterator[Finding]:
    """Each known setting of a host by its type, choices and range."""
    name_of_host = variables.host.name
    for name, reason in variables.broken.items():
        wrong = f"`{name}` cannot be rendered{_at(variables.given.get(name, ''))}: {reason}"
        yield Finding("invalid-setting", name, name_of_host, wrong, "Correct the template.")
    for name, value in variables.values.items():
        if name in specs.options:
            for problem in _problems(name, value, specs.options[name]):
                wrong = f"`{name}`{_at(variables.given.get(name, ''))}: {problem}"
                yield Finding("invalid-setting", name, name_of_host, wrong, _description(specs.options[name]))


def _problems(name: str, value: Any, option: Mapping[str, Any]) -> list[str]:
    """What Ansible's own validation says of a value, and what it has no words for."""
    problems = [str(message) for message in ArgumentSpecValidator({name: dict(option)}).validate({name: value}).error_messages]
    if not problems and name.endswith("_port") and int(value) not in PORTS:
        problems.append(f"{value} is no TCP port")
    return problems


def _description(option: Mapping[str, Any]) -> str:
    text = option.get("description", "")
    return str(text) if isinstance(text, str) else " ".join(str(part) for part in text)


def _differences(hosts: Sequence[Variables]) -> Iterator[Finding]:
    """What all hosts must agree on."""
    names = {name for variables in hosts for name in variables.values if name.startswith("cluster_")} - OF_ONE_HOST
    for name in sorted(names):
        by_value: dict[str, list[str]] = {}
        for variables in hosts:
            if name in variables.values:
                by_value.setdefault(repr(variables.values[name]), []).append(variables.host.name)
        if len(by_value) > 1:
            seen = "; ".join(f"{value} on {_some(names)}" for value, names in by_value.items())
            mend = "Set it once, for the group `all`."
            yield Finding("setting-differs", name, SETTINGS, f"`{name}` differs between hosts: {seen}", mend)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _cluster(hosts: Sequence[Variables], groups: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    cluster = of("cluster_", hosts[0].values)
    yield from networks.check_networks(cluster, networks.node_count(groups))
    yield from networks.check_addresses([variables.host for variables in hosts], networks.cluster_networks(cluster))
    for variables in hosts:
        yield from _port_conflicts(variables.host, Rules.parse(variables.values).ports)


def _port_conflicts(host: Host, rules: Sequence[PortRule]) -> Iterator[Finding]:
    """Two of our own components on one port of a host."""
    used = [rule for rule in rules if host.within(rule.groups)]
    for one, other in itertools.combinations(used, 2):
        if one.port == other.port and ("all" in {one.listen, other.listen} or one.listen == other.listen):
            wrong = f"{one.component} and {other.component} are both given port {one.port}"
            yield Finding("port-conflict", str(one.port), host.name, wrong, "Give one of them another port.")
