"""The controller's part of add-ons: what the directory has, and who owns an object."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from plugins.action import kube_addons

import kubeproof.install.action
from kubeproof.core.errors import KubeproofError


def ran(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> dict[str, Any]:
    plugin = kube_addons.ActionModule.__new__(kube_addons.ActionModule)
    plugin._task = Mock(args=arguments)
    monkeypatch.setattr(kubeproof.install.action.Action, "_module", lambda _, given: given)
    return plugin.act()


MAP: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}}


def test_the_directorys_manifests_are_one_more_addon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n")
    addons = [{"name": "x", "objects": [MAP]}]
    given = ran(monkeypatch, server="s", addons=addons, directory=str(tmp_path), prune=True)
    assert "directory" not in given
    assert [(addon["name"], addon["objects"][0]["metadata"]["name"]) for addon in given["addons"]] == [
        ("x", "a"), ("directory", "b"),
    ]  # fmt: skip


def test_without_a_directory_there_is_no_addon_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran(monkeypatch, addons=[], directory="")["addons"] == []


CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "c"},
    "spec": {"group": "g", "names": {"kind": "C"}},
}


def test_a_components_manifests_come_with_an_addon_that_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def objects(_pins: Any, component: Any, _cache: Any) -> list[dict[str, Any]]:
        asked.append((component.name, component.version))
        return [CRD, {**CRD, "metadata": {"name": "d"}}]

    monkeypatch.setattr("kubeproof.components.manifests.objects", objects)
    over = {**CRD, "spec": {"scope": "Cluster", "names": {"plural": "cs"}}}
    addon: dict[str, Any] = {"name": "x", "component": "metallb", "objects": [MAP, over]}
    given = ran(monkeypatch, addons=[addon], versions={"metallb": "0.15.9"})
    assert "versions" not in given
    [made] = given["addons"]
    assert [each["metadata"]["name"] for each in made["objects"]] == ["c", "d", "a"]
    assert made["objects"][0]["spec"] == {"group": "g", "scope": "Cluster", "names": {"kind": "C", "plural": "cs"}}
    assert "component" not in made
    assert CRD["spec"] == {"group": "g", "names": {"kind": "C"}}
    assert ran(monkeypatch, addons=[{**addon, "objects": []}])["addons"] == [
        {"name": "x", "objects": [CRD, {**CRD, "metadata": {"name": "d"}}]}
    ]
    off = {**addon, "component": "", "objects": []}
    assert ran(monkeypatch, addons=[off])["addons"] == [{"name": "x", "objects": []}]
    assert asked == [("metallb", "0.15.9"), ("metallb", "0.15.2")]


def test_an_object_of_two_addons_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    addons = [{"name": "x", "objects": [MAP]}, {"name": "y", "objects": [MAP]}]
    with pytest.raises(KubeproofError, match="ConfigMap a is of the add-on x and of y"):
        ran(monkeypatch, addons=addons)
