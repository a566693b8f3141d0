#!/usr/bin/python
"""Apply add-ons, and delete what is no longer in them."""

from __future__ import annotations

import json
import time
from typing import Any, Dict, List, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kube_apply import MANAGER, apply, remove, title
from ansible.module_utils.kube_client import ARGUMENTS, NOT_COMPARED, NOT_FOUND, ApiError, Client, connect, unanswered
from ansible.module_utils.kube_judge import judge, not_ready

DOCUMENTATION = r"""
module: kube_addons
short_description: Apply add-ons, and delete what is no longer in them
description:
  - Applies the objects of each add-on as M(kube_objects) does, namespaces and definitions of custom resources first,
    and waits until the latter are accepted. Objects have the label C(kubeproof.io/addon) with the add-on's name.
  - Which objects were applied is in the ConfigMap C(kubeproof-addons) of C(kube-system). What is in it and in no add-on
    any more is deleted, if it still has the label. It is written before anything is applied, so that an interrupted
    run forgets nothing.
  - Namespaces, definitions of custom resources, and volumes stay, since others' data would go with them. A warning
    names them in each run until they are gone.
  - A StorageClass whose immutable fields differ is deleted and created again; volumes and claims stay.
  - An object that a webhook has to admit is tried for two minutes, times O(patience), while that one does not
    answer, as one that starts in the same run. Check mode does not wait, and warns that the object was not
    compared.
options:
  addons:
    description: All add-ons.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name, which is a label's value.
        type: str
        required: true
      objects:
        description: Its objects. None if it is switched off.
        type: list
        elements: dict
        required: true
      component:
        description:
          - The component of C(components/components.yml) whose own manifests are part of it, taken on the controller
            from its Go module. Of an object that is in both, what O(addons[].objects) has counts, key by key. Empty if
            there is none, or it is switched off.
        type: str
  directory:
    description:
      - Directory on the controller with manifests, in files named C(*.yaml), C(*.yml) or C(*.json) in it and below.
        They are an add-on of their own. Empty for none.
    type: str
    default: ''
  versions:
    description: Versions by component, where they are not those of C(components/components.yml).
    type: dict
    default: {}
  prune:
    description: Whether objects that are no longer in an add-on are deleted. If false, they are recorded, and stay.
    type: bool
    default: true
  nodes_lost:
    description:
      - Names of nodes that the run leaves out or has not reached. As many pods of each workload as these nodes are not
        ready are not waited for, since they may be there. A warning names a workload that lacks some.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [attributes, attributes.action, kube_api]
attributes:
  check_mode: {support: partial, details: Compares nothing if no API server answers and says so.}
  diff_mode: {support: none}
seealso:
  - module: kube_objects
  - module: kube_wait
"""

EXAMPLES = r"""
- name: Apply manifests from the controller, and delete what is no longer among them
  kube_addons:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    directory: /srv/manifests
  register: applied

- name: Wait for what they start
  kube_wait:
    server: https://127.0.0.1:6443
    ca: /etc/kubernetes/pki/ca.crt
    certificate: /etc/kubernetes/operator/client.crt
    key: /etc/kubernetes/operator/client.key
    objects: "{{ applied.pending }}"
  when: applied.pending
"""

RETURN = r"""
changes:
  description: Changes, in order; in check mode those that would be made.
  type: list
  elements: dict
  returned: always
  contains:
    path: {description: "Kind, namespace and name of the object.", type: str}
    what: {description: "V(created), V(changed) or V(removed).", type: str}
  sample: [{path: Deployment kube-system/metrics-server, what: created}]
pending:
  description: What is not ready yet of what was applied, as O(kube_wait#module:objects).
  type: list
  elements: dict
  returned: success
  sample: [{path: /apis/apps/v1/namespaces/a/deployments/b, field: status.readyReplicas, as_field: spec.replicas}]
"""

