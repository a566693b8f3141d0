"""Directories on nodes as volumes: what is set, and what of it cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest

from kubeproof.settings import local_volumes

GROUPS = {"etcd": ["e1"], "control_plane": ["cp1"], "workers": ["w1", "w2"], "all": ["e1", "cp1", "w1", "w2"], "no": []}
GOOD = {"name": "data", "hosts": ["workers"], "path": "/srv/volumes/data", "size": "10Gi"}


def problems(*entries: Any, **values: Any) -> list[str]:
    settings = {"local_volumes_directories": list(entries), "etcd_data_directory": "/srv/etcd/", **values}
    return [problem for _, problem in local_volumes.problems(settings, GROUPS)]


def test_a_volume_for_each_entry_and_host() -> None:
    entries: list[dict[str, Any]] = [
        GOOD,
        {"name": "fast", "hosts": ["w2", "control_plane", "w2"], "path": "/srv/fast", "size": 500},
    ]
    found = local_volumes.by_host(entries, GROUPS)
    assert [(each.volume.rpartition("-")[0], each.host, each.path, each.size) for each in found] == [
        ("data-w1", "w1", "/srv/volumes/data", "10Gi"),
        ("data-w2", "w2", "/srv/volumes/data", "10Gi"),
        ("fast-w2", "w2", "/srv/fast", "500"),
        ("fast-cp1", "cp1", "/srv/fast", "500"),
    ]
    assert not problems(*entries)


def test_another_directory_is_another_volume() -> None:
    [one, _] = local_volumes.by_host([GOOD], GROUPS)
    [other, _] = local_volumes.by_host([{**GOOD, "path": "/srv/volumes/other"}], GROUPS)
    [larger, _] = local_volumes.by_host([{**GOOD, "size": "20Gi"}], GROUPS)
    assert one.volume != other.volume
    assert one.volume == larger.volume


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Data"}, "name 'Data' is not 1 to 40 lower case"),
        ({"name": "a" * 41}, "is not 1 to 40"),
        ({"name": 7}, "name 7 is not"),
        ({"hosts": []}, "is no list of hosts"),
        ({"hosts": "workers"}, "is no list of hosts"),
        ({"hosts": ["w3"]}, "'w3' is neither a host nor a group"),
        ({"hosts": ["e1"]}, "e1 is no node"),
        ({"hosts": ["etcd"]}, "e1 is no node"),
        ({"hosts": ["all"]}, "e1 is no node"),
        ({"hosts": ["no"]}, "the group no has no hosts"),
        ({"path": "srv/data"}, "is not an absolute path"),
        ({"path": "/srv/../etc"}, "has `..` in it"),
        ({"path": "/srv/volumes/"}, "is not written plainly"),
        ({"path": "//srv/volumes"}, "is not written plainly"),
        ({"path": "/srv/my volumes"}, "is not written plainly"),
        ({"path": "/srv"}, "directly below the root directory"),
        ({"path": "/"}, "directly below the root directory"),
        ({"path": 5}, "path 5 is no path"),
        ({"path": "/etc/kubernetes/data"}, "is in /etc,"),
        ({"path": "/var/lib/kubelet/pods"}, "is in /var/lib/kubelet,"),
        ({"path": "/var/lib"}, "/var/lib/containerd in it"),
        ({"path": "/srv/etcd/member"}, "is in /srv/etcd (etcd_data_directory)"),
        ({"path": "/srv/etcd"}, "is in /srv/etcd (etcd_data_directory)"),
        ({"size": "ten"}, "size 'ten' is no quantity"),
        ({"size": "0"}, "size '0' is no quantity"),
        ({"size": "10GB"}, "size '10GB' is no quantity"),
        ({"sise": "1Gi"}, "there is no sise"),
    ],
)
def test_what_cannot_be_meant(change: dict[str, Any], said: str) -> None:
    found = problems({**GOOD, **change})
    assert found, "nothing was found"
    assert said in found[0]
    assert found[0].startswith("entry 1")


def test_what_is_missing_or_no_entry_at_all() -> None:
    assert problems({"name": "data"}) == ["entry 1 (data): hosts, path, size is missing"]
    assert problems("data")[0].startswith("entry 1: 'data' is no mapping")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/srv/volumes/data", "are the same directory, /srv/volumes/data on w1"),
        ("/srv/volumes/data/more", "on w1 /srv/volumes/data/more"),
        ("/srv/volumes", "on w1 /srv/volumes/data"),
    ],
)
def test_volumes_that_are_in_each_other(path: str, said: str) -> None:
    [found] = problems(GOOD, {"name": "other", "hosts": ["w1"], "path": path, "size": "1Gi"})
    assert said in found


def test_neighbours_and_other_hosts_are_fine() -> None:
    assert not problems(GOOD, {**GOOD, "name": "other", "path": "/srv/volumes/data-2"})
    assert not problems({**GOOD, "hosts": ["w1"]}, {**GOOD, "hosts": ["w2"], "path": "/srv/volumes/data/more"})


def test_a_class_is_named_like_an_object() -> None:
    assert not problems(local_volumes_storage_class="fast.local")
    [found] = problems(local_volumes_storage_class="Local volumes")
    assert "is no name of a StorageClass" in found
