"""A directory of Kubernetes manifests: read and checked before anything of them is applied."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from kubeproof.core import kubernetes_yaml
from kubeproof.core.errors import KubeproofError

SETTING = "addons_directory"
SUFFIXES = (".yaml", ".yml", ".json")
# What is a part of a path: after a / there would be a subresource of another object. The API refuses these as well, but
# not before what comes first is applied (IsValidPathSegmentName in k8s.io/apimachinery).
_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/%]*")
_HINT = "docs/operations/addons.md describes the directory"

Object = dict[str, Any]


class ManifestError(KubeproofError):
    """A directory or file that cannot be applied; the message names file and line."""


class _Loader(kubernetes_yaml.Loader):
    """As Kubernetes reads YAML, and a key is there once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises ConstructorError for a key that is there twice: of two values one would be lost without a word."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value == "<<" or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read(directory: Path) -> list[Object]:
    """The objects of all manifests, in the order of paths. Raises ManifestError at the first that is none."""
    found: list[Object] = []
    places: dict[tuple[str, ...], str] = {}
    for path in _files(directory):
        for place, item in _objects(path):
            named = identity(item)
            if named in places:
                raise ManifestError(f"{place}: {item['kind']} {named[-1]} is in {places[named]} as well", hint=_HINT)
            places[named] = place
            found.append(item)
    if not found:
        raise ManifestError(
            f"{directory}: it has no manifests (files named *.yaml, *.yml or *.json)",
            hint=f'to remove what an earlier run has applied, set {SETTING}: ""',
        )
    return found


def identity(item: Mapping[str, Any]) -> tuple[str, ...]:
    """Which object it is, in whichever version of its API: group, kind, namespace, name."""
    metadata = item["metadata"]
    group = str(item["apiVersion"]).rpartition("/")[0]
    return group, str(item["kind"]), str(metadata.get("namespace") or "default"), str(metadata["name"])


def problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the setting and with what is in the directory, as setting and problem."""
    directory = str(values.get(SETTING) or "")
    if not directory:
        return
    if not Path(directory).is_absolute():
        example = "{{ inventory_dir }}/../addons"
        yield SETTING, f"{directory!r} is not an absolute path; one that begins at the inventory's is '{example}'"
        return
    try:
        read(Path(directory))
    except ManifestError as error:
        yield SETTING, str(error)


def _files(directory: Path) -> Iterator[Path]:
    """Manifests in it and below; hidden files and directories are left out, as what editors and git leave."""
    if not directory.is_dir():
        raise ManifestError(f"{directory} is no directory on the controller", hint=_HINT)
    for path in sorted(directory.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
        if path.suffix in SUFFIXES and path.is_file() and not hidden:
            yield path


def _objects(path: Path) -> Iterator[tuple[str, Object]]:
    """The objects of one file, each with the place where its document begins."""
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ManifestError(f"{path}: it cannot be read: {error}", hint=_HINT) from error
    try:
        while loader.check_node() and (node := loader.get_node()):
            place = f"{path}:{node.start_mark.line + 1}"
            document = loader.construct_document(node)
            if document is None:
                continue
            for item in _members(place, document):
                _check(place, item)
                yield place, _without_empty_namespace(item)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ManifestError(f"{path}{line}: it is not YAML: {error.problem or error.context}", hint=_HINT) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: it is not YAML: {error}", hint=_HINT) from error
    finally:
        loader.dispose()


def _without_empty_namespace(item: Object) -> Object:
    """An object whose namespace is null or empty is in none, as the API reads it: it then has no such key."""
    metadata = item["metadata"]
    kept = {key: value for key, value in metadata.items() if key != "namespace" or value}
    return {**item, "metadata": kept}


def _members(place: str, document: Any) -> list[Any]:
    """The objects of a document: several if it is a list of objects."""
    if isinstance(document, dict) and document.get("kind") == "List":
        items = document.get("items")
        if not isinstance(items, list):
            raise ManifestError(f"{place}: a List has no items", hint=_HINT)
        return items
    return [document]


def _check(place: str, item: Any) -> None:
    wrong = next(_wrong(item), "")
    if wrong:
        raise ManifestError(f"{place}: {wrong}", hint=_HINT)


def _wrong(item: Any) -> Iterator[str]:
    """What keeps a document from being an object that can be applied: what comes later relies on what comes first."""
    if not isinstance(item, dict):
        yield f"it is no object but {type(item).__name__}: {str(item)[:60]!r}; is it a template?"
    for key in ("apiVersion", "kind"):
        if not isinstance(item.get(key), str) or not item[key]:
            yield f"it has no {key}"
    metadata = item.get("metadata")
    if not isinstance(metadata, dict):
        yield f"{item['kind']} has no metadata"
    if "generateName" in metadata:
        yield f"{item['kind']} has generateName: each run would create another one; give it a name"
    yield from _misnamed(item["kind"], metadata)
    try:
        json.dumps(item, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield f"{item['kind']} {metadata['name']}: {error}"


def _misnamed(kind: str, metadata: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the names and labels of an object."""
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        yield f"{kind} has no name, or one that is not a text"
    if not isinstance(metadata.get("namespace") or "", str):
        yield f"{kind} {name} has a namespace that is not a text"
    for what, each in ((kind, name), ("namespace", metadata.get("namespace") or "")):
        if isinstance(each, str) and not _SEGMENT.fullmatch(each):
            yield f"{what} {each!r}: no name in the API has / or %, or is . or .."
    if not isinstance(metadata.get("labels") or {}, dict):
        yield f"{kind} {name} has labels that are not a dictionary"
