"""What roles install on hosts that may do everything, and on those that may not.

Above all who sets the limits of connection tracking: the role `host`, where they can be set, and kube-proxy nowhere.
"""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.preflight.builders import report

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
# A machine of its own, and a container, which can't write what is the kernel's.
INOTIFY = {
    "fs.inotify.max_user_instances": {"value": "128", "writable": True},
    "fs.inotify.max_user_watches": {"value": "1048576", "writable": True},
}
MACHINE = report(cpus=8, sysctls=INOTIFY)
CONTAINER = report(
    container="podman",
    capabilities={"init": ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]},
    sysctls={**INOTIFY, "net.netfilter.nf_conntrack_max": {"value": "262144", "writable": False}},
)
MANAGED = report(
    processes=[
        {"pid": 1, "name": "systemd-network", "unit": "systemd-networkd.service"},
        {"pid": 2, "name": "NetworkManager", "unit": "NetworkManager.service"},
    ]
)
POD = {"kube_proxy_form": "daemonset"}
HOSTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "machine": (MACHINE, {}),
    "container": (CONTAINER, {}),
    "machine-tuned": (
        MACHINE,
        {
            "host_conntrack_max": 500000,
            "host_conntrack_tcp_established_seconds": 0,
            "host_conntrack_tcp_close_wait_seconds": 60,
        },
    ),
    "machine-sysctls": (
        MACHINE,
        {
            "host_sysctls": {
                "vm.max_map_count": 262144,
                "net.ipv4.tcp_rmem": "4096 131072 6291456",
                "fs.inotify.max_user_instances": 1024,
                "net.ipv6.conf.eth0/100.accept_ra": 2,
            },
            "cluster_pod_network": ["10.244.0.0/16", "fd00:10:244::/56"],
        },
    ),
    "machine-managed": (MANAGED, {}),
    "machine-pod": (MACHINE, POD),
    "container-pod": (CONTAINER, POD),
    "pod-iptables": (MACHINE, {**POD, "kube_proxy_mode": "iptables"}),
    "pod-udp": (MACHINE, {**POD, "kube_proxy_extra_config": {"conntrack": {"udpTimeout": "10s"}}}),
    "pod-liberal": (MACHINE, {**POD, "kube_proxy_extra_config": {"conntrack": {"tcpBeLiberal": True}}}),
}
UNTOUCHED = {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"}
COMPONENTS = {"images": {"kube-proxy": "i"}, "image_archives": [{"reference": "i", "digest": "sha256:1"}]}


def _template(role: str, path: str) -> str:
    return f"{{{{ lookup('ansible.builtin.template', '{ROLES / role / 'templates' / path}.j2') }}}}"


RENDERED = {
    "sysctls": _template("host", "etc/sysctl.d/99-zz-kubeproof.conf"),
    "values": "{{ __host_sysctls | to_json }}",
    "modules": _template("host", "etc/modules-load.d/kubernetes.conf"),
    "unit": _template("kube-proxy", "etc/systemd/system/kube-proxy.service"),
    "config": "{{ __kube_proxy_config }}",
    "objects": _template("kube-proxy", "daemonset.yaml"),
    "managers": "{{ __pod_network_manager_files | map(attribute='template') | join(' ') }}",
    "devices": _template("pod_network", "etc/systemd/network/00-kubeproof.network"),
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the roles install, host by host, as Ansible makes it of settings and facts."""
    directory = tmp_path_factory.mktemp("rendered")
    (directory / "templates").symlink_to(ROLES / "kube-proxy" / "templates")
    for name, (found, settings) in HOSTS.items():
        (directory / f"{name}.given.json").write_text(json.dumps({"found": found, **settings}))
    (directory / "hosts.yml").write_text(
        yaml.safe_dump(
            {"control_plane": {"hosts": {"machine": {}}}, "workers": {"hosts": {name: {} for name in HOSTS}}}
        )
    )
    given = {"ansible.builtin.include_vars": "{{ inventory_hostname }}.given.json"}
    facts = {"cacheable": True, "kubeproof_host": "{{ found }}", "kubeproof_components": COMPONENTS}
    write = {
        "ansible.builtin.copy": {
            "dest": "{{ playbook_dir }}/{{ inventory_hostname }}.json",
            "content": "{{ rendered | to_json }}",
            "mode": "0600",
        },
        "delegate_to": "localhost",
    }
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [
            str(ROLES / role / kind / "main.yml")
            for role in ("cluster", "host", "pod_network", "kube-proxy")
            for kind in ("defaults", "vars")
        ],
        "vars": {"rendered": RENDERED},
        "tasks": [given, {"ansible.builtin.set_fact": facts}, write],
    }
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "play.yml"],
        cwd=directory, env={**os.environ, **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((directory / f"{name}.json").read_text()) for name in HOSTS}


def _tracking(text: str) -> dict[str, str]:
    return {name: value for name, value in _sysctls(text).items() if "conntrack" in name}


def _sysctls(text: str) -> dict[str, str]:
    return dict(line.split(" = ") for line in text.splitlines())


def _pod(text: str) -> dict[str, Any]:
    daemonset = next(item for item in yaml.safe_load_all(text) if item["kind"] == "DaemonSet")
    found: dict[str, Any] = daemonset["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("host", ["machine", "container", "machine-pod", "container-pod"])
def test_kube_proxy_leaves_the_limits_alone_everywhere(rendered: dict[str, dict[str, str]], host: str) -> None:
    """As a user of its own it must not even look at them: it reads a file that only root may read, and ends."""
    assert yaml.safe_load(rendered[host]["config"])["conntrack"] == UNTOUCHED
    assert "nf_conntrack" in rendered[host]["modules"].split()


@pytest.mark.parametrize("host", ["machine", "machine-pod"])
def test_a_host_has_them_in_either_form(rendered: dict[str, dict[str, str]], host: str) -> None:
    assert _tracking(rendered[host]["sysctls"]) == {
        "net.netfilter.nf_conntrack_buckets": "262144",
        "net.netfilter.nf_conntrack_max": "262144",
        "net.netfilter.nf_conntrack_tcp_timeout_established": "86400",
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "3600",
    }


@pytest.mark.parametrize("host", ["container", "container-pod"])
def test_a_host_that_cannot_write_them_is_left_as_it_is(rendered: dict[str, dict[str, str]], host: str) -> None:
    assert _tracking(rendered[host]["sysctls"]) == {}


def test_they_are_settings(rendered: dict[str, dict[str, str]]) -> None:
    assert _tracking(rendered["machine-tuned"]["sysctls"]) == {
        "net.netfilter.nf_conntrack_buckets": "507904",
        "net.netfilter.nf_conntrack_max": "500000",
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "60",
    }


def test_limits_of_inotify_are_raised_on_a_host_of_its_own(rendered: dict[str, dict[str, str]]) -> None:
    machine, container = (_sysctls(rendered[name]["sysctls"]) for name in ("machine", "container"))
    assert machine["fs.inotify.max_user_instances"] == "8192"
    # It is higher already.
    assert "fs.inotify.max_user_watches" not in machine
    assert not [name for name in container if name.startswith("fs.")]
    assert container["net.ipv4.ip_forward"] == "1"


def test_further_sysctls_override_all_others(rendered: dict[str, dict[str, str]]) -> None:
    found = _sysctls(rendered["machine-sysctls"]["sysctls"])
    assert found["vm.max_map_count"] == "262144"
    assert found["net.ipv4.tcp_rmem"] == "4096 131072 6291456"
    assert found["fs.inotify.max_user_instances"] == "1024"


def test_router_advertisements_are_kept_before_ipv6_is_forwarded(rendered: dict[str, dict[str, str]]) -> None:
    """The kernel drops the routes that it has from them when it begins to: in the file, and by the module."""
    in_file = list(_sysctls(rendered["machine-sysctls"]["sysctls"]))
    by_module = list(json.loads(rendered["machine-sysctls"]["values"]))
    assert in_file == by_module
    assert in_file.index("net.ipv6.conf.eth0/100.accept_ra") < in_file.index("net.ipv6.conf.all.forwarding")


@pytest.mark.parametrize("host", ["machine-pod", "container-pod"])
def test_a_pod_is_not_privileged_for_them(rendered: dict[str, dict[str, str]], host: str) -> None:
    assert "initContainers" not in _pod(rendered[host]["objects"])


@pytest.mark.parametrize("host", ["pod-iptables", "pod-udp", "pod-liberal"])
def test_it_is_for_sysctls_that_only_kube_proxy_sets(rendered: dict[str, dict[str, str]], host: str) -> None:
    [first] = _pod(rendered[host]["objects"])["initContainers"]
    assert first["securityContext"]["privileged"]
    assert "--init-only" in first["command"]


def test_the_service_has_the_oom_score_that_it_may_not_give_itself(rendered: dict[str, dict[str, str]]) -> None:
    assert "OOMScoreAdjust=-999\n" in rendered["machine"]["unit"]
    assert "OOMScoreAdjust" not in rendered["container"]["unit"]


def test_what_manages_a_hosts_network_is_told_what_is_ours(rendered: dict[str, dict[str, str]]) -> None:
    assert rendered["machine"]["managers"] == ""
    assert rendered["machine-managed"]["managers"].split() == [
        "etc/systemd/networkd.conf.d/90-kubeproof.conf.j2",
        "etc/systemd/network/00-kubeproof.network.j2",
        "etc/NetworkManager/conf.d/99-kubeproof.conf.j2",
    ]
    names = next(line for line in rendered["machine"]["devices"].splitlines() if line.startswith("Name="))
    patterns = names.removeprefix("Name=").split()
    for name, ours in {"cni0": True, "veth0a1b2c3d": True, "eth0": False, "veth0": False, "vethernet0": False}.items():
        assert any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns) == ours, name