LABEL = "kubeproof.io/addon"
CRD = "CustomResourceDefinition"
RECORD: Dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "kubeproof-addons", "namespace": "kube-system"},
}
# Others refer to these: they come first, in this order.
FIRST = (
    "Namespace", CRD, "PriorityClass", "StorageClass", "ServiceAccount", "Secret", "ConfigMap", "ClusterRole", "Role",
    "ClusterRoleBinding", "RoleBinding", "PersistentVolume", "PersistentVolumeClaim", "Service",
)  # fmt: skip
# Calls of the API server go to what these name, which must be there.
LAST = ("APIService", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
# What others have put into them would go with them.
KEPT = ("Namespace", CRD, "PersistentVolume", "PersistentVolumeClaim")
SERVED_SECONDS = 30.0
# Of a webhook that starts in the same run: its certificate gets into its pod within a minute or so.
ADMITTED_SECONDS = 120.0
POLL_SECONDS = 0.2
# By kind, what holds once it has started.
STARTED: Dict[str, List[Dict[str, Any]]] = {
    "Deployment": [
        {"field": "status.updatedReplicas", "as_field": "spec.replicas"},
        {"field": "status.availableReplicas", "as_field": "spec.replicas"},
        # Else a pod of the former template may be among those that are available.
        {"field": "status.replicas", "as_field": "status.updatedReplicas"},
    ],
    "StatefulSet": [
        {"field": "status.observedGeneration", "at_least": 1},
        {"field": "status.updatedReplicas", "as_field": "spec.replicas"},
        {"field": "status.readyReplicas", "as_field": "spec.replicas"},
    ],
    "DaemonSet": [
        # Before its controller has seen it, it wants no pods.
        {"field": "status.observedGeneration", "at_least": 1},
        {"field": "status.updatedNumberScheduled", "as_field": "status.desiredNumberScheduled"},
        {"field": "status.numberAvailable", "as_field": "status.desiredNumberScheduled"},
    ],
    "Job": [{"condition": "Complete", "failed": "Failed"}],
    "APIService": [{"condition": "Available"}],
    CRD: [{"condition": "Established"}],
}
# What pods on a node that is lost are missing from. Others of a Deployment take their place, with the new template.
OF_NODES = (
    "status.availableReplicas", "status.numberAvailable", "status.readyReplicas", "status.updatedNumberScheduled",
)  # fmt: skip

Object = Dict[str, Any]


def identity(document: Object) -> Tuple[str, str, str, str]:
    """Which object it is, in whichever version of its API."""
    metadata = document["metadata"]
    group = document["apiVersion"].rpartition("/")[0]
    return group, document["kind"], metadata.get("namespace") or "default", metadata["name"]


def reference(document: Object) -> Object:
    """What is recorded of an object."""
    metadata = {"name": document["metadata"]["name"]}
    if document["metadata"].get("namespace"):
        metadata["namespace"] = document["metadata"]["namespace"]
    return {"apiVersion": document["apiVersion"], "kind": document["kind"], "metadata": metadata}


def ordered(documents: List[Object]) -> List[Object]:
    """In an order in which each finds what it refers to; those of a kind as they came."""

    def rank(document: Object) -> int:
        kind = document["kind"]
        return FIRST.index(kind) if kind in FIRST else len(FIRST) + (kind in LAST)

    return sorted(documents, key=rank)


def labelled(document: Object, addon: str) -> Object:
    """The object with the label that says whose it is."""
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), LABEL: addon}}}


def awaited(found: Object) -> List[Dict[str, Any]]:
    """What is to hold of an object, but for what its author holds back: pods that wait until somebody acts."""
    spec = found.get("spec") or {}
    if spec.get("paused") or spec.get("suspend"):
        return []
    strategy = spec.get("updateStrategy") or {}
    by_hand = strategy.get("type") == "OnDelete"
    questions = [each for each in STARTED[found["kind"]] if not (by_hand and "updated" in each.get("field", ""))]
    # Of a StatefulSet: pods below that number keep the former template.
    kept = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    if not kept:
        return questions
    moved = max(0, (spec.get("replicas") or 0) - kept)
    return [{"field": each["field"], "at_least": moved} if "updated" in each["field"] else each for each in questions]


