#!/usr/bin/python
"""What an upgrade asks besides what every run does: etcd, the API server of a host, and objects of the API.

Standard library only; Python 3.8 and newer. What something means is for ``kubeproof.upgrade`` to say.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence

from ansible.module_utils import certificate_files, etcd_member
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_client import ARGUMENTS, ApiError, Client
from ansible.module_utils.manifest import Manifest, ManifestError

DOCUMENTATION = r"""
module: upgrade_look
short_description: Ask etcd and the API what an upgrade has to know
description:
  - Asks the etcd member and the API server of the host, as far as it has them, and with O(cluster) the API for objects
    on which it depends whether nodes can be drained. Changes nothing; evictions are dry runs.
  - Never fails. What does not answer is missing from the result. M(upgrade_plan) decides what that means.
options:
  api_server:
    description: Whether the host has an API server.
    type: bool
    default: false
  cluster:
    description: Whether to ask for objects of the API, once for the cluster.
    type: bool
    default: false
  audit_log:
    description: Audit log of the host's API server, which names the clients of APIs that will be removed.
    type: path
    default: /var/log/kubernetes/apiserver/audit.log
extends_documentation_fragment: [attributes, kube_api]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
seealso:
  - module: upgrade_plan
"""

EXAMPLES = r"""
- name: Ask etcd and the API
  upgrade_look:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    api_server: "{{ 'control_plane' in group_names }}"
    cluster: "{{ inventory_hostname == groups['control_plane'][0] }}"
"""

RETURN = r"""
etcd:
  description: C(status) and C(version) of the member, as etcd returns them; empty if it does not respond.
  type: dict
  returned: always
api:
  description:
    - Of the host's API server C(ready), its C(/readyz?verbose), C(deprecated), the samples of
      C(apiserver_requested_deprecated_apis), and C(audit), events of the audit log with C(k8s.io/removed-release).
  type: dict
  returned: always
objects:
  description: By resource, the objects of the API with the fields that matter; empty without O(cluster).
  type: dict
  returned: always
evictions:
  description: By pod (C(NAMESPACE/NAME)), the HTTP status (C(code)) of its eviction in a dry run, and the C(answer).
  type: dict
  returned: always
turn:
  description:
    - Record of the host's last turn, if it was not confirmed, with C(state) (V(unconfirmed), V(putting back),
      V(put back) or V(kept)), C(act), C(what) there was before, C(former) versions by program, and C(at), C(by) and
      C(reason) of what the host did about it.
  type: dict
  returned: always
staged:
  description: Whether files of other versions are kept on the host.
  type: bool
  returned: always
certificates:
  description:
    - By path, the certificate of each file, DER in base64; the first where there are several. Nothing of keys, and of
      a kubelet's own ones those that it uses now.
  type: dict
  returned: always
foreign:
  description: Which of these certificates kubeproof has not made, as the host's manifest has it, nor the kubelet.
  type: list
  elements: str
  returned: always
free:
  description: Bytes that are free where versions are staged; 0 if that is unknown.
  type: int
  returned: always
problem:
  description: Why the API could not be asked; empty if it could.
  type: str
  returned: always
"""

METRIC = "apiserver_requested_deprecated_apis"
REMOVED = '"k8s.io/removed-release"'
# Of the audit log's last events with that annotation: more would only repeat the same clients.
EVENTS = 200
# By resource, where the API lists it.
LISTS = {
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/pods",
    "budgets": "/apis/policy/v1/poddisruptionbudgets",
    "definitions": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "services": "/apis/apiregistration.k8s.io/v1/apiservices",
    "mutating": "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "validating": "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "slices": "/apis/discovery.k8s.io/v1/endpointslices",
    "dns": "/apis/apps/v1/namespaces/kube-system/deployments?fieldSelector=metadata.name%3Dcoredns",
}
SECONDS = 10.0
# A check that fails once, on a busy host or while etcd elects a leader, keeps no upgrade from its beginning.
READY_SECONDS = 10.0
POLL_SECONDS = 1.0
KUBELET = "/var/lib/kubelet/pki"
CERTIFICATES = ("/etc/kubernetes", "/etc/etcd", KUBELET)
STATE_DIRECTORY = "/var/lib/kubeproof"
OK = 200
# Of a turn's record; the rest is what it may put back, private keys among it.
TOLD = ("state", "act", "what", "former", "began", "seconds", "at", "by", "reason", "problems")

Answer = Dict[str, Any]


def etcd() -> Answer:
    """Status and version of this host's member."""
    text = etcd_member.read(etcd_member.CONFIGURATION)
    url = etcd_member.setting(text, "listen-client-urls").split(",")[0]
    if not url:
        return {}
    status = etcd_member.over_tls(url, "/v3/maintenance/status")
    version = etcd_member.over_tls(url, "/version", "GET")
    return {"status": {"Status": numbered(status)} if status else None, "version": version}


def numbered(status: Answer) -> Answer:
    """A status as etcdctl prints it: the gateway has IDs as text, and leaves out what is zero."""
    header = {name: int(value) for name, value in status.get("header", {}).items()}
    return {**status, "header": header, "leader": int(status.get("leader", 0))}


