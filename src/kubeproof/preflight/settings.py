"""Checks of the settings, before any host is touched."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from kubeproof.backup import settings as backup_settings
from kubeproof.core import patience
from kubeproof.core.amounts import at_once
from kubeproof.core.errors import KubeproofError
from kubeproof.preflight import (
    defragmentation,
    network_plugins,
    networks,
    service_proxy,
    topology,
    upgrades,
    versions,
)
from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import CONTROL_PLANE, ETCD, PORTS, Host, PortRule, Purpose, port_rules
from kubeproof.settings import (
    authentication,
    directories,
    dns,
    endpoints,
    flags,
    local_path,
    local_volumes,
    manifests,
    metallb,
    proxies,
    quantities,
    registries,
    runtimes,
    schedulers,
    sysctls,
    templates,
    traefik,
)
from kubeproof.settings.specs import Option, Specs, converted
from kubeproof.settings.urls import is_http

# How alike (difflib's ratio) a name must be to a setting's to be taken for a slip: `clustr_domain` is 0.96 like
# `cluster_domain`. A name that begins like a role's variables is one for certain, and only the best guess is wanted.
ALIKE, GUESS = 0.87, 0.7
# Not settings of roles: Ansible's, internals, and those of local hosts, which are checked where they are read.
OTHERS = ("ansible_", "__", "local_host_")
# What is of the whole cluster, by the beginnings of names: one host alone answers for it, or nodes need the same.
OF_CLUSTER = (
    "cluster_",
    "component_",
    "dns_",
    "addons_",
    "gateway_api_",
    "local_path_",
    "local_volumes_",
    "metallb_",
    "metrics_server_",
    "traefik_",
    "pod_network_flannel",
    "pod_network_plugin",
    "pod_network_manifest",
    "calico_",
    "cilium_",
    # An engine on some nodes would enforce half of each policy.
    "network_policy_engine",
    "network_policy_new_pods",
    # Pods of a RuntimeClass may come to any node.
    runtimes.CHOICE,
    runtimes.SETTING,
)
# What hosts of a group must agree on, and others have no use for. Members reach each other at their own port.
OF_GROUP = {"etcd_peer_port": ETCD, "keepalived_router_id": CONTROL_PLANE}
# What hosts of one cluster may set each for itself.
OF_ONE_HOST = {"cluster_host_address", "cluster_host_address_ipv6", "cluster_bin_directory", "cluster_balancer_port"}
PORT_NUMBERS = range(1, 65536)
# Of these, 0 means none.
OPTIONAL_PORTS = {"etcd_metrics_port"}
UDP_PORTS = {"pod_network_flannel_port"}
# Of Services, and of no host.
SERVICE_PORTS = {"traefik_http_port", "traefik_https_port"}
# Below this, a port takes a capability, which Kubernetes gives to root's processes only.
PRIVILEGED_PORTS = 1024
# HTTP2_READ_IDLE_TIMEOUT and HTTP2_PING_TIMEOUT, which client-go leaves at 30 s and 15 s.
_RECONNECT_SECONDS = 45
# What is not repeated where it is wrong.
SECRET = {"backup_targets", "cluster_http_proxy", "cluster_https_proxy", "component_mirror"}
# Ansible's words for a wrong type, and its markup.
WRONG_TYPE = re.compile(r"argument '.*' is of type \w+ and we were unable to convert to (\w+)")
MARKUP = re.compile(r"\b[A-Z]\(([^)]*)\)")

# Of a list. Ansible's validation splits a text at its commas; templates would take it for its letters.
_LIST = '[one, two], on a command line -e \'{"%s": ["one", "two"]}\''


@dataclass(frozen=True)
class Variables:
    """The variables of one host.

    ``given``: all that the inventory, files beside it and the command line set, each with the place where.
    ``values``: known settings with their values, templates rendered: those given, and those that the checks read.
    ``broken``: settings whose template cannot be rendered, with the reason. ``late``: those given with templates that
    hosts' facts are part of, so that their values are known last.
    """

    host: Host
    given: Mapping[str, str]
    values: Mapping[str, Any]
    broken: Mapping[str, str]
    late: frozenset[str] = frozenset()


def check_settings(
    hosts: Sequence[Variables],
    groups: Mapping[str, Sequence[str]],
    specs: Specs,
    purpose: Purpose = "converge",
    *,
    installed: bool = False,
) -> Iterator[Finding]:
    """Findings that need no facts of hosts. ``groups``: the inventory's by name, each with all its hosts.

    ``installed``: the cluster is, as far as the controller knows.
    """
    yield from _unknown(hosts, specs)
    yield from _missing(hosts, specs)
    yield from topology.check_groups(groups, purpose, installed=installed)
    yield from networks.check_names([variables.host for variables in hosts])
    invalid = [*check_templates(hosts), *(finding for variables in hosts for finding in _values(variables, specs))]
    yield from invalid
    yield from _differences(hosts, specs)
    yield from _sound({finding.subject for finding in invalid}, hosts, groups)


def _sound(wrong: set[str], hosts: Sequence[Variables], groups: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """What takes values that are of the right type: the others are left out of it."""
    values = [{name: value for name, value in entry.values.items() if name not in wrong} for entry in hosts]
    if not values:
        return
    yield from networks.check_networks(values[0], networks.node_count(groups))
    yield from versions.check_chosen(values[0].get("component_versions") or {})
    yield from versions.check_checksums(values[0].get("component_sha256") or {})
    yield from networks.check_policies(values[0])
    yield from service_proxy.check_form(values[0])
    ports = [int(each["cluster_balancer_port"]) for each in values if "cluster_balancer_port" in each]
    yield from network_plugins.check_plugin(values[0], hosts[0].given, ports)
    yield from _local_volumes(hosts[0], values[0], groups)
    yield from networks.check_balanced(
        values[0], [entry.host for entry in hosts], _at(hosts[0].given.get(metallb.SETTING, ""))
    )
    if "cluster_host_address" not in wrong:
        known, all_hosts = networks.cluster_networks(values[0]), [entry.host for entry in hosts]
        yield from networks.check_addresses(all_hosts, known)
        virtual = str(values[0].get("cluster_virtual_address", ""))
        yield from networks.check_virtual_address(virtual, all_hosts, known)
    if "cluster_host_address_ipv6" not in wrong:
        known, dual = networks.cluster_networks(values[0]), networks.dual_stack(values[0])
        # What depends on facts is not known yet.
        sure = [entry.host for entry in hosts if "cluster_host_address_ipv6" not in entry.late]
        yield from networks.check_ipv6_addresses(sure, known, dual=dual)
    for entry, sound in zip(hosts, values, strict=True):
        yield from _meanings(entry, sound)
        if PORTS.keys() <= sound.keys():
            yield from _port_conflicts(entry.host, port_rules(sound))


def _local_volumes(
    variables: Variables, values: Mapping[str, Any], groups: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    for name, problem in local_volumes.problems(values, groups):
        said = f"`{name}`{_at(variables.given.get(name, ''))}: {problem}"
        yield Finding("invalid-setting", said, "docs/operations/local-volumes.md describes it.", name)


def _meanings(variables: Variables, values: Mapping[str, Any]) -> Iterator[Finding]:
    """Values of the right type that mean nothing."""
    wrong: list[tuple[str, str]] = []
    if "cluster_nodes_at_once" in values:
        try:
            at_once(values["cluster_nodes_at_once"], hosts=1)
        except KubeproofError as error:
            wrong.append(("cluster_nodes_at_once", str(error)))
    lowest, highest = patience.RANGE
    factor = float(values.get("cluster_verification_patience") or lowest)
    if not lowest <= factor <= highest:
        told = f"{factor:g} is not 0, nor a factor from {lowest} to {highest}"
        wrong.append(("cluster_verification_patience", told))
    if "cluster_name" in values:
        wrong += [("cluster_name", problem) for problem in _cluster_name(str(values["cluster_name"]))]
    own = str(values.get("cluster_template_overrides") or "")
    wrong += [("cluster_template_overrides", problem) for problem in templates.problems(own)]
    wrong += backup_settings.problems(values)
    wrong += defragmentation.problems(values)
    wrong += directories.problems(values)
    wrong += dns.problems(values)
    wrong += endpoints.problems(values)
    wrong += manifests.problems(values)
    wrong += _metrics_server(values)
    wrong += flags.problems(values)
    wrong += local_path.problems(values)
    wrong += proxies.problems(values)
    wrong += quantities.problems(values)
    wrong += runtimes.problems(values)
    wrong += traefik.problems(values)
    wrong += upgrades.problems(values)
    mirrors, parameters = values.get(registries.SETTING) or {}, values.get(sysctls.SETTING) or {}
    wrong += [(registries.SETTING, problem) for problem in registries.problems(mirrors)]
    wrong += [(sysctls.SETTING, problem) for problem in sysctls.problems(parameters)]
    issuer = f"https://kubernetes.default.svc.{values.get('cluster_domain', '')}"
    given = values.get("apiserver_authentication") or {}
    wrong += [("apiserver_authentication", problem) for problem in authentication.problems(given, issuer)]
    if not 1 <= values.get("keepalived_router_id", 1) <= 255:
        wrong.append(("keepalived_router_id", f"{values['keepalived_router_id']} is not from 1 to 255"))
    wrong += _component_mirror(values)
    wrong += _connection_tracking(values)
    wrong += _operating_systems(values.get("preflight_operating_systems") or {})
    more, port = values.get("scheduler_more", {}), values.get("scheduler_port", 0)
    wrong += [("scheduler_more", problem) for problem in schedulers.problems(more, port)]
    api_port = values.get("cluster_api_port", PRIVILEGED_PORTS)
    if values.get("cluster_control_plane_form") == "static-pods" and int(api_port) < PRIVILEGED_PORTS:
        problem = f"an API server in a static pod is not root, and may not listen on {api_port}; use 1024 or more"
        wrong.append(("cluster_api_port", problem))
    for name, problem in wrong:
        said = f"`{name}`{_at(variables.given.get(name, ''))}: {problem}"
        yield Finding("invalid-setting", said, "docs/settings.md describes it.", name, variables.host.name)
    yield from _node_grace(variables, values)


def _node_grace(variables: Variables, values: Mapping[str, Any]) -> Iterator[Finding]:
    """A warning: such a cluster runs, and nodes are given up that have only lost a connection."""
    name = "controller_manager_node_grace_seconds"
    if int(values.get(name, _RECONNECT_SECONDS + 1)) <= _RECONNECT_SECONDS:
        problem = (
            f"`{name}`{_at(variables.given.get(name, ''))}: {values[name]} is not above {_RECONNECT_SECONDS}: a "
            "kubelet whose connection hangs takes that long to notice, and its node is given up meanwhile"
        )
        remediation = f"Set more than {_RECONNECT_SECONDS}, or leave it at its default."
        yield Finding("node-grace", problem, remediation, name, variables.host.name, severity="warning")


def _cluster_name(name: str) -> Iterator[str]:
    if not 1 <= len(name) <= networks.CLUSTER_NAME_LENGTH:
        yield f"it has {len(name)} characters; the names of its CAs have room for 1 to {networks.CLUSTER_NAME_LENGTH}"
    if not name.isprintable() or name != name.strip():
        yield f"{name!r} has characters that do not show, or begins or ends with a space"


def _metrics_server(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    # Its own limit is that of what the kubelet measures (cmd/metrics-server/app/options).
    for name, least in (("metrics_server_replicas", 1), ("metrics_server_resolution_seconds", 10)):
        if int(values.get(name, least)) < least:
            yield name, f"{values[name]} is below {least}"
    if int(values.get("addons_timeout", 0)) < 0:
        yield "addons_timeout", f"{values['addons_timeout']} is below 0"


def _component_mirror(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """It may have a password in it, and is not repeated."""
    mirror = str(values.get("component_mirror") or "")
    if mirror and not is_http(mirror):
        yield "component_mirror", "it is not of the form https://HOST:PORT/PATH"


def _connection_tracking(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in (name for name in values if name.startswith("host_conntrack_")):
        if int(values[name]) < 0:
            yield name, f"{values[name]} is below 0"
    tracking = values.get("kube_proxy_extra_config", {}).get("conntrack")
    if isinstance(tracking, Mapping) and tracking.get("maxPerCore"):
        # kube-proxy would exit at startup: it may not read the size of the kernel's table.
        problem = "kube-proxy is not root, and cannot set conntrack.maxPerCore; set host_conntrack_max instead"
        yield "kube_proxy_extra_config", problem


def _operating_systems(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, tested in given.items():
        listed = isinstance(tested, (list, tuple)) and all(type(each) in (str, int, float) for each in tested)
        if not listed and not isinstance(tested, str):
            yield "preflight_operating_systems", f'{name}: {tested!r} is no list of versions, as in ["24.04"]'


def _unknown(hosts: Sequence[Variables], specs: Specs) -> Iterator[Finding]:
    """Names that look as if they were meant to be settings. Others are none of our business."""
    places = {name: place for variables in reversed(hosts) for name, place in variables.given.items()}
    for name in sorted(places.keys() - specs.options.keys()):
        if name.startswith(OTHERS):
            continue
        ours = specs.ours(name)
        close = difflib.get_close_matches(name, specs.options, n=1, cutoff=GUESS if ours else ALIKE)
        if close or ours:
            guess = f"Did you mean `{close[0]}`?" if close else "No setting has a similar name."
            remediation = (
                f"{guess} If the variable is not a setting of kubeproof, add unknown-setting:{name} to "
                "preflight_ignore."
            )
            yield Finding("unknown-setting", f"unknown setting `{name}`{_at(places[name])}", remediation, name)


def _at(place: str) -> str:
    return f" ({place})" if place else ""


def _missing(hosts: Sequence[Variables], specs: Specs) -> Iterator[Finding]:
    required = [name for name, option in specs.options.items() if option.get("required")]
    for variables, name in itertools.product(hosts, required):
        if name not in variables.given:
            wrong = f"`{name}` is required, and not set"
            yield Finding("missing-setting", wrong, _description(specs.options[name]), name, variables.host.name)


def check_templates(hosts: Sequence[Variables]) -> Iterator[Finding]:
    """Settings whose template cannot be rendered."""
    for variables in hosts:
        for name, reason in variables.broken.items():
            wrong = f"`{name}`{_at(variables.given.get(name, ''))} cannot be rendered: {reason}"
            yield Finding("invalid-setting", wrong, "Correct the template.", name, variables.host.name)


def check_late(hosts: Sequence[Variables], specs: Specs) -> Iterator[Finding]:
    """Settings whose values could not be judged before hosts were asked."""
    for variables in hosts:
        values = {name: value for name, value in variables.values.items() if name in variables.late}
        yield from _values(replace(variables, values=values), specs)


def _values(variables: Variables, specs: Specs) -> Iterator[Finding]:
    """Each known setting of a host by its type, choices and range."""
    for name, value in variables.values.items():
        if name in specs.options:
            for problem in _problems(name, value, specs.options[name]):
                wrong = f"`{name}`{_at(variables.given.get(name, ''))}: {problem}"
                yield Finding("invalid-setting", wrong, _description(specs.options[name]), name, variables.host.name)


def _problems(name: str, value: Any, option: Option) -> list[str]:
    """What Ansible's own validation says of a value, and what it has no words for."""
    # What is required is asked for elsewhere, of all settings.
    spec = {name: {key: field for key, field in option.items() if key != "required"}}
    problems = [str(message) for message in ArgumentSpecValidator(spec).validate({name: value}).error_messages]
    wrong_type = next(filter(None, map(WRONG_TYPE.match, problems)), None)
    if wrong_type:
        return [f"{'it' if name in SECRET else repr(value)} is not of type {wrong_type[1]}"]
    if not problems and option.get("type") == "list" and isinstance(value, str):
        return [f"{'it' if name in SECRET else repr(value)} is a text, not a list: write {_LIST % name}"]
    if not problems and name.endswith("_port") and not _is_port(name, int(value)):
        return [f"{value} is not a {'UDP' if name in UDP_PORTS else 'TCP'} port"]
    if not problems and option.get("type") == "path" and directories.absolute(str(value)):
        return [directories.absolute(str(value))]
    return [problem.removeprefix(f"value of {name} ") for problem in problems]