class Addons:
    """Makes of what is there what is wanted. ``changes``, ``pending`` and ``warnings`` are what came of it."""

    def __init__(self, client: Client, dry_run: bool, patience: float = 1.0, nodes_lost: Sequence[str] = ()) -> None:
        self.client = client
        self.nodes_lost = list(nodes_lost)
        self.admitted_seconds = ADMITTED_SECONDS * patience
        self.served_seconds = SERVED_SECONDS * patience
        self.dry_run = dry_run
        self.changes: List[Dict[str, str]] = []
        self.pending: List[Dict[str, Any]] = []
        self.warnings: List[str] = []
        # Groups that this run has brought, which the server may offer only in a moment.
        self.brought: List[str] = []

    def converge(self, addons: List[Dict[str, Any]], prune: bool) -> None:
        """Apply all add-ons, and delete what is in none of them."""
        recorded = self.recorded()
        wanted = {addon["name"]: ordered(addon["objects"]) for addon in addons if addon["objects"]}
        there = {identity(document) for documents in wanted.values() for document in documents}
        surplus = {
            name: [each for each in references if identity(each) not in there] for name, references in recorded.items()
        }
        references = {name: [reference(each) for each in documents] for name, documents in wanted.items()}
        before = combined(references, surplus)
        self.record(recorded, before)
        for name, documents in wanted.items():
            for document in documents:
                self.apply(labelled(document, name))
        left = {name: self.left(each, name, prune) for name, each in surplus.items()}
        self.record(before, combined(references, left))

    def recorded(self) -> Dict[str, List[Object]]:
        """What earlier runs have applied, by add-on."""
        try:
            data = self.client.get(self.client.path(RECORD)).get("data") or {}
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            return {}
        return {name: json.loads(text) for name, text in data.items()}

    def record(self, before: Dict[str, List[Object]], after: Dict[str, List[Object]]) -> None:
        """Note which objects are ours, if that is not what is noted already."""
        if self.dry_run or before == after:
            return
        if not after:
            self.client.delete(self.client.path(RECORD), dry_run=False)
            return
        data = {name: json.dumps(references) for name, references in after.items()}
        self.client.apply({**RECORD, "data": data}, MANAGER, dry_run=False)

    def apply(self, document: Object) -> None:
        """Apply one object, and note what is to be waited for."""
        self.await_kind(document)
        try:
            what = self.admitted(document)
        except ApiError as error:
            # What it is in, or what it is an example of, would be there by then.
            if not (self.dry_run and error.code == NOT_FOUND):
                raise
            what = "created"
        if what:
            self.changes.append({"path": title(document), "what": what})
        if self.dry_run:
            return
        if document["kind"] == CRD:
            self.await_definition(document)
        elif document["kind"] in STARTED:
            self.pending += self.unready(document)

    def admitted(self, document: Object) -> str:
        """Apply one object; returns what happened to it. Waits for a webhook of ours that does not answer yet."""
        deadline = time.monotonic() + self.admitted_seconds
        while True:
            try:
                return str(apply(self.client, document, self.dry_run))
            except ApiError as error:
                if "failed calling webhook" not in str(error):
                    raise
                if self.dry_run:
                    self.warnings.append("%s was not compared: %s" % (title(document), error))
                    return ""
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def unready(self, document: Object) -> List[Dict[str, Any]]:
        """What does not hold yet of an object that was applied, as questions of kube_wait."""
        path = self.client.path(document)
        found = self.client.get(path)
        questions = [{"path": path, **each} for each in awaited(found)]
        if all(judge(found, each)[0] for each in questions):
            return []
        if not self.nodes_lost:
            return questions
        lenient = [
            {**each, "nodes_lost": self.nodes_lost} if each.get("field") in OF_NODES else each for each in questions
        ]
        lost = not_ready(self.client, self.nodes_lost)
        if not all(judge(found, each, lost)[0] for each in lenient):
            return lenient
        seen = ", ".join("%s %s" % (each["field"], judge(found, each)[1]) for each in questions if each.get("as_field"))
        self.warnings.append(
            "%s is not complete, and not waited for, since the run leaves out nodes, and %d of these %s not ready (%s)"
            % (title(document), lost, "is" if lost == 1 else "are", seen)
        )
        return []

    def await_definition(self, document: Object) -> None:
        """Wait until a definition is accepted."""
        deadline = time.monotonic() + self.served_seconds
        while self.unready(document):
            if time.monotonic() > deadline:
                raise ApiError("%s is not established after %d s" % (title(document), self.served_seconds))
            time.sleep(POLL_SECONDS)
        self.brought.append(document["spec"]["group"])

    def await_kind(self, document: Object) -> None:
        """Wait until the server offers a kind that this run has defined."""
        group = document["apiVersion"].rpartition("/")[0]
        deadline = time.monotonic() + (self.served_seconds if group in self.brought else 0)
        while group in self.brought:
            # What it did not offer a moment ago.
            self.client.resources.pop("/apis/" + document["apiVersion"], None)
            try:
                self.client.path(document)
            except ApiError as error:
                if error.code != NOT_FOUND or time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(POLL_SECONDS)

    def left(self, surplus: List[Object], addon: str, prune: bool) -> List[Object]:
        """Delete objects that are in no add-on any more, the last first; returns those that stay."""
        return [each for each in reversed(ordered(surplus)) if not self.gone(each, addon, prune)][::-1]

    def gone(self, document: Object, addon: str, prune: bool) -> bool:
        """Whether an object is no longer there, or no longer ours, after it was deleted if it may be."""
        try:
            path = self.client.path(document)
            found = self.client.get(path)
        except ApiError as error:
            if error.code != NOT_FOUND:
                raise
            return True
        if (found["metadata"].get("labels") or {}).get(LABEL) != addon:
            return True
        if not prune:
            return False
        if document["kind"] in KEPT:
            self.warnings.append(
                "%s is in no add-on any more. It is kept, because what others have put into it would go with it: "
                "delete it with kubectl, or remove its label %s" % (title(document), LABEL)
            )
            return False
        if remove(self.client, path, self.dry_run):
            self.changes.append({"path": title(document), "what": "removed"})
        return True