def server(client: Client, audit_log: str) -> Answer:
    """What the host's API server says of itself, and who uses what it is going to lose."""
    ready = readiness(client)
    _, metrics = client.ask("GET", "/metrics")
    lines = metrics.get("message", "").splitlines()
    return {
        "ready": ready,
        "deprecated": [line for line in lines if line.startswith(METRIC + "{")],
        "audit": list(removed(audit_log))[-EVENTS:],
    }


def readiness(client: Client) -> str:
    """Its checks; if one of them fails, as they are once none does, or after a while."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        status, answer = client.ask("GET", "/readyz?verbose")
        if status == OK or time.monotonic() > deadline:
            return str(answer.get("message", ""))
        time.sleep(POLL_SECONDS)


def removed(path: str) -> Iterator[Answer]:
    """Events of an audit log about APIs that are going to be removed: of each only who, and what for."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                event = parsed(line) if REMOVED in line else None
                if event is not None:
                    user = {"username": event.get("user", {}).get("username", "")}
                    kept = ("annotations", "objectRef", "userAgent")
                    yield {"user": user, **{name: event[name] for name in kept if name in event}}
    except OSError:
        return


def parsed(line: str) -> Optional[Answer]:
    """A line of the log, unless the server was just writing it."""
    try:
        event: Answer = json.loads(line)
    except ValueError:
        return None
    return event


def turn(state: str = STATE_DIRECTORY) -> Answer:
    """What is recorded of the host's last turn; empty if it was confirmed."""
    try:
        with open(os.path.join(state, "turn", "turn.json"), encoding="utf-8") as stream:
            found = json.load(stream)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        return {"state": "putting back", "act": "a turn", "problems": ["its record cannot be read: %s" % error]}
    return {name: found[name] for name in TOLD if name in found}


def certificates(directories: Sequence[str] = CERTIFICATES) -> Dict[str, str]:
    """By path, the first certificate of each file in directories and below."""
    return {path: found[0] for path, found in certificate_files.below(directories, (".crt", ".pem")).items()}


def foreign(paths: Iterable[str], state: str = STATE_DIRECTORY) -> List[str]:
    """Those of these files that neither kubeproof nor the kubelet has made."""
    try:
        manifest = Manifest(state)
    except (OSError, ManifestError):
        return []
    # Where nothing is recorded, nobody knows.
    if not manifest.entries:
        return []
    return [path for path in paths if not path.startswith(KUBELET + "/") and not manifest.knows("file", path)]


def free(state: str = STATE_DIRECTORY) -> int:
    """Bytes that are free where versions are staged; 0 if that is unknown."""
    try:
        found = os.statvfs(state)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def objects(client: Client) -> Dict[str, List[Answer]]:
    """By resource, all objects, those of pods with the fields that matter."""
    found = {name: client.items(path) for name, path in LISTS.items()}
    found["pods"] = [pod(each) for each in found["pods"]]
    return found


def pod(item: Answer) -> Answer:
    """What it depends on whether a pod can leave its node, and what is lost then."""
    metadata, spec = item["metadata"], item["spec"]
    kept = ("name", "namespace", "annotations", "ownerReferences")
    volumes = [
        {"name": each["name"], "emptyDir": each["emptyDir"] or {}}
        for each in spec.get("volumes") or []
        if "emptyDir" in each
    ]
    return {
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"nodeName": spec.get("nodeName", ""), "volumes": volumes},
        "status": {"phase": item.get("status", {}).get("phase", "")},
    }


def evictions(client: Client, found: Dict[str, List[Answer]]) -> Dict[str, Answer]:
    """What the API says to evictions, in a dry run, of all pods in namespaces that have budgets."""
    namespaces = {each["metadata"]["namespace"] for each in found["budgets"]}
    answers = {}
    for each in found["pods"]:
        metadata = each["metadata"]
        if metadata["namespace"] in namespaces and each["spec"]["nodeName"]:
            name = {"name": metadata["name"], "namespace": metadata["namespace"]}
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name}
            path = "/api/v1/namespaces/%(namespace)s/pods/%(name)s/eviction?dryRun=All" % name
            code, answer = client.ask("POST", path, {**body, "deleteOptions": {"dryRun": ["All"]}})
            answers["%(namespace)s/%(name)s" % name] = {"code": code, "answer": answer}
    return answers


def look(parameters: Answer) -> Answer:
    """All of it."""
    result: Answer = {"etcd": etcd(), "api": {}, "objects": {}, "evictions": {}, "problem": "", "turn": turn()}
    result["free"] = free()
    result["certificates"] = certificates()
    result["foreign"] = foreign(result["certificates"])
    result["staged"] = os.path.isdir(os.path.join(STATE_DIRECTORY, "staged"))
    if not (parameters["api_server"] or parameters["cluster"]):
        return result
    try:
        # Its certificates are there once the host has an API server.
        client = Client(parameters, SECONDS)
        if parameters["api_server"]:
            result["api"] = server(client, os.path.normpath(parameters["audit_log"]))
        if parameters["cluster"]:
            result["objects"] = objects(client)
            result["evictions"] = evictions(client, result["objects"])
    except (ApiError, OSError) as error:
        result["problem"] = str(error)
    return result


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "api_server": {"type": "bool", "default": False},
            "cluster": {"type": "bool", "default": False},
            "audit_log": {"type": "path", "default": "/var/log/kubernetes/apiserver/audit.log"},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **look(module.params))


if __name__ == "__main__":
    main()
