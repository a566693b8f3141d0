"""Helm, with the access that the verification has."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeproof.api.kubeconfig import Access, Certificate, Token
from kubeproof.components import controller_program, pins
from kubeproof.core.errors import KubeproofError
from kubeproof.settings.inventory import Inventory
from kubeproof.verify.observe.api import NotObserved
from kubeproof.verify.observe.hosts import NotObservable

_PROGRAM = "helm"
# So much later than its own time limit helm is ended: it says what it has waited for.
_GRACE_SECONDS = 15.0


@dataclass(frozen=True)
class Helm:
    """A helm that asks one cluster, and writes nothing to the user's directories."""

    program: Path
    directory: Path
    namespace: str
    seconds: float

    def run(self, *arguments: str) -> str:
        """Run it; what it printed. Raises NotObserved with its last words if it fails."""
        own = {f"HELM_{name}_HOME": str(self.directory / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        # Helm's variables count more than its kubeconfig, and would lead to another cluster.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
        environment = {**inherited, **own, "KUBECONFIG": str(self.directory / "kubeconfig"), "NO_PROXY": "*"}
        limit = self.seconds + _GRACE_SECONDS
        command = [str(self.program), "--namespace", self.namespace, *arguments]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=limit)
        except subprocess.TimeoutExpired:
            raise NotObserved(f"helm {arguments[0]}: not within {limit:.0f} s") from None
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise NotObserved(f"helm {arguments[0]} ended with {done.returncode}: {words[-1] if words else 'silently'}")
        return done.stdout

    def told(self, *arguments: str) -> Any:
        """What it says, as data."""
        return json.loads(self.run(*arguments, "--output", "json"))


def found(described: Inventory) -> Path:
    """The cluster's helm. Raises NotObservable if it is not here: nothing is fetched or built for a verification."""
    try:
        request = controller_program.request_of(described)
        program = controller_program.cached(_PROGRAM, request, pins.load(), described.state)
    except KubeproofError as error:
        raise NotObservable(f"it takes helm: {error}") from error
    if not program:
        raise NotObservable("it takes helm in this machine's cache: `./kubeproof helm version` fetches or builds it")
    return program


@contextmanager
def helm(described: Inventory, access: Access, namespace: str, seconds: float) -> Iterator[Helm]:
    """The cluster's helm, with this access. Raises NotObservable if it is not here."""
    program = found(described)
    with tempfile.TemporaryDirectory(prefix="kubeproof-helm-") as directory:
        path = Path(directory) / "kubeconfig"
        path.touch(mode=0o600)
        path.write_text(kubeconfig(access), encoding="utf-8")
        yield Helm(program, Path(directory), namespace, seconds)


def kubeconfig(access: Access) -> str:
    """A kubeconfig with one caller's access."""

    def packed(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    user: dict[str, str] = {}
    if isinstance(access.credentials, Certificate):
        user["client-certificate-data"] = packed(access.credentials.certificate)
        user["client-key-data"] = packed(access.credentials.key)
    elif isinstance(access.credentials, Token):
        user["token"] = access.credentials.value
    cluster = {"server": access.server, "certificate-authority-data": packed(access.ca)}
    name = "cluster"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(document)
