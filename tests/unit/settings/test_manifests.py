"""A directory of manifests: what is in it, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubeproof.settings import manifests
from kubeproof.settings.manifests import ManifestError

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"


def made(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def names(directory: Path) -> list[str]:
    return [item["metadata"]["name"] for item in manifests.read(directory)]


def test_all_documents_of_all_files_in_the_order_of_paths(tmp_path: Path) -> None:
    made(tmp_path, b_yaml=CONFIG % "c" + "---\n---\n" + CONFIG % "d", a__z_yml=CONFIG % "a", a__y_txt="no manifest")
    made(tmp_path, c_json='{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "e"}}')
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.yaml").write_text("neither")
    assert names(tmp_path) == ["a", "c", "d", "e"]


def test_a_list_is_its_items(tmp_path: Path) -> None:
    items = "".join(f"- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}\n" for name in "ab")
    made(tmp_path, list_yaml="apiVersion: v1\nkind: List\nitems:\n" + items)
    assert names(tmp_path) == ["a", "b"]


def test_yaml_is_read_as_kubernetes_reads_it(tmp_path: Path) -> None:
    """``=``: of prometheus-operator's definitions."""
    made(tmp_path, a_yaml=CONFIG % "a" + "data: {a: =, b: 22:22, c: 1e3}\n")
    assert manifests.read(tmp_path)[0]["data"] == {"a": "=", "b": "22:22", "c": 1000}


def test_what_looks_like_a_date_stays_a_text(tmp_path: Path) -> None:
    made(tmp_path, a_yaml=CONFIG % "a" + "data: {day: 2026-11-28}\n")
    assert manifests.read(tmp_path)[0]["data"] == {"day": "2026-11-28"}


@pytest.mark.parametrize("namespace", ["null", '""', "~"])
def test_an_empty_namespace_is_none(tmp_path: Path, namespace: str) -> None:
    made(tmp_path, a_yaml=CONFIG % f"a, namespace: {namespace}")
    assert manifests.read(tmp_path)[0]["metadata"] == {"name": "a"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CONFIG % "a" + "---\nkind: [", ":5: it is not YAML"),
        (CONFIG % "a" + "---\n- one\n", ":5: it is no object but list"),
        ("a: {{ b }}\n", "it is not YAML"),
        ("kind: ConfigMap\n", ":1: it has no apiVersion"),
        ("apiVersion: v1\n", ":1: it has no kind"),
        ("apiVersion: v1\nkind: ConfigMap\n", "ConfigMap has no metadata"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", "has no name"),
        (CONFIG % "12", "has no name, or one that is not a text"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", "has generateName"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a/status}\n", "Pod 'a/status': no name in the API has / or %"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a%2fb}\n", "Pod 'a%2fb': no name in the API has / or %"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: '..'}\n", "Pod '..': no name in the API has / or %"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b/c}\n", "namespace 'b/c': no name in the API"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: 1}\n", "a namespace that is not a text"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: [b]}\n", "labels that are not a dictionary"),
        ("apiVersion: v1\nkind: List\n", "a List has no items"),
        (CONFIG % "a" + "data: {b: c}\ndata: {}\n", ":5: it is not YAML: 'data' is there twice"),
        (CONFIG % "a" + "data: .nan\n", "not JSON compliant"),
        (CONFIG % "a" + "data: !!int 22:22\n", ":4: it is not YAML: invalid literal"),
        (CONFIG % "a" + "data: !!binary aGk=\n", "not JSON serializable"),
        (CONFIG % "a" + "data: !local x\n", "it is not YAML: could not determine a constructor"),
        (CONFIG % "a" + "---\n" + CONFIG % "a", ":5: ConfigMap a is in "),
    ],
)
def test_what_cannot_be_applied_is_named(tmp_path: Path, text: str, said: str) -> None:
    made(tmp_path, a_yaml=text)
    with pytest.raises(ManifestError) as caught:
        manifests.read(tmp_path)
    assert str(tmp_path / "a.yaml") in str(caught.value)
    assert said in str(caught.value)


def test_the_same_object_in_another_version_of_its_api_is_the_same(tmp_path: Path) -> None:
    for name, version, namespace in (("a", "v1", ""), ("b", "v1beta1", "namespace: default, ")):
        text = f"apiVersion: x.io/{version}\nkind: X\nmetadata: {{{namespace}name: x}}\n"
        made(tmp_path, **{f"{name}_yaml": text})
    with pytest.raises(ManifestError, match=r"b.yaml:1: X x is in .*a.yaml:1 as well"):
        manifests.read(tmp_path)


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("relative", "is not an absolute path"),
        ("{}/nowhere", "is no directory on the controller"),
        ("{}/empty", "has no manifests"),
        ("{}/wrong", "it has no kind"),
    ],
)
def test_a_setting_that_is_wrong_is_a_problem(tmp_path: Path, directory: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    made(tmp_path, wrong__a_yaml="apiVersion: v1\n")
    [(setting, problem)] = manifests.problems({"addons_directory": directory.format(tmp_path)})
    assert setting == "addons_directory"
    assert said in problem


def test_no_directory_and_a_sound_one_are_no_problem(tmp_path: Path) -> None:
    made(tmp_path, a_yaml=CONFIG % "a")
    for value in ({}, {"addons_directory": ""}, {"addons_directory": str(tmp_path)}):
        assert list(manifests.problems(value)) == []
