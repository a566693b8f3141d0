"""What ``install_component`` asks of a host, checked and completed: pure functions, no Ansible."""

from __future__ import annotations

import base64
import datetime
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
import yaml

from kubeproof.core import fast_yaml, zipped
from kubeproof.core.errors import KubeproofError
from kubeproof.pki import cas
from kubeproof.pki.kubeconfig import compose
from kubeproof.settings import directories, fixed, portable_python

ARGUMENTS = ("users", "directories", "certificates", "files", "modules", "sysctls", "settings", "remember", "absent")
_FILE_SOURCES = (
    "template", "content", "authority", "authority_key", "service_account", "kubeconfig", "program", "cluster_keys",
)  # fmt: skip
_FILE_KEYS = {*_FILE_SOURCES, "dest", "owner", "group", "mode", "validate", "merge"}
_DIRECTORY_KEYS = {"path", "owner", "group", "mode", "data", "own"}
_CERTIFICATE_KEYS = {
    "path", "authority", "common_name", "usages", "organizations", "names", "addresses", "owner", "group", "mode",
}  # fmt: skip


class RequestError(KubeproofError):
    """The task's arguments are wrong: a fault of the role, said so that its author finds it."""


@dataclass(frozen=True)
class Issued:
    """Certificates to be written: the module's ``files``, and the changes as shown."""

    files: list[dict[str, Any]]
    changes: list[dict[str, str]]


