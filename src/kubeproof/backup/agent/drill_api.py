"""A scratch API server on the scratch etcd: what it lists is what a cluster would have after a restore."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping
from urllib.parse import quote, urlencode

from kubeproof.backup.agent import files, programs, scratch
from kubeproof.backup.agent.errors import BackupError

ENCRYPTION = "encryption.yaml"
"""The API server's encryption configuration in the unit's runtime directory, where systemd has put it."""
_ENCRYPTED, _OPEN = "--encryption-provider-config=", "/proc/self/fd/"
_PAGE = 500
_ADDRESS = "127.0.0.1"
# In no network: it is where the scratch server would say it is, if it said so to anybody.
_NOWHERE = "192.0.2.1"
# Names and UIDs are all that is wanted; values stay where they are.
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_DISCOVERY = "application/json"


def objects(
    settings: Mapping[str, Any], etcd: str, where: Path, revision: int, timeout: float
) -> dict[str, dict[str, str]]:
    """Start an API server on ``etcd``, and have all that it has at ``revision``: UID by namespace/name, by resource.

    ``settings``: ``program``; ``arguments``, the cluster's own that change how objects are stored; ``encryption``, if
    they are encrypted; ``secret``, the content of that file, where the unit does not have it. Raises BackupError.
    """
    with serving(settings, etcd, where, timeout) as client:
        return {each.name: dict(client.uids(each.path, revision)) for each in client.resources()}


class NotFound(BackupError):
    """The scratch API server does not have what was asked for."""


@contextlib.contextmanager
def serving(settings: Mapping[str, Any], etcd: str, where: Path, timeout: float) -> Iterator[Client]:
    """An API server on ``etcd`` for the time of a ``with`` block, ready. ``settings`` as for ``objects``."""
    token = secrets.token_urlsafe(32)
    port = _free_port()
    command = [str(settings["program"]), *_arguments(settings, etcd, where, port, token)]
    kept = [int(word.rpartition("/")[2]) for word in command if word.startswith(_ENCRYPTED + _OPEN)]
    try:
        with scratch.process(command, where / "apiserver.log", kept) as server:
            client = Client(port, where / "pki" / "apiserver.crt", token, timeout)
            server.wait_until(client.problem, timeout)
            yield client
    finally:
        for descriptor in kept:
            os.close(descriptor)


@dataclass(frozen=True)
class Resource:
    """What can be listed. ``name`` has its group; ``path`` is that of all its objects."""

    name: str
    path: str
    namespaced: bool
    verbs: frozenset[str]

    def path_of(self, name: str) -> str:
        """The path of an object, by namespace/name."""
        namespace, _, own = name.partition("/")
        if not self.namespaced:
            return "%s/%s" % (self.path, quote(own, safe=""))
        above, _, plural = self.path.rpartition("/")
        return "%s/namespaces/%s/%s/%s" % (above, namespace, plural, quote(own, safe=""))


def _arguments(settings: Mapping[str, Any], etcd: str, where: Path, port: int, token: str) -> list[str]:
    """Of the cluster's it has the way in which objects are stored, and nothing by which it would reach anybody."""
    key = where / "service-account.key"
    programs.run(["openssl", "genrsa", "-out", str(key), "2048"], 60)
    tokens = where / "tokens.csv"
    files.write(tokens, b"%s,drill,drill,system:masters\n" % token.encode())
    arguments = [
        "--etcd-servers=" + etcd,
        # What it writes, it writes after the revision that is listed; nothing may compact that one away.
        "--etcd-compaction-interval=0",
        "--endpoint-reconciler-type=none",
        "--bind-address=" + _ADDRESS,
        "--secure-port=%d" % port,
        "--advertise-address=" + _NOWHERE,
        "--cert-dir=%s" % (where / "pki"),
        "--token-auth-file=%s" % tokens,
        "--anonymous-auth=false",
        "--authorization-mode=AlwaysAllow",
        "--service-account-issuer=https://drill.invalid",
        "--service-account-key-file=%s" % key,
        "--service-account-signing-key-file=%s" % key,
        "--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook",
        *map(str, settings.get("arguments", ())),
    ]
    if settings.get("encryption"):
        arguments.append(_ENCRYPTED + _encryption(settings.get("secret")))
    return arguments


