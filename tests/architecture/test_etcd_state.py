"""etcd has all of the cluster's state: what is restored from a backup of it is the cluster."""

from __future__ import annotations

import pytest

from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.etcd_backups import drills
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster

_SHOWN = 5


@pytest.mark.claim("etcd-all-state")
def test_an_api_server_on_a_restored_backup_has_the_same_objects(
    cluster: Cluster, api: Api, namespace: str, evidence: Evidence
) -> None:
    program = drills.program(cluster)
    metadata = {"name": "marker", "namespace": namespace}
    markers = {
        f"{resource}": api.create({"apiVersion": "v1", "kind": kind, "metadata": metadata})["metadata"]["uid"]
        for resource, kind in (("configmaps", "ConfigMap"), ("secrets", "Secret"))
    }
    name, revision = program.save()
    # At once: what the cluster has had at a revision can be read only for minutes.
    live = drills.live_objects(api, revision)
    result = program.drill(name)
    evidence["backup"] = name
    evidence["revision"] = revision
    evidence["seconds"] = {"all": result.seconds, **result.steps}
    evidence["resources"] = {resource: len(items) for resource, items in sorted(live.items()) if items}
    assert result.revision == revision, f"the drill is of revision {result.revision}, the backup of {revision}"
    for resource, uid in markers.items():
        restored = result.objects.get(resource, {}).get(f"{namespace}/marker")
        assert restored == uid, f"{resource} {namespace}/marker is {restored or 'not there'} in the backup, not {uid}"
    different = drills.differences(live, result.objects)
    shown = "; ".join(different[:_SHOWN])
    assert not different, f"{len(different)} objects of the cluster are not what a restored backup has: {shown}"
    count = sum(map(len, live.values()))
    evidence.headline = (
        f"{count} objects listed by an API server on the restored backup, UIDs equal, {result.seconds} s"
    )


@pytest.mark.claim("etcd-all-state")
def test_a_drill_does_not_call_proven_what_is_another_backup(cluster: Cluster, evidence: Evidence) -> None:
    program = drills.program(cluster)
    name, _ = program.save()
    proven, said = program.drill_forgery(name)
    evidence["the drill says"] = said
    assert not proven, f"a drill calls a backup proven that is not what its manifest says: {said}"
    assert "manifest says" in said, f"the drill refuses a forged backup for another reason: {said}"
    evidence.headline = "a backup with another revision's manifest is refused"
