"""Directories that people set: written one way or the other they are the same, and some cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubeproof.install import request
from kubeproof.preflight.model import Host
from kubeproof.preflight.settings import Variables, check_settings
from kubeproof.settings import directories, specs

SPECS = specs.load()
# Those that are on hosts; the state directory is on the controller, and only has to be absolute.
ON_HOSTS = (
    "backup_directory",
    "cluster_bin_directory",
    "containerd_root_directory",
    "crio_root_directory",
    "docker_root_directory",
    "etcd_data_directory",
)
PATHS = sorted(name for name, option in SPECS.options.items() if option.get("type") == "path")


def found(**values: Any) -> list[tuple[str, str]]:
    entry = Variables(Host("h0", frozenset(["etcd"]), ""), dict.fromkeys(values, "hosts.yml:3"), values, {})
    groups = {"etcd": ["h0"], "control_plane": ["h0"], "workers": ["h0"]}
    listed = check_settings([entry], groups, SPECS)
    return [(each.subject, each.problem.partition(": ")[2]) for each in listed if each.id == "invalid-setting"]


@pytest.mark.parametrize(
    ("written", "path"),
    [("/srv/etcd/", "/srv/etcd"), ("//srv///etcd", "/srv/etcd"), ("/srv/./etcd", "/srv/etcd"), ("/", "/"), ("//", "/")],
)
def test_one_way_to_write_a_path(written: str, path: str) -> None:
    assert directories.normal(written) == path


@pytest.mark.parametrize("kind", ["directories", "files", "certificates", "absent"])
def test_hosts_are_told_one_way_only(kind: str, tmp_path: Path) -> None:
    certificate = {"authority": "etcd", "common_name": "x", "usages": ["client"]}
    items: dict[str, list[Any]] = {
        "directories": [{"path": "/srv//etcd/"}],
        "files": [{"content": "", "dest": "/srv//etcd/"}],
        "certificates": [{"path": "/srv//etcd/", **certificate}],
        "absent": ["/srv//etcd/"],
    }
    payload = request.Request.parse({kind: items[kind]}, str(tmp_path)).payload(lambda _: "")
    (told,) = payload["keys" if kind == "certificates" else kind]
    assert (told if kind == "absent" else told["path"]) == "/srv/etcd"


def test_roles_name_no_relative_paths(tmp_path: Path) -> None:
    with pytest.raises(request.RequestError, match="'srv/etcd' is not an absolute path"):
        request.Request.parse({"directories": [{"path": "srv/etcd"}]}, str(tmp_path)).payload(lambda _: "")


def test_all_settings_for_directories_are_of_that_type() -> None:
    # That one is empty for none.
    assert {name for name in SPECS.options if name.endswith("_directory")} - {"addons_directory"} <= set(PATHS)
    # Pods have directories in that one, for which rules are stricter (test_local_path.py).
    others = {"cluster_state_directory", "kubelet_resolv_conf", "local_path_directory"}
    assert set(ON_HOSTS) | others == set(PATHS)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("value", ["srv/x", "./x", "~/x", "../x", ""])
def test_relative_paths_are_refused(name: str, value: str) -> None:
    assert (name, f"{value!r} is not an absolute path") in found(**{name: value})


@pytest.mark.parametrize("name", ON_HOSTS)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("/srv/../etc", "has `..` in it"),
        ("/srv/my etcd", "has ' ' in it"),
        ("/srv/%n", "has '%' in it"),
        ("/srv/$x", "has '$' in it"),
        ("/var/tmp/x", "is in /var/tmp, which does not persist"),  # noqa: S108
        ("/run/x/", "is in /run,"),
    ],
)
def test_paths_that_mean_something_else(name: str, value: str, problem: str) -> None:
    assert any(subject == name and problem in said for subject, said in found(**{name: value}))


@pytest.mark.parametrize("value", ["/home/etcd", "/root", "//home//x/"])
def test_what_is_hidden_from_services(value: str) -> None:
    for name in ("backup_directory", "cluster_bin_directory", "etcd_data_directory"):
        assert any("is hidden from the services" in said for _, said in found(**{name: value}))
    assert found(containerd_root_directory="/home/containerd") == []


@pytest.mark.parametrize("value", ["/", "/var/lib/", "/srv", "/usr/local/bin"])
def test_what_is_not_one_components_alone(value: str) -> None:
    for name in ("backup_directory", "containerd_root_directory", "etcd_data_directory"):
        assert any("has others' files in it" in said for _, said in found(**{name: value})), name
    assert found(cluster_bin_directory="/usr/local/bin/") == []


def test_one_components_directory_in_anothers() -> None:
    problem = "/data/containerd is in /data, which is etcd_data_directory: each is one component's alone"
    both = found(etcd_data_directory="/data/", containerd_root_directory="/data/containerd")
    assert both == [("containerd_root_directory", problem)]
    assert found(etcd_data_directory="/data/etcd", containerd_root_directory="/data/containerd") == []


@pytest.mark.parametrize("value", ["/srv/etcd/", "/data/etcd", "/srv//etcd", "/var/lib/etcd", "/mnt/disk-1/etcd.d"])
def test_directories_of_ones_own_are_fine(value: str) -> None:
    assert found(etcd_data_directory=value) == []
