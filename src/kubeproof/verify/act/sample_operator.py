"""A small operator: it watches objects of a kind of its own, and makes what they ask for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Answer, Api, ApiError, NotObserved
from kubeproof.verify.observe.objects import Object

_WATCH_SECONDS = 600.0
_PAUSE = 0.2
_MANAGER = "kubeproof-verify-operator"


class Operator:
    """Answers each Greeting with a ConfigMap that belongs to it, and says so in its status."""

    ACCOUNT = "greeter"

    def __init__(self, api: Api, namespace: str, group: str) -> None:
        """``api`` is its user's; it acts with another one, see ``at_work``."""
        self.api = api
        self.namespace = namespace
        self.group = group
        self.collection = f"/apis/{group}/v1/namespaces/{namespace}/greetings"
        self._over = threading.Event()

    def etcd_key(self, name: str) -> str:
        """Where etcd has an object of its kind."""
        return f"/registry/{self.group}/greetings/{self.namespace}/{name}"

    def submit(self, name: str, spec: Mapping[str, Any]) -> Answer:
        """Try to create a Greeting."""
        metadata = {"name": name, "namespace": self.namespace}
        manifest = {"apiVersion": f"{self.group}/v1", "kind": "Greeting", "metadata": metadata, "spec": spec}
        return self.api.request("POST", self.collection, manifest)

    def greet(self, name: str, whom: str) -> Object:
        """Create a Greeting."""
        created: Object = self.submit(name, {"whom": whom}).required()
        return created

    def await_greeted(self, name: str, whom: str, timeout: float) -> Object:
        """A Greeting, once the operator has acted on it."""
        return self.api.observe(
            self.collection,
            lambda items: bool(items) and items[0].get("status", {}).get("greeted") == whom,
            what=f"the operator acts on Greeting {name}",
            timeout=timeout,
            fieldSelector=f"metadata.name={name}",
        )[0]

    @contextmanager
    def at_work(self, own: Api) -> Iterator[None]:
        """Let it work, with the rights of its own account."""
        thread = threading.Thread(target=self._work, args=(own,), name="operator", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()

    def _work(self, own: Api) -> None:
        def reconcile_all(items: list[Object]) -> bool:
            for item in items:
                if item.get("status", {}).get("greeted") != item["spec"]["whom"]:
                    self._reconcile(own, item)
            return self._over.is_set()

        while not self._over.is_set():
            # Until its kind is served and its rights are known, it is refused; then it looks again, like any operator.
            # The last of its errors is that its client is closed, while it watches.
            with contextlib.suppress(ApiError, NotObserved, httpx.HTTPError, RuntimeError):
                own.observe(self.collection, reconcile_all, what="Greetings", timeout=_WATCH_SECONDS)
            self._over.wait(_PAUSE)

    def _reconcile(self, own: Api, greeting: Object) -> None:
        name, whom = objects.name(greeting), greeting["spec"]["whom"]
        owner = {
            "apiVersion": f"{self.group}/v1",
            "kind": "Greeting",
            "name": name,
            "uid": greeting["metadata"]["uid"],
            "controller": True,
        }
        metadata = {"name": name, "namespace": self.namespace, "ownerReferences": [owner]}
        data = {"greeting": f"Hello, {whom}!"}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        params = {"fieldManager": _MANAGER}
        created = own.request("POST", objects.collection(manifest), manifest, params=params)
        if created.status == 409:
            own.patch(objects.path(manifest), {"data": data})
        else:
            created.required()
        own.patch(f"{self.collection}/{name}/status", {"status": {"greeted": whom}})