@dataclass(frozen=True)
class Request:
    """One call of ``install_component``. The lists are as in its documentation."""

    users: Sequence[str]
    directories: Sequence[Mapping[str, Any]]
    certificates: Sequence[Mapping[str, Any]]
    files: Sequence[Mapping[str, Any]]
    modules: Sequence[str]
    sysctls: Mapping[str, Any]
    settings: Mapping[str, Any]
    remember: Mapping[str, Any]
    absent: Sequence[str]
    pki_directory: Path
    # What programs of ours run by.
    python: str = portable_python.USUAL
    # What the operator has to know of what was rendered.
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, arguments: Mapping[str, Any], state_directory: str, python: str = portable_python.USUAL) -> Request:
        """Check a task's arguments. ``python``: the path of the host's. Raises RequestError."""
        unknown = set(arguments) - set(ARGUMENTS)
        if unknown:
            raise RequestError(f"install_component does not know {sorted(unknown)}; it knows {list(ARGUMENTS)}")
        _check_items("directories", arguments.get("directories"), _DIRECTORY_KEYS, {"path"})
        _check_items(
            "certificates", arguments.get("certificates"), _CERTIFICATE_KEYS,
            {"path", "authority", "common_name", "usages"},
        )  # fmt: skip
        _check_items("files", arguments.get("files"), _FILE_KEYS, set())
        return cls(
            users=arguments.get("users") or (),
            directories=arguments.get("directories") or (),
            certificates=arguments.get("certificates") or (),
            files=arguments.get("files") or (),
            modules=arguments.get("modules") or (),
            sysctls=arguments.get("sysctls") or {},
            settings=_settings(arguments.get("settings") or {}),
            remember=arguments.get("remember") or {},
            absent=arguments.get("absent") or (),
            pki_directory=Path(state_directory) / "pki",
            python=python,
        )

    def payload(self, render: Callable[[str], str]) -> dict[str, Any]:
        """What the module on the host is given. ``render`` turns a template's name into text."""
        return {
            "users": [str(user) for user in self.users],
            "directories": [_directory(item) for item in self.directories],
            "files": [self._file(item, render) for item in self.files],
            "keys": [_owned({"path": _path(item["path"])}, item) for item in self.certificates],
            "modules": [str(name) for name in self.modules],
            "sysctls": {str(name): str(value) for name, value in self.sysctls.items()},
            "settings": {name: fixed.recorded(value, name) for name, value in self.settings.items()},
            "remember": dict(self.remember),
            "absent": [_path(path) for path in self.absent],
        }

    @staticmethod
    def subject(payload: Mapping[str, Any]) -> dict[str, list[str]]:
        """Everything that the module looks at for a payload, by kind, as ``module_utils/settled.py`` knows it."""
        keys = [f"{item['path']}{suffix}" for item in payload["keys"] for suffix in (".key", ".crt")]
        paths = [item["path"] for kind in ("directories", "files") for item in payload[kind]]
        return {
            "files": sorted({*paths, *keys, *payload["absent"]}),
            "users": sorted(payload["users"]),
            "modules": sorted(payload["modules"]),
            "sysctls": sorted(payload["sysctls"]),
        }

    def issue(self, found: Mapping[str, Mapping[str, str]], *, pretend: bool) -> Issued:
        """Sign what is missing or no longer right among the certificates that the host has.

        ``found`` is the module's answer: path to ``{certificate, public_key}``, PEM. ``pretend`` (check mode) signs
        nothing: the key of a certificate to come may not exist yet.
        """
        now = datetime.datetime.now(datetime.UTC)
        files: list[dict[str, Any]] = []
        changes: list[dict[str, str]] = []
        for item in self.certificates:
            path, wanted = _path(item["path"]), _wanted(item)
            ca = cas.CA.load(self.pki_directory, wanted.ca)
            have = found[path]
            reason = ca.reason_to_issue(wanted, have["certificate"], have["public_key"], now)
            if not reason:
                continue
            changes.append({"path": f"{path}.crt", "what": f"issued: {reason}"})
            content = "" if pretend else ca.issue(wanted, have["public_key"], now)
            files.append(_encode(_owned({"path": f"{path}.crt", "mode": str(item.get("mode", "0644"))}, item), content))
        return Issued(files, changes)

    def _file(self, item: Mapping[str, Any], render: Callable[[str], str]) -> dict[str, Any]:
        sources = [name for name in _FILE_SOURCES if name in item]
        if len(sources) != 1:
            raise RequestError(f"a file has exactly one of {list(_FILE_SOURCES)}: {dict(item)}")
        source = sources[0]
        dest = item.get("dest")
        content: str | bytes
        if source == "template":
            dest = dest or "/" + str(item["template"]).removesuffix(".j2")
            content = _merged(render(str(item["template"])), item.get("merge"), str(item["template"]))
        elif source == "content":
            content = str(item["content"])
        elif source == "kubeconfig":
            content = kubeconfig(item["kubeconfig"])
        elif source == "program":
            content = zipped.program(str(item["program"]), python=self.python)
        elif source == "cluster_keys":
            content = self._cluster_keys(item["cluster_keys"])
        else:
            content = self._pki_file(source, str(item[source]))
        if not dest:
            raise RequestError(f"a file from {source!r} needs 'dest': {dict(item)}")
        mode = str(item.get("mode", "0644"))
        file = _owned({"path": _path(dest), "mode": mode, "validate": item.get("validate")}, item)
        # What not everybody may read is not shown in a diff either; nor is what nobody can read.
        file["secret"] = isinstance(content, bytes) or not int(mode, 8) & 0o004
        return _encode(file, content)

    def _cluster_keys(self, wanted: Mapping[str, Any]) -> bytes:
        """The cluster's keys for its backups: ``how`` (``encrypted`` or ``plain``), and ``recipients``."""
        # Only few components want it; what encrypts takes its time to import.
        from kubeproof.backup import keys

        bundle = keys.ensure(self.pki_directory.parent, wanted["how"], _strings(wanted["recipients"]))
        if bundle is None:
            raise RequestError(f"cluster_keys: how is {wanted['how']!r}, so that there is no file to install")
        self.warnings.extend(filter(None, [bundle.warning]))
        return bundle.content

    def _pki_file(self, source: str, name: str) -> str:
        file_names = {
            "authority": f"{name}.crt",
            "authority_key": f"{name}.key",
            "service_account": f"{cas.SERVICE_ACCOUNT}.{'pub' if name == 'public' else 'key'}",
        }
        path = self.pki_directory / file_names[source]
        try:
            return path.read_text()
        except FileNotFoundError:
            raise RequestError(f"{path} is missing: run playbooks/cluster.yml from its start, it makes it") from None