def combined(*parts: Dict[str, List[Object]]) -> Dict[str, List[Object]]:
    """References of several kinds, by add-on; those without any are left out."""
    names = sorted({name for part in parts for name in part})
    found = {name: [each for part in parts for each in part.get(name, [])] for name in names}
    return {name: sorted(references, key=identity) for name, references in found.items() if references}


def main() -> None:
    """Ansible's entry."""
    suboptions = {
        "name": {"type": "str", "required": True},
        "objects": {"type": "list", "elements": "dict", "required": True},
        # Of the action plugin, which has added that component's manifests.
        "component": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "addons": {"type": "list", "elements": "dict", "default": [], "options": suboptions},
            "prune": {"type": "bool", "default": True},
            "nodes_lost": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
        # Among them may be Secrets, which do not belong into the host's journal.
        no_log=True,
    )
    changes: List[Dict[str, str]] = []
    pending: List[Dict[str, Any]] = []
    try:
        run = Addons(connect(module), module.check_mode, module.params["patience"], module.params["nodes_lost"])
        changes, pending = run.changes, run.pending
        run.converge(module.params["addons"], module.params["prune"])
        for warning in run.warnings:
            module.warn(warning)
    except (ApiError, OSError) as error:
        if not (module.check_mode and unanswered(error)):
            module.fail_json(msg=str(error), changes=changes)
        module.warn(NOT_COMPARED % error)
    module.exit_json(changed=bool(changes), changes=changes, pending=pending)


if __name__ == "__main__":
    main()
