"""Service accounts that a test acts as, with the rights that it gives them and no others."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubeproof.verify.act.every_server import await_everywhere
from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import PASSING, Api
from kubeproof.verify.observe.cluster import Cluster
from kubeproof.verify.observe.objects import Object

_RBAC = "rbac.authorization.k8s.io"
# As long as the longest verification.
_TOKEN_SECONDS = 3600
_RIGHTS_SECONDS = 30.0
_DEFAULT_SECONDS = 20.0


@dataclass(frozen=True)
class Rule:
    """What an account may do. ``resources`` of one API group."""

    verbs: tuple[str, ...]
    resources: tuple[str, ...]
    group: str = ""

    @property
    def as_rbac(self) -> Object:
        """The rule as a role has it."""
        return {"apiGroups": [self.group], "resources": list(self.resources), "verbs": list(self.verbs)}


def account(api: Api, namespace: str, name: str) -> Object:
    """A new service account, which has no rights."""
    return api.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    )


def await_default(api: Api, namespace: str) -> None:
    """Wait until a new namespace has its account ``default``. Raises NotObserved.

    Without it the API server admits no pod, after two seconds in which it looks for it itself.
    """
    manifest = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}
    what = f"service account of the new namespace {namespace}"
    api.observe_one(manifest, lambda _: True, what=what, timeout=_DEFAULT_SECONDS)


def token(api: Api, namespace: str, name: str, seconds: int = _TOKEN_SECONDS) -> str:
    """A token of a service account, valid for so many seconds."""
    path = f"{objects.core(namespace, 'serviceaccounts')}/{name}/token"
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds},
    }
    return str(api.request("POST", path, request).required()["status"]["token"])


def allow(cluster: Cluster, namespace: str, name: str, rules: Sequence[Rule]) -> None:
    """Give a service account rights in its namespace, and wait until it has them."""
    metadata = {"name": name, "namespace": namespace}
    cluster.api.create(_role("Role", metadata, rules))
    cluster.api.create(_binding("RoleBinding", metadata, "Role", name, namespace))
    _await_rights(cluster, namespace, name, rules[0], namespace)


def allow_elsewhere(
    cluster: Cluster, workspace: Workspace, namespace: str, name: str, rules: Sequence[Rule], where: str
) -> None:
    """Give a service account rights in another namespace, as long as the verification lasts."""
    metadata = {"name": f"{namespace}-{name}", "namespace": where}
    workspace.create_outside(_role("Role", metadata, rules))
    workspace.create_outside(_binding("RoleBinding", metadata, "Role", name, namespace))
    _await_rights(cluster, namespace, name, rules[0], where)


def allow_everywhere(cluster: Cluster, workspace: Workspace, namespace: str, name: str, rules: Sequence[Rule]) -> None:
    """Give a service account rights in the whole cluster, as long as the verification lasts."""
    metadata = {"name": f"{namespace}-{name}"}
    workspace.create_outside(_role("ClusterRole", metadata, rules))
    workspace.create_outside(_binding("ClusterRoleBinding", metadata, "ClusterRole", name, namespace))
    _await_rights(cluster, namespace, name, rules[0], "")


def _await_rights(cluster: Cluster, namespace: str, name: str, rule: Rule, where: str) -> None:
    """Wait until each API server that answers allows what a rule does, in a namespace or, without one, in all.

    A server hears of roles and bindings by watches, and refuses until then what they allow. Those of one role come
    together: one of its rules is enough. Raises NotObserved.
    https://kubernetes.io/docs/reference/access-authn-authz/rbac/
    """
    user = f"system:serviceaccount:{namespace}:{name}"
    asked = {"verb": rule.verbs[0], "group": rule.group, "resource": rule.resources[0], "namespace": where}
    what = f"{user} may {rule.verbs[0]} {rule.resources[0]} {f'in {where}' if where else 'everywhere'}"
    await_everywhere(cluster, functools.partial(_is_allowed, user=user, asked=asked), what, _RIGHTS_SECONDS)


def _is_allowed(server: Api, user: str, asked: Mapping[str, str]) -> bool:
    namespace_group = f"system:serviceaccounts:{user.split(':')[2]}"
    groups = ["system:authenticated", "system:serviceaccounts", namespace_group]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": dict(asked)},
    }
    answer = server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return answer.status not in PASSING and bool(answer.required()["status"]["allowed"])


def _role(kind: str, metadata: Object, rules: Sequence[Rule]) -> Object:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": metadata,
        "rules": [rule.as_rbac for rule in rules],
    }


def _binding(kind: str, metadata: Object, role_kind: str, account_name: str, namespace: str) -> Object:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": role_kind, "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": account_name, "namespace": namespace}],
    }
