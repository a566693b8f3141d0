"""Volumes that are made for a verification's claims go with it, and can be written by those that use them."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.architecture import test_kubelet_volumes

from kubeproof.verify.act import volumes
from kubeproof.verify.act.pods import Manifests
from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.observe import objects
from kubeproof.verify.observe.api import Api, NotObserved
from kubeproof.verify.observe.objects import Object

_VOLUMES = "/api/v1/persistentvolumes"


def _volume(name: str, policy: str, namespace: str = "ours", storage_class: str = "standard") -> Object:
    spec: Object = {"persistentVolumeReclaimPolicy": policy, "storageClassName": storage_class}
    if namespace:
        spec["claimRef"] = {"namespace": namespace, "name": "provisioned"}
    return {"metadata": {"name": name}, "spec": spec}


class _Api:
    """An API with volumes, which a provisioner removes with their claims if their policy is so."""

    def __init__(self, *items: Object) -> None:
        self.volumes = {objects.name(item): item for item in items}
        self.patched: list[str] = []

    def items(self, path: str) -> list[Object]:
        assert path == _VOLUMES
        return list(self.volumes.values())

    def get(self, path: str) -> Object:
        return self.volumes[path.rpartition("/")[2]]

    def patch(self, path: str, change: Object) -> None:
        self.patched.append(path)
        self.get(path)["spec"].update(change["spec"])

    def delete(self, path: str) -> None:
        assert path == "/api/v1/namespaces/ours/persistentvolumeclaims/provisioned"
        for name, item in list(self.volumes.items()):
            if item["spec"]["claimRef"]["namespace"] == "ours" and item["spec"][volumes.POLICY] == "Delete":
                del self.volumes[name]

    def observe_gone(self, manifest: Object, *, what: str, **_: float) -> None:
        if objects.name(manifest) in self.volumes:
            raise NotObserved(what)


@pytest.fixture
def manifests() -> Manifests:
    return Manifests("ours", "image", ("w1",))


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_a_volume_goes_with_its_claim_also_if_its_class_keeps_volumes(manifests: Manifests, policy: str) -> None:
    api, evidence = _Api(_volume("pv-1", policy), _volume("pv-2", policy, "others")), Evidence()
    arguments: dict[str, Any] = {"name": "pv-1", "storage_class": "standard", "evidence": evidence}
    test_kubelet_volumes._is_removed(cast(Api, api), manifests, **arguments)
    assert list(api.volumes) == ["pv-2"]
    assert evidence["provisioned volumes, once their claims are gone"] == policy


def test_only_volumes_that_were_made_for_a_verification_are_let_go() -> None:
    api = _Api(
        _volume("ours", "Retain"),
        _volume("deleted-anyway", "Delete"),
        _volume("others", "Retain", "others"),
        _volume("static", "Retain", storage_class="kubeproof-verify-1-kept"),
        _volume("unclaimed", "Retain", ""),
    )
    volumes.let_go(cast(Api, api), "ours", "standard")
    assert api.patched == [f"{_VOLUMES}/ours"]


def test_who_writes_to_a_volume_may_do_so_on_a_new_file_system(manifests: Manifests) -> None:
    context = test_kubelet_volumes._keeper(manifests, "first", "kept")["spec"]["securityContext"]
    assert context["fsGroup"] == context["runAsUser"] == 65532
    assert context["runAsNonRoot"]
    assert "fsGroup" not in manifests.pod("other", [])["spec"]["securityContext"]
