"""Volumes that are not set any more: removed, unless a claim has them."""

from __future__ import annotations

from typing import Any

import local_volumes_prune

Item = dict[str, Any]


def volume(name: str, phase: str, storage_class: str = "local") -> Item:
    claim = {"namespace": "shop", "name": "orders"} if phase in {"Bound", "Released"} else None
    spec = {"storageClassName": storage_class, "claimRef": claim}
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}}


class Server:
    """An API server with volumes and classes of ours."""

    def __init__(self, *volumes: Item, classes: tuple[str, ...] = ("local",)) -> None:
        self.volumes, self.classes = list(volumes), [{"metadata": {"name": name}} for name in classes]
        self.deleted: list[tuple[str, bool]] = []

    def items(self, path: str) -> list[Item]:
        assert path.endswith("?labelSelector=kubeproof.io/local-volume")
        return self.classes if "storageclasses" in path else self.volumes

    def delete(self, path: str, dry_run: bool) -> None:
        self.deleted.append((path.rpartition("/")[2], dry_run))


def prune(server: Server, *wanted: str, classes: tuple[str, ...] = (), dry_run: bool = False) -> tuple[list[str], Any]:
    changes: list[dict[str, str]] = []
    parameters = {"volumes": list(wanted), "storage_classes": list(classes)}
    kept = local_volumes_prune.prune(server, parameters, dry_run, changes)
    return [each["path"] for each in changes], kept


def test_what_is_set_stays() -> None:
    server = Server(volume("data-w1", "Available"), volume("data-w2", "Bound"))
    assert prune(server, "data-w1", "data-w2", classes=("local",)) == ([], [])
    assert not server.deleted


def test_what_is_not_set_goes_with_its_class_unless_a_claim_has_it() -> None:
    server = Server(volume("a", "Available"), volume("b", "Released"), volume("c", "Failed"))
    assert prune(server) == (
        ["PersistentVolume a", "PersistentVolume b", "PersistentVolume c", "StorageClass local"],
        [],
    )
    bound = volume("data-w2", "Bound")
    server = Server(volume("data-w1", "Available"), bound, classes=("local", "former"))
    assert prune(server) == (["PersistentVolume data-w1", "StorageClass former"], [bound])
    assert [name for name, _ in server.deleted] == ["data-w1", "former"]


def test_a_volume_that_is_going_is_left_alone() -> None:
    going = volume("data-w1", "Available")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert prune(Server(going), classes=("local",)) == ([], [])


def test_why_a_volume_is_kept() -> None:
    told = local_volumes_prune.told(volume("data-w2", "Bound"))
    assert "data-w2 is not in local_volumes_directories any more, and is kept: claim shop/orders has it" in told


def test_check_mode_only_tries() -> None:
    server = Server(volume("data-w1", "Available"))
    changed, _ = prune(server, dry_run=True)
    assert changed == ["PersistentVolume data-w1", "StorageClass local"]
    assert all(dry_run for _, dry_run in server.deleted)
