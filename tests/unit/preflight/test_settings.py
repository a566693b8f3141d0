"""Checks of settings, with specs made for it and with the roles' own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.preflight.builders import VALUES

from kubeproof.preflight.findings import Finding
from kubeproof.preflight.model import DISKS, PORTS, Host, Rules, port_rules, reads
from kubeproof.preflight.settings import (
    SERVICE_PORTS,
    UDP_PORTS,
    Variables,
    _cluster_name,
    _problems,
    check_settings,
    check_templates,
)
from kubeproof.settings import specs

SPECS = specs.Specs(
    options={
        "apiserver_bind_address": {"type": "str"},
        "cluster_api_names": {"type": "list", "elements": "str"},
        "cluster_domain": {"type": "str"},
        "cluster_nodes_at_once": {"type": "str"},
        "cluster_verification_patience": {"type": "float"},
        "component_versions": {"type": "dict"},
        "scheduler_more": {"type": "dict"},
        "cluster_host_address": {"type": "str"},
        "cluster_pod_network": {"type": "str"},
        "cluster_service_network": {"type": "str"},
        "kubelet_max_pods": {"type": "int", "description": ["Largest number of pods", "(kubelet's C(maxPods))."]},
        "cluster_control_plane_form": {"type": "str"},
        "containerd_registry_mirrors": {"type": "dict"},
        "host_conntrack_max": {"type": "int"},
        "host_sysctls": {"type": "dict"},
        "host_conntrack_tcp_close_wait_seconds": {"type": "int"},
        "kube_proxy_extra_config": {"type": "dict"},
        "kube_proxy_form": {"type": "str"},
        "kube_proxy_mode": {"type": "str", "choices": ["nftables", "iptables"]},
        "scheduler_bind_address": {"type": "str"},
        "scheduler_port": {"type": "int"},
        "etcd_heartbeat_interval": {"type": "int"},
        "network_policy_engine": {"type": "str"},
        "network_policy_new_pods": {"type": "str"},
        "pod_network_flannel_backend": {"type": "str"},
        "pod_network_plugin": {"type": "str"},
        "addons_directory": {"type": "str"},
        "addons_timeout": {"type": "int"},
        "controller_manager_node_grace_seconds": {"type": "int"},
        "metallb_addresses": {"type": "list", "elements": "str"},
        "metrics_server_enabled": {"type": "bool"},
        "metrics_server_replicas": {"type": "int"},
        "metrics_server_resolution_seconds": {"type": "int"},
        "mirror_token": {"type": "str", "required": True},
        "preflight_operating_systems": {"type": "dict"},
        "preflight_minimum_memory": {"type": "dict", "options": {"etcd": {"type": "int"}}},
        **{name: {"type": "int"} for name in PORTS},
    },
    prefixes=("cluster_", "component_", "etcd_", "kube_proxy_", "kubelet_", "scheduler_"),
)
GROUPS = {"etcd": ["h0"], "control_plane": ["h0"], "workers": ["h1"]}
PORT_VALUES: dict[str, Any] = {name: 1000 + number for number, name in enumerate(PORTS)}
# With these, all of them are used.
ALL_PORTS: dict[str, Any] = {
    "kube_proxy_form": "service",
    "network_policy_engine": "kube-router",
    "pod_network_plugin": "flannel",
    "metallb_addresses": ["192.0.2.64/28"],
}
CHOICES: dict[str, Any] = {
    "kubelet_eviction_hard": {},
    "apiserver_audit_log_files": 5,
    "apiserver_audit_log_megabytes": 100,
    "backup_directory": "/x",
    "dns_forwarders": [],
    "etcd_quota_backend_bytes": 8589934592,
    "kube_proxy_form": "service",
    "kubelet_max_pods": 110,
    "metallb_addresses": [],
    "network_policy_engine": "kube-router",
    "pod_network_flannel_backend": "vxlan",
    "pod_network_flannel_port": 8472,
    "pod_network_plugin": "bridge",
}


def variables(name: str = "h0", given: Mapping[str, str] | None = None, **values: Any) -> Variables:
    address = str(values.get("cluster_host_address", ""))
    host = Host(name, frozenset(group for group, members in GROUPS.items() if name in members), address)
    return Variables(host, {"mirror_token": "", **dict.fromkeys(values, ""), **(given or {})}, values, {})


def check(*hosts: Variables) -> list[Finding]:
    return list(check_settings(hosts, GROUPS, SPECS))


def found(*hosts: Variables) -> list[tuple[str, str, str]]:
    return [(finding.id, finding.subject, finding.host) for finding in check(*hosts)]


def test_nothing_is_found_in_good_settings() -> None:
    values: dict[str, Any] = {
        "cluster_domain": "cluster.local",
        "cluster_pod_network": "10.244.0.0/16",
        "cluster_service_network": "10.96.0.0/16",
        "kubelet_max_pods": "110",
        **ALL_PORTS,
        **PORT_VALUES,
    }
    hosts = [variables(f"h{n}", cluster_host_address=f"192.0.2.{n + 1}", **values) for n in range(2)]
    assert found(*hosts) == []


def test_no_hosts_at_all() -> None:
    assert [finding[0] for finding in found()] == []


class TestUnknown:
    @pytest.mark.parametrize(
        ("name", "guess"),
        [
            ("clustr_domain", "cluster_domain"),
            ("cluster_domian", "cluster_domain"),
            ("kube_proxy_mod", "kube_proxy_mode"),
            ("etcd_hartbeat", "etcd_heartbeat_interval"),
            ("kublet_max_pods", "kubelet_max_pods"),
        ],
    )
    def test_the_nearest_is_proposed(self, name: str, guess: str) -> None:
        (finding,) = check(variables(given={name: "hosts.yml:7"}))
        assert (finding.id, finding.subject, finding.host) == ("unknown-setting", name, "settings")
        assert finding.problem == f"unknown setting `{name}` (hosts.yml:7)"
        assert finding.remediation.startswith(f"Did you mean `{guess}`?")

    def test_one_that_is_like_nothing_but_begins_like_ours(self) -> None:
        (finding,) = check(variables(given={"component_flavour": ""}))
        assert finding.problem == "unknown setting `component_flavour`"
        assert finding.remediation.startswith("No setting has")
        assert "unknown-setting:component_flavour" in finding.remediation

    @pytest.mark.parametrize(
        "name", ["ansible_host", "__kubelet_flags", "local_host_network", "motd_text", "ntp_servers", "clusters"]
    )
    def test_others_variables_are_none_of_our_business(self, name: str) -> None:
        assert found(variables(given={name: "hosts.yml:1"})) == []

    def test_it_is_said_once_for_all_hosts(self) -> None:
        hosts = [variables(name, given={"kubelet_prt": f"{name}.yml:1"}) for name in ("h0", "h1")]
        (finding,) = check(*hosts)
        assert "(h0.yml:1)" in finding.problem


class TestValues:
    @pytest.mark.parametrize(
        ("values", "problem"),
        [
            ({"kubelet_max_pods": "many"}, "'many' is not of type int"),
            ({"kube_proxy_mode": "ipvs"}, "must be one of: nftables, iptables, got: ipvs"),
            ({"scheduler_port": 65536}, "65536 is not a TCP port"),
            ({"scheduler_port": 0}, "0 is not a TCP port"),
            ({"preflight_minimum_memory": ["etcd"]}, "['etcd'] is not of type dict"),
        ],
    )
    def test_wrong(self, values: dict[str, Any], problem: str) -> None:
        (name,) = values
        (finding,) = check(variables(given={name: "hosts.yml:3"}, **values))
        assert (finding.id, finding.subject, finding.host) == ("invalid-setting", name, "h0")
        assert finding.problem == f"`{name}` (hosts.yml:3): {problem}"

    def test_a_port_that_may_be_none(self) -> None:
        assert check(variables(etcd_metrics_port=0)) == []

    def test_within_a_dictionary(self) -> None:
        (finding,) = check(variables(preflight_minimum_memory={"etcd": "lots"}))
        assert "lots" in finding.problem

    def test_a_key_that_a_dictionary_has_not(self) -> None:
        (finding,) = check(variables(preflight_minimum_memory={"etcc": 5}))
        assert "etcc" in finding.problem

    def test_what_it_is_for_is_said_without_markup(self) -> None:
        (finding,) = check(variables(kubelet_max_pods="many"))
        assert finding.remediation == "Largest number of pods (kubelet's maxPods)."

    def test_required(self) -> None:
        entry = variables()
        bare = Variables(entry.host, {}, {}, {})
        assert found(bare) == [("missing-setting", "mirror_token", "h0")]

    def test_a_template_that_cannot_be_rendered(self) -> None:
        entry = variables(given={"cluster_domain": "hosts.yml:9"})
        broken = Variables(entry.host, entry.given, {}, {"cluster_domain": "'site' is undefined"})
        (finding,) = check_templates([broken])
        assert finding.problem == "`cluster_domain` (hosts.yml:9) cannot be rendered: 'site' is undefined"
        assert check(broken) == [finding]

    def test_other_checks_go_on_without_what_is_wrong(self) -> None:
        entry = variables(
            cluster_pod_network="x", kubelet_max_pods="many", cluster_host_address="here", scheduler_port="a"
        )
        assert sorted(finding[0] for finding in found(entry)) == [
            "address",
            "invalid-setting",
            "invalid-setting",
            "network",
        ]


def test_networks_are_checked() -> None:
    entry = variables(cluster_pod_network="10.0.0.0/8", cluster_service_network="10.96.0.0/16")
    assert found(entry) == [("network-overlap", "cluster_service_network", "settings")]


def test_addresses_are_checked() -> None:
    hosts = [variables(name, cluster_host_address="192.0.2.1") for name in ("h0", "h1")]
    assert found(*hosts) == [("duplicate-address", "192.0.2.1", "h1")]


def test_hosts_must_agree() -> None:
    hosts = [variables("h0", cluster_domain="a.local"), variables("h1", cluster_domain="b.local")]
    (finding,) = check(*hosts)
    assert (finding.id, finding.subject) == ("setting-differs", "cluster_domain")
    assert finding.problem == "`cluster_domain` differs between hosts: 'a.local' on h0; 'b.local' on h1"


def differing(*hosts: Variables) -> list[str]:
    """The settings of the roles that are said to differ."""
    found = check_settings(hosts, GROUPS, specs.load())
    return [finding.subject for finding in found if finding.id == "setting-differs"]


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("local_volumes_storage_class", "local", "disks"),
        ("local_volumes_default_class", True, False),
        ("dns_forwarders", ["192.0.2.53"], []),
        ("component_source", "mirror", "release"),
        ("component_sha256", {"kubernetes": {}}, {}),
    ],
)
def test_what_one_host_answers_for_is_the_same_on_all(name: str, one: Any, other: Any) -> None:
    assert differing(variables("h0", **{name: one}), variables("h1", **{name: other})) == [name]
    assert differing(variables("h0", **{name: one}), variables("h1", **{name: one})) == []


def test_what_one_host_alone_is_given_is_compared_with_the_default_that_others_have() -> None:
    [finding] = [
        each
        for each in check_settings([variables("h0", dns_cache_seconds=60), variables("h1")], GROUPS, specs.load())
        if each.id == "setting-differs"
    ]
    assert finding.problem == "`dns_cache_seconds` differs between hosts: 60 on h0; 30 on h1"
    assert differing(variables("h0", dns_cache_seconds=30), variables("h1")) == []
    # Its value is known once hosts were asked.
    late = replace(variables("h1"), given={"mirror_token": "", "dns_cache_seconds": "hosts.yml:3"})
    assert differing(variables("h0", dns_cache_seconds=60), late) == []


def test_hosts_of_a_group_agree_on_what_is_theirs() -> None:
    def members(group: str, **values: Any) -> list[Variables]:
        hosts = [variables("h0", **values), variables("h1")]
        return [replace(each, host=replace(each.host, groups=frozenset([group]))) for each in hosts]

    assert differing(*members("etcd", etcd_peer_port=2390)) == ["etcd_peer_port"]
    assert differing(*members("workers", etcd_peer_port=2390)) == []
    shared = {"cluster_virtual_address": "192.0.2.9"}
    for group, expected in (("control_plane", ["keepalived_router_id"]), ("etcd", [])):
        hosts = members(group, keepalived_router_id=7)
        assert differing(*hosts) == []
        hosts = [replace(each, values={**each.values, **shared}) for each in hosts]
        assert differing(*hosts) == expected


def test_of_many_hosts_only_some_are_named() -> None:
    values = {"h9": "b.local"}
    hosts = [variables(f"h{n}", cluster_domain=values.get(f"h{n}", "a.local")) for n in range(10)]
    (finding,) = check(*hosts)
    assert finding.problem.endswith("'a.local' on h0, h1, h2 and 6 more; 'b.local' on h9")
    assert check(*hosts[:3], hosts[9])[0].problem.endswith("'a.local' on h0, h1, h2; 'b.local' on h9")


def test_groups_and_names_are_checked() -> None:
    named = Variables(Host("Worker_1", frozenset(["workers"]), ""), {"mirror_token": ""}, {}, {})
    findings = check_settings([named], {"etcd": ["a", "b"], "control_plane": ["a"], "workers": ["Worker_1"]}, SPECS)
    assert [finding.id for finding in findings] == ["etcd-members", "node-name"]


def test_hosts_need_not_agree_on_what_is_their_own() -> None:
    assert found(*(variables(f"h{n}", cluster_host_address=f"192.0.2.{n}") for n in (0, 1))) == []


def test_two_components_on_one_port() -> None:
    hosts = [
        variables(name, **{**PORT_VALUES, **ALL_PORTS, "cluster_balancer_port": 6443, "cluster_api_port": 6443})
        for name in GROUPS
    ]
    assert found(*hosts) == []
    both = variables("h0", **{**PORT_VALUES, **ALL_PORTS, "cluster_balancer_port": 6443, "cluster_api_port": 6443})
    (finding,) = check(both)
    assert (finding.id, finding.subject) == ("port-conflict", "6443")
    assert finding.problem == "kube-apiserver and kube-balancer are both given port 6443"


class TestSpecs:
    def test_prefixes_are_those_of_directories_and_of_settings(self, tmp_path: Path) -> None:
        for role, names in {
            "kube-proxy": ["kube_proxy_mode"],
            "components": ["component_source", "component_mirror"],
        }.items():
            meta = tmp_path / role / "meta"
            meta.mkdir(parents=True)
            document = {"argument_specs": {"main": {"options": {name: {"type": "str"} for name in names}}}}
            (meta / "argument_specs.yml").write_text(yaml.safe_dump(document))
        found = specs.load(tmp_path)
        assert found.prefixes == ("component_", "components_", "kube_proxy_")
        assert set(found.options) == {"kube_proxy_mode", "component_source", "component_mirror"}

    def test_roles_without_options(self, tmp_path: Path) -> None:
        meta = tmp_path / "etcd" / "meta"
        meta.mkdir(parents=True)
        (meta / "argument_specs.yml").write_text("argument_specs: {main: {short_description: etcd}}")
        assert specs.load(tmp_path).prefixes == ("etcd_",)


class TestRoles:
    """What the checks take for granted of the roles in this repository."""

    def test_every_port_setting_is_known_to_the_checks(self) -> None:
        assert {name for name in specs.load().options if name.endswith("_port")} == {*PORTS, *UDP_PORTS, *SERVICE_PORTS}

    def test_a_port_of_0_is_none(self) -> None:
        ports = {name: 0 if name == "etcd_metrics_port" else number for number, name in enumerate(PORTS, 1000)}
        assert {rule.setting for rule in port_rules({**ports, **ALL_PORTS})} == {*PORTS} - {"etcd_metrics_port"}

    @pytest.mark.parametrize(
        ("choice", "without"),
        [
            ({"network_policy_engine": "none"}, {"network_policy_health_port"}),
            ({"pod_network_plugin": "bridge"}, {"flannel_health_port"}),
            ({"pod_network_plugin": "none"}, {"flannel_health_port"}),
            ({"metallb_addresses": []}, {"metallb_health_port", "metallb_memberlist_port"}),
        ],
    )
    def test_a_port_of_what_is_not_chosen_is_none(self, choice: dict[str, Any], without: set[str]) -> None:
        rules = port_rules({**PORT_VALUES, **ALL_PORTS, **choice})
        assert {rule.setting for rule in rules} == {*PORTS} - without

    def test_without_kube_proxy_there_are_no_ports_of_it(self) -> None:
        rules = port_rules({**PORT_VALUES, **ALL_PORTS, "kube_proxy_form": "none"})
        assert {*PORTS} - {rule.setting for rule in rules} == {"kube_proxy_health_port", "kube_proxy_metrics_port"}

    def test_every_setting_that_the_checks_read_exists(self) -> None:
        assert {*PORTS, *DISKS, *CHOICES, "kube_proxy_mode", "kubelet_max_pods"} <= {
            name for name in specs.load().options if reads(name)
        }

    def test_the_defaults_of_the_role_make_rules(self) -> None:
        defaults = yaml.safe_load((specs.ROLES / "preflight" / "defaults" / "main.yml").read_text())
        assert set(defaults) == {name for name in specs.load().options if name.startswith("preflight_")}
        others = {**PORT_VALUES, **dict.fromkeys(DISKS, "/x"), **CHOICES, "kube_proxy_mode": "nftables"}
        rules = Rules.parse({**defaults, **others})
        assert [rule.free for rule in rules.disks] == [100, 700, 1000, 1000]
        assert rules.modules == ("br_netfilter", "nf_conntrack", "overlay", "nf_tables", "ip_set")
        none = Rules.parse({**defaults, **others, "network_policy_engine": "none"})
        assert none.modules == ("br_netfilter", "nf_conntrack", "overlay", "nf_tables")

    def test_iptables_needs_no_nftables(self) -> None:
        defaults = yaml.safe_load((specs.ROLES / "preflight" / "defaults" / "main.yml").read_text())
        others = {**PORT_VALUES, **dict.fromkeys(DISKS, "/x"), **CHOICES, "kube_proxy_mode": "iptables"}
        assert "nf_tables" not in Rules.parse({**defaults, **others}).modules
        replaced = {**others, "kube_proxy_mode": "nftables", "kube_proxy_form": "none"}
        assert "nf_tables" not in Rules.parse({**defaults, **replaced}).modules


@pytest.mark.parametrize("told", ["half", "0", "101%"])
def test_a_share_of_nodes_that_is_none(told: str) -> None:
    [finding] = check(variables(cluster_nodes_at_once=told))
    assert (finding.id, finding.subject) == ("invalid-setting", "cluster_nodes_at_once")
    assert f"{told!r} is neither a number of hosts" in finding.problem


@pytest.mark.parametrize("told", [0.5, -1, 101, float("nan")])
def test_a_patience_that_is_none(told: float) -> None:
    [finding] = check(variables(cluster_verification_patience=told))
    assert (finding.id, finding.subject) == ("invalid-setting", "cluster_verification_patience")
    assert "is not 0, nor a factor from 1 to 100" in finding.problem


@pytest.mark.parametrize("told", [0, 1, 2.5, 100])
def test_a_patience(told: float) -> None:
    assert check(variables(cluster_verification_patience=told)) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("apiserver_bind_address", "127.0.0.1"),
        ("cluster_api_names", ["https://api.example.org:6443"]),
        ("scheduler_bind_address", "here"),
    ],
)
def test_where_components_are_reached_is_checked(setting: str, value: Any) -> None:
    [finding] = check(variables(**{setting: value}))
    assert (finding.id, finding.subject, finding.host) == ("invalid-setting", setting, "h0")


@pytest.mark.parametrize("given", [24.04, 13, None, True, {"12": True}, [None], [["12"]]])
def test_versions_of_operating_systems_are_refused_before_hosts_are_asked(given: Any) -> None:
    [finding] = check(variables(preflight_operating_systems={"debian": ["12"], "ubuntu": given}))
    assert (finding.id, finding.subject) == ("invalid-setting", "preflight_operating_systems")
    assert f"ubuntu: {given!r} is no list of versions" in finding.problem


@pytest.mark.parametrize(("given", "expected"), [("24.04", ["24.04"]), (["12", 13], ["12", "13"]), ([], [])])
def test_versions_of_operating_systems(given: Any, expected: list[str]) -> None:
    assert check(variables(preflight_operating_systems={"ubuntu": given})) == []
    rules = Rules.parse({**VALUES, "preflight_operating_systems": {"ubuntu": given}})
    assert rules.operating_systems == {"ubuntu": expected}


def test_ports_of_further_schedulers_are_their_own() -> None:
    values = {**PORT_VALUES, **ALL_PORTS, "cluster_api_port": 6443}
    assert found(variables("h0", **values, scheduler_more={"batch": {"port": 10269}})) == []
    [finding] = check(variables("h0", **values, scheduler_more={"batch": {"port": 6443}}))
    assert (finding.id, finding.subject) == ("port-conflict", "6443")
    assert finding.problem == "kube-apiserver and kube-scheduler batch are both given port 6443"
    # Of one that is wrong it is said once.
    [finding] = check(variables("h0", **values, scheduler_more={"batch": {"port": values["scheduler_port"]}}))
    assert finding.id == "invalid-setting"


def test_every_scheduler_that_is_wrong_is_named() -> None:
    more = {"Batch": {"port": 1}, "greedy": {}, "same": {"port": 10259}, "right": {"port": 10269}}
    found = [finding.problem for finding in check(variables(scheduler_port=10259, scheduler_more=more))]
    assert [text.partition(": ")[2].split()[0] for text in found] == ["'Batch'", "greedy", "same"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("containerd_registry_mirrors", {"docker.io": "https://mirror.example.org"}), ("host_sysctls", {"vm": 1})],
)
def test_what_only_a_role_would_refuse_is_refused_here(setting: str, value: Any) -> None:
    [finding] = check(variables(**{setting: value}))
    assert (finding.id, finding.subject) == ("invalid-setting", setting)


def test_an_api_server_in_a_pod_takes_no_privileged_port() -> None:
    [finding] = check(variables(cluster_api_port=443, cluster_control_plane_form="static-pods"))
    assert (finding.id, finding.subject) == ("invalid-setting", "cluster_api_port")
    assert check(variables(cluster_api_port=443, cluster_control_plane_form="services")) == []


@pytest.mark.parametrize("form", ["service", "daemonset"])
def test_kube_proxy_is_not_asked_to_set_the_limits_of_connection_tracking(form: str) -> None:
    wanted = {"conntrack": {"maxPerCore": 65536}}
    [finding] = check(variables(kube_proxy_form=form, kube_proxy_extra_config=wanted))
    assert (finding.id, finding.subject) == ("invalid-setting", "kube_proxy_extra_config")
    assert "host_conntrack_max" in finding.problem
    for harmless in ({"maxPerCore": 0}, {"min": 131072}, {"udpTimeout": "30s"}, None):
        assert check(variables(kube_proxy_form=form, kube_proxy_extra_config={"conntrack": harmless})) == []


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("addons_timeout", -1, "0"),
        ("metrics_server_replicas", "0", 1),
        # metrics-server would exit.
        ("metrics_server_resolution_seconds", 9, "10"),
    ],
)
def test_numbers_of_addons_have_limits(name: str, wrong: Any, right: Any) -> None:
    [finding] = check(variables(**{name: wrong}))
    assert (finding.id, finding.subject) == ("invalid-setting", name)
    assert f"{wrong} is below" in finding.problem
    assert check(variables(**{name: right})) == []


@pytest.mark.parametrize("seconds", [40, "45"])
def test_nodes_that_are_given_up_before_their_kubelets_reconnect_are_warned_of(seconds: Any) -> None:
    name = "controller_manager_node_grace_seconds"
    [finding] = check(variables(**{name: seconds}))
    assert (finding.id, finding.subject, finding.severity) == ("node-grace", name, "warning")
    assert f"{seconds} is not above 45" in finding.problem
    enough: Any = 46
    assert check(variables(**{name: enough})) == []
    default = yaml.safe_load((specs.ROLES / "controller-manager" / "defaults" / "main.yml").read_text())[name]
    assert check(variables(**{name: default})) == []


def test_a_manifest_that_is_none_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("---\nkind: Pod\n")
    [finding] = check(variables(addons_directory=str(tmp_path)))
    assert (finding.id, finding.subject) == ("invalid-setting", "addons_directory")
    assert "a.yaml:2: it has no apiVersion" in finding.problem


def test_whether_there_is_an_addon_is_said_of_the_whole_cluster() -> None:
    differing = [variables("h0", metrics_server_enabled=True), variables("h1", metrics_server_enabled=False)]
    assert ("setting-differs", "metrics_server_enabled") in [
        (finding.id, finding.subject) for finding in check(*differing)
    ]


def test_addresses_of_services_are_none_of_hosts() -> None:
    hosts = [
        variables(f"h{n}", cluster_host_address=f"192.0.2.{n + 1}", metallb_addresses=["192.0.2.2/31"]) for n in (0, 1)
    ]
    [finding] = check(*hosts)
    assert (finding.id, finding.subject) == ("invalid-setting", "metallb_addresses")
    assert "192.0.2.2/31 has 192.0.2.2 in it, which is an address of h1" in finding.problem
    assert check(*(variables(f"h{n}", metallb_addresses=["192.0.2.64/28"]) for n in (0, 1))) == []


def test_a_limit_of_connection_tracking_is_not_below_zero() -> None:
    below = check(variables(host_conntrack_max=-1, host_conntrack_tcp_close_wait_seconds="-5"))
    subjects = ["host_conntrack_max", "host_conntrack_tcp_close_wait_seconds"]
    assert [(finding.id, finding.subject) for finding in below] == [("invalid-setting", name) for name in subjects]
    assert check(variables(host_conntrack_max="0")) == []


def test_kube_proxy_has_one_form_and_as_a_daemonset_one_configuration() -> None:
    different = [variables("h0", kube_proxy_form="service"), variables("h1", kube_proxy_form="daemonset")]
    assert [finding.subject for finding in check(*different)] == ["kube_proxy_form"]
    modes = {"h0": "nftables", "h1": "iptables"}
    for form, subjects in (("daemonset", ["kube_proxy_mode"]), ("service", [])):
        hosts = [variables(name, kube_proxy_form=form, kube_proxy_mode=mode) for name, mode in modes.items()]
        assert [finding.subject for finding in check(*hosts)] == subjects


def test_with_calico_all_nodes_have_rules_of_one_kind() -> None:
    modes = ["nftables", "iptables"]
    for network, expected in (("calico", ["kube_proxy_mode"]), ("bridge", [])):
        differing = [
            variables(f"h{n}", pod_network_plugin=network, kube_proxy_mode=mode) for n, mode in enumerate(modes)
        ]
        assert [each.subject for each in check(*differing) if each.id == "setting-differs"] == expected


def test_what_kubelets_would_not_start_with_is_refused() -> None:
    given = variables("h0", kubelet_kube_reserved={"memory": "1 GB"})
    assert ("invalid-setting", "kubelet_kube_reserved", "h0") in found(given)


def test_policies_without_an_engine_are_a_warning_once_and_the_same_on_all_hosts() -> None:
    [finding] = check(*(variables(name, network_policy_engine="none") for name in ("h0", "h1")))
    assert (finding.id, finding.severity, finding.host) == ("network-policy", "warning", "settings")
    assert "network-policy to preflight_ignore" in finding.remediation
    differing = [variables("h0", network_policy_engine="kube-router"), variables("h1", network_policy_engine="none")]
    assert [(finding.id, finding.subject) for finding in check(*differing)] == [
        ("setting-differs", "network_policy_engine")
    ]


@pytest.mark.parametrize(
    ("network", "backend", "severities"),
    [
        ("bridge", "vxlan", []),
        ("flannel", "host-gw", []),
        # A node's own address in its pod network is no pod's.
        ("flannel", "vxlan", ["error"]),
        ("none", "vxlan", ["warning"]),
    ],
)
def test_new_pods_are_isolated_only_where_nodes_have_no_addresses_among_theirs(
    network: str, backend: str, severities: list[str]
) -> None:
    given: dict[str, Any] = {"pod_network_plugin": network, "pod_network_flannel_backend": backend}
    isolated = check(variables(**given, network_policy_engine="kube-router", network_policy_new_pods="isolated"))
    assert [(finding.id, finding.severity) for finding in isolated] == [("network-policy", each) for each in severities]
    assert check(variables(**given, network_policy_engine="kube-router", network_policy_new_pods="open")) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("preflight_ignore", r"'memory' is a text, not a list: write .* -e '\{\"preflight_ignore\": "),
        ("kubelet_extra_config", "'memory' is not of type dict"),
    ],
)
def test_a_text_is_no_list(name: str, told: str) -> None:
    (problem,) = _problems(name, "memory", specs.load().options[name])
    assert re.match(told, problem)


@pytest.mark.parametrize("name", ["", "c" * 50, "two\nlines", " mine"])
def test_a_cluster_name_fits_into_its_certificates(name: str) -> None:
    assert list(_cluster_name(name))
    assert not list(_cluster_name("My Cluster: 1"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cluster_name", "c" * 50),
        ("cluster_template_overrides", "not/absolute/templates"),
        ("component_mirror", "mirror.example.org"),
    ],
)
def test_what_the_type_does_not_say_is_looked_at(name: str, value: str) -> None:
    values: dict[str, Any] = {name: value}
    assert ("invalid-setting", name, "h0") in found(variables(**values))


def test_chosen_versions_are_looked_at_once_for_all_hosts() -> None:
    hosts = [variables(name, component_versions={"kubernetes": "1.20.0"}) for name in ("h0", "h1")]
    (finding,) = [each for each in check(*hosts) if each.subject == "component_versions"]
    assert (finding.id, finding.host) == ("component-versions", "settings")


_HANDLER = {"name": "gvisor", "type": "gvisor"}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("container_runtime", "rktlet", "speak no CRI v1"),
        ("container_runtime", "dockerd", "write docker for Docker"),
        ("containerd_runtimes", [_HANDLER, _HANDLER], "gvisor is there twice"),
    ],
)
def test_runtimes_that_there_are_not(name: str, value: Any, problem: str) -> None:
    (finding,) = check(variables(given={name: "hosts.yml:3"}, **{name: value}))
    assert (finding.id, finding.subject, finding.host) == ("invalid-setting", name, "h0")
    assert f"`{name}` (hosts.yml:3): " in finding.problem
    assert problem in finding.problem
    assert check(variables(container_runtime="containerd", containerd_runtimes=[_HANDLER])) == []


def test_pods_find_their_handler_on_every_node() -> None:
    differing = [variables("h0", containerd_runtimes=[_HANDLER]), variables("h1", containerd_runtimes=[])]
    assert ("setting-differs", "containerd_runtimes") in [(each.id, each.subject) for each in check(*differing)]
