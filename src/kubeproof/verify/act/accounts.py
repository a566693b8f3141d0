"""Service accounts that a test acts as, with the rights that it gives them and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kubeproof.verify.act.workspace import Workspace
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.objects import Object

_RBAC = "rbac.authorization.k8s.io"
# As long as the longest verification.
_TOKEN_SECONDS = 3600


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


def token(api: Api, namespace: str, name: str) -> str:
    """A token of a service account."""
    path = f"{objects.core(namespace, 'serviceaccounts')}/{name}/token"
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _TOKEN_SECONDS},
    }
    return str(api.request("POST", path, request).required()["status"]["token"])


def allow(api: Api, namespace: str, name: str, rules: Sequence[Rule]) -> None:
    """Give a service account rights in its namespace."""
    metadata = {"name": name, "namespace": namespace}
    api.create(
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [rule.as_rbac for rule in rules],
        }
    )
    api.create(_binding("RoleBinding", metadata, "Role", name, namespace))


def allow_everywhere(workspace: Workspace, namespace: str, name: str, rules: Sequence[Rule]) -> None:
    """Give a service account rights in the whole cluster, as long as the verification lasts."""
    metadata = {"name": f"{namespace}-{name}"}
    workspace.cluster_wide(
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": metadata,
            "rules": [rule.as_rbac for rule in rules],
        }
    )
    workspace.cluster_wide(_binding("ClusterRoleBinding", metadata, "ClusterRole", name, namespace))


def _binding(kind: str, metadata: Object, role_kind: str, account_name: str, namespace: str) -> Object:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": role_kind, "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": account_name, "namespace": namespace}],
    }