def _encryption(secret: bytes | None) -> str:
    """Where the scratch API server finds the encryption configuration, which is never on a disk for it."""
    if secret is not None:
        memory = os.memfd_create("encryption", 0)
        os.write(memory, secret)
        return _OPEN + str(memory)
    path = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/etcd-backup-drill"), ENCRYPTION)
    if not path.exists():
        raise BackupError(
            "Secrets are encrypted, and %s, which only the unit and root can read, is missing: "
            "systemctl start etcd-backup-drill.service" % path
        )
    return str(path)


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind((_ADDRESS, 0))
        return int(trial.getsockname()[1])


class Client:
    """Speaks to the scratch API server, whose certificate is the one that it has just made for itself."""

    def __init__(self, port: int, certificate: Path, token: str, timeout: float) -> None:
        self._port, self._certificate, self._timeout = port, certificate, timeout
        self._token = token

    def problem(self) -> str:
        """Why it does not serve yet; empty if it does."""
        if not self._certificate.exists():
            return "it has made no certificate for itself"
        try:
            status, body = self._get("/readyz", _DISCOVERY)
        except OSError as error:
            return str(error)
        failing = [line for line in body.decode(errors="replace").splitlines() if line.startswith("[-]")]
        return "" if status == 200 else "/readyz answers %d: %s" % (status, "; ".join(failing)[:300])

    def resources(self) -> Iterator[Resource]:
        """Each resource that can be listed and is stored here."""
        elsewhere = self._served_elsewhere()
        yield from self._of("", "/api/v1")
        for group in self.json("/apis")["groups"]:
            version = group["preferredVersion"]["groupVersion"]
            if version not in elsewhere:
                yield from self._of(group["name"], "/apis/" + version)

    def uids(self, path: str, revision: int | None) -> Iterator[tuple[str, str]]:
        """namespace/name and UID of all objects of a resource, as they were at a revision, or are now."""
        question = {"limit": str(_PAGE)}
        if revision is not None:
            question.update(resourceVersion=str(revision), resourceVersionMatch="Exact")
        while True:
            page = self.json("%s?%s" % (path, urlencode(question)), _METADATA)
            for item in page["items"] or ():
                about = item["metadata"]
                yield "%s/%s" % (about.get("namespace", ""), about["name"]), about["uid"]
            rest = page["metadata"].get("continue")
            if not rest:
                return
            question = {"limit": str(_PAGE), "continue": rest}

    def _of(self, group: str, path: str) -> Iterator[Resource]:
        for resource in self.json(path)["resources"]:
            name = resource["name"]
            # What can be listed and not watched is made up when it is asked for.
            if {"list", "watch"} <= set(resource["verbs"]) and "/" not in name:
                whole = "%s.%s" % (name, group) if group else name
                verbs = frozenset(resource["verbs"])
                yield Resource(whole, "%s/%s" % (path, name), bool(resource["namespaced"]), verbs)

    def _served_elsewhere(self) -> set[str]:
        """Versions of groups that other servers have, which are not there now, and keep their objects themselves."""
        found = self.json("/apis/apiregistration.k8s.io/v1/apiservices")["items"]
        specs = [item["spec"] for item in found if item["spec"].get("service")]
        return {"%s/%s" % (spec["group"], spec["version"]) for spec in specs}

    def json(self, path: str, accept: str = _DISCOVERY) -> Any:
        """What it answers. Raises BackupError."""
        status, body = self._get(path, accept)
        if status == 404:
            raise NotFound("the scratch API server has no %s" % path)
        if status != 200:
            raise BackupError("the scratch API server answers %s with %d: %s" % (path, status, _message(body)))
        return json.loads(body)

    def put(self, path: str, document: Any) -> str:
        """Write an object; why it cannot be written, or empty."""
        status, body = self._ask("PUT", path, _DISCOVERY, json.dumps(document).encode())
        return "" if status == 200 else "%d: %s" % (status, _message(body))

    def _get(self, path: str, accept: str) -> tuple[int, bytes]:
        return self._ask("GET", path, accept)

    def _ask(self, method: str, path: str, accept: str, sent: bytes | None = None) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(self._certificate))
        connection = http.client.HTTPSConnection(_ADDRESS, self._port, timeout=self._timeout, context=context)
        try:
            headers = {"Authorization": "Bearer " + self._token, "Accept": accept, "Content-Type": _DISCOVERY}
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError("the scratch API server broke off its answer: %r" % error) from None
        finally:
            connection.close()


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return body[:300].decode(errors="replace")