def _is_port(name: str, port: int) -> bool:
    return port in PORT_NUMBERS or (port == 0 and name in OPTIONAL_PORTS)


def _description(option: Option) -> str:
    text = option.get("description", "")
    return MARKUP.sub(r"\1", text if isinstance(text, str) else " ".join(text))


def _differences(hosts: Sequence[Variables], specs: Specs) -> Iterator[Finding]:
    """What all hosts must agree on, or those of a group."""
    proxy = "kube_proxy_" if _daemonset(hosts) else "kube_proxy_form"
    # Calico has one configuration for all nodes, and makes rules of the same kind.
    mode = ("kube_proxy_mode",) if any(each.values.get("pod_network_plugin") == "calico" for each in hosts) else ()
    shared = (*OF_CLUSTER, proxy, *mode)
    names = {name for variables in hosts for name in variables.values if name.startswith(shared)} - OF_ONE_HOST
    for name in sorted(names):
        yield from _different(name, hosts, specs, "all")
    virtual = any(each.values.get("cluster_virtual_address") for each in hosts)
    for name, group in OF_GROUP.items():
        if virtual or not name.startswith("keepalived_"):
            yield from _different(name, [each for each in hosts if each.host.within([group])], specs, group)


def _different(name: str, hosts: Sequence[Variables], specs: Specs, group: str) -> Iterator[Finding]:
    holders: dict[str, list[str]] = {}
    for variables in hosts:
        value = _held(name, variables, specs.options.get(name, {}))
        if value is not None:
            holders.setdefault(repr(value), []).append(variables.host.name)
    if len(holders) > 1:
        told = [("one value" if name in SECRET else value, names) for value, names in holders.items()]
        seen = "; ".join(f"{value} on {_some(names)}" for value, names in told)
        wrong = f"`{name}` differs between hosts: {seen}"
        yield Finding("setting-differs", wrong, f"Set it once, for the group `{group}`.", name)


def _held(name: str, variables: Variables, option: Option) -> Any:
    """A setting's value on a host, which of one that is not set there is the default; ``None`` if it is not known."""
    if name in variables.values or name in variables.given or "default" not in option:
        return variables.values.get(name)
    default = option["default"]
    # What the checks read, they have rendered.
    return None if "{{" in str(default) else converted(option, default)


def _daemonset(hosts: Sequence[Variables]) -> bool:
    """Whether kube-proxy has one configuration for all nodes."""
    return any(variables.values.get("kube_proxy_form") == "daemonset" for variables in hosts)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _port_conflicts(host: Host, rules: Sequence[PortRule]) -> Iterator[Finding]:
    """Two of our own components on one port of a host. All on loopback would still be in each other's way."""
    used = [rule for rule in rules if host.within(rule.groups)]
    for one, other in itertools.combinations(used, 2):
        if one.port == other.port:
            wrong = f"{one.component} and {other.component} are both given port {one.port}"
            yield Finding("port-conflict", wrong, "Give one of them another.", str(one.port), host.name)
