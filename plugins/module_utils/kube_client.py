"""A small client of the Kubernetes API for modules that run on a control-plane host. Standard library only."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import quote, urlsplit

from ansible.module_utils.basic import AnsibleModule

ARGUMENTS: Dict[str, Dict[str, Any]] = {
    "server": {"type": "str", "required": True},
    "ca": {"type": "path", "required": True},
    "certificate": {"type": "path", "required": True},
    "key": {"type": "path", "required": True, "no_log": False},
    "patience": {"type": "float", "default": 1.0},
}
"""Arguments that every module with a client takes."""


class ApiError(Exception):
    """The API server refused, or could not be reached. ``code`` is its status, 0 if there was no answer."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


def unanswered(error: Exception) -> bool:
    """Whether there is no API server to ask: none answers, or the files to ask it with are not there yet."""
    return isinstance(error, OSError) or (isinstance(error, ApiError) and error.code == 0)


NOT_COMPARED = "No API server answers: what the run would change in the API is not part of this (%s)"
"""What check mode says where a run would have started one before."""

NOT_FOUND = 404

# Check mode starts no server that would be worth waiting for.
CHECK_SECONDS = 3.0
# For a server that is there and does not answer.
_ANSWER_SECONDS = 10.0


def connect(module: AnsibleModule) -> Client:
    """A module's client."""
    return Client(module.params, CHECK_SECONDS) if module.check_mode else Client(module.params)


class Client:
    """One kept-open connection. Requests are retried while the server is down, for so many ``seconds``.

    These, and the time that an answer may take, are multiplied by the parameter ``patience``.
    """

    def __init__(self, parameters: Dict[str, Any], seconds: float = 30.0) -> None:
        target = urlsplit(parameters["server"])
        self.host, self.port = target.hostname or "", target.port or 443
        patience = parameters.get("patience") or 1.0
        self.seconds, self.answer_seconds = seconds * patience, _ANSWER_SECONDS * patience
        self.context = ssl.create_default_context(cafile=parameters["ca"])
        self.context.load_cert_chain(parameters["certificate"], parameters["key"])
        self.connection: Optional[http.client.HTTPSConnection] = None
        self.resources: Dict[str, Dict[str, Tuple[str, bool]]] = {}

    def get(self, path: str) -> Dict[str, Any]:
        """One object or list."""
        return self._request("GET", path)

    def items(self, path: str) -> List[Dict[str, Any]]:
        """All objects of a list; none where the server does not know that API."""
        try:
            found: List[Dict[str, Any]] = self.get(path)["items"]
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            return []
        return found

    def ask(self, method: str, path: str, body: Any = None) -> Tuple[int, Dict[str, Any]]:
        """Status and answer, whatever they are; what is no JSON is the message. Raises ApiError if there is none."""
        try:
            return self._once(method, path, body, "application/json" if body is not None else "")
        except (OSError, http.client.HTTPException) as error:
            self.connection = None
            raise ApiError("%s https://%s:%d%s: %s" % (method, self.host, self.port, path, error)) from error

    def apply(self, document: Dict[str, Any], manager: str, dry_run: bool) -> Dict[str, Any]:
        """Server-side apply (https://kubernetes.io/docs/reference/using-api/server-side-apply/); returns the object."""
        query = "?fieldManager=%s&force=true" % quote(manager)
        if dry_run:
            query += "&dryRun=All"
        return self._request("PATCH", self.path(document) + query, document, "application/apply-patch+yaml")

    def merge(self, path: str, change: Dict[str, Any], manager: str, dry_run: bool) -> Dict[str, Any]:
        """Change parts of an object (https://www.rfc-editor.org/rfc/rfc7386); returns the object."""
        query = "?fieldManager=%s" % quote(manager) + ("&dryRun=All" if dry_run else "")
        return self._request("PATCH", path + query, change, "application/merge-patch+json")

    def delete(self, path: str, dry_run: bool) -> None:
        """Delete an object, and what it owns."""
        self._request("DELETE", path + "?propagationPolicy=Background" + ("&dryRun=All" if dry_run else ""))

    def path(self, document: Dict[str, Any]) -> str:
        """Where an object lives: found out from the server's discovery, so that it works for any kind."""
        group = document["apiVersion"]
        root = ("/apis/" if "/" in group else "/api/") + group
        if root not in self.resources:
            listed = self.get(root)["resources"]
            self.resources[root] = {
                item["kind"]: (item["name"], item["namespaced"]) for item in listed if "/" not in item["name"]
            }
        if document["kind"] not in self.resources[root]:
            raise ApiError("the server does not know %s in %s" % (document["kind"], group), 404)
        plural, namespaced = self.resources[root][document["kind"]]
        metadata = document["metadata"]
        scope = "/namespaces/" + quote(metadata.get("namespace") or "default") if namespaced else ""
        return "%s%s/%s/%s" % (root, scope, plural, quote(metadata["name"]))

    def _request(self, method: str, path: str, body: Any = None, content_type: str = "") -> Dict[str, Any]:
        deadline = time.monotonic() + self.seconds
        while True:
            try:
                status, answer = self._once(method, path, body, content_type)
            except (OSError, http.client.HTTPException) as error:
                self.connection = None
                problem = ApiError("%s https://%s:%d%s: %s" % (method, self.host, self.port, path, error))
            else:
                if status < 300:
                    return answer
                problem = ApiError("%s %s: %s" % (method, path, answer.get("message", status)), status)
                # A server that has just started may not know its built-in roles yet (403), or be overloaded.
                if status not in (403, 429, 500, 502, 503, 504):
                    raise problem
            if time.monotonic() > deadline:
                raise problem
            time.sleep(0.2)

    def _once(self, method: str, path: str, body: Any, content_type: str) -> Tuple[int, Dict[str, Any]]:
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(
                self.host, self.port, timeout=self.answer_seconds, context=self.context
            )
        headers = {"Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self.connection.getresponse()
        text = answer.read().decode()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, {"message": text.strip()}


def condition(document: Dict[str, Any], kind: str) -> Dict[str, Any]:
    """One of an object's status conditions; empty if it has none of that type."""
    conditions: List[Dict[str, Any]] = document.get("status", {}).get("conditions") or []
    for item in conditions:
        if item.get("type") == kind:
            return item
    return {}