def kubeconfig(access: Mapping[str, Any]) -> str:
    """A kubeconfig that refers to its certificates by path, so that it carries no secret and survives their renewal.

    ``access``: ``cluster`` and ``user`` (names), ``server`` (URL), ``authority``, ``certificate`` and ``key`` (paths).
    """
    cluster = {"server": str(access["server"]), "certificate-authority": str(access["authority"])}
    credentials = {"client-certificate": str(access["certificate"]), "client-key": str(access["key"])}
    document = compose({str(access["cluster"]): cluster}, str(access["user"]), credentials)
    return yaml.safe_dump(document, sort_keys=False)


def _settings(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises RequestError for a setting that nobody compares: it would be recorded for nothing."""
    unknown = sorted(given.keys() - fixed.RECORDED)
    if unknown:
        raise RequestError(f"settings: {unknown} are none of those that stay, {sorted(fixed.RECORDED)}")
    return given


def _wanted(item: Mapping[str, Any]) -> cas.Wanted:
    return cas.Wanted(
        ca=str(item["authority"]),
        common_name=str(item["common_name"]),
        usages=_strings(item["usages"]),
        organizations=_strings(item.get("organizations")),
        names=_strings(item.get("names")),
        addresses=_strings(item.get("addresses")),
    )


def _strings(values: Sequence[Any] | None) -> tuple[str, ...]:
    return tuple(str(value) for value in values or ())


def _directory(item: Mapping[str, Any]) -> dict[str, Any]:
    entry = {"path": _path(item["path"]), "mode": str(item.get("mode", "0755")), "data": bool(item.get("data", False))}
    # Where it is not, the payload is as it always was, so that settled hosts stay settled.
    more = {"own": True} if item.get("own") else {}
    return _owned({**entry, **more}, item)


def _path(given: Any) -> str:
    """As a host gets it: the same whether or not somebody wrote a slash at the end of a setting."""
    path = str(given)
    if directories.absolute(path):
        raise RequestError(directories.absolute(path))
    return directories.normal(path)


def _owned(entry: dict[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    """Add owner and group; an empty group is the owner's own."""
    return {**entry, "owner": str(item.get("owner", "root")), "group": str(item.get("group", ""))}


def _encode(entry: dict[str, Any], content: str | bytes) -> dict[str, Any]:
    data = content.encode() if isinstance(content, str) else content
    return {**entry, "content": base64.b64encode(data).decode()}


def _check_items(kind: str, items: Any, known: set[str], required: set[str]) -> None:
    for item in items or ():
        if not isinstance(item, Mapping):
            raise RequestError(f"{kind}: each is a dictionary, this is not: {item!r}")
        unknown, missing = set(item) - known, required - set(item)
        if unknown or missing:
            raise RequestError(f"{kind}: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}: {dict(item)}")


def _merged(text: str, extra: Mapping[str, Any] | None, name: str) -> str:
    """The rendered YAML, TOML or JSON with the user's settings over it; untouched, comments and all, without any."""
    if not extra:
        return text
    plain = json.loads(json.dumps(extra))  # Ansible's values carry tags that YAML has no representation for
    if name.removesuffix(".j2").endswith(".toml"):
        return tomli_w.dumps(_deep_merge(tomllib.loads(text), plain))
    if name.removesuffix(".j2").endswith(".json"):
        return json.dumps(_deep_merge(json.loads(text), plain), indent=4) + "\n"
    base = fast_yaml.load(text)
    if not isinstance(base, dict):
        raise RequestError(f"{name}: only a YAML dictionary can be merged into")
    return yaml.safe_dump(_deep_merge(base, plain), sort_keys=False)


def _deep_merge(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in extra.items():
        mine = merged.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        merged[key] = _deep_merge(mine, value) if both else value  # type: ignore[arg-type]
    return merged
