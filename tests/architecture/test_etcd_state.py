"""etcd has all of the cluster's state: what is restored from a backup of it is the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from kubeproof.verify.engine.evidence import Evidence
from kubeproof.verify.engine.preparations import early
from kubeproof.verify.etcd_backups import drills
from kubeproof.verify.etcd_backups.drills import Result
from kubeproof.verify.observe.api import Api
from kubeproof.verify.observe.cluster import Cluster

_SHOWN = 5


@dataclass(frozen=True)
class Restored:
    """What the cluster had when a backup was made of it, and what an API server on that backup has.

    ``markers``: UIDs of objects that were created in ``namespace`` just before it, by resource. ``live``: UIDs by
    namespace/name, by resource.
    """

    name: str
    revision: int
    namespace: str
    markers: Mapping[str, str]
    live: Mapping[str, Mapping[str, str]]
    drill: Result


@early
def restored(cluster: Cluster, api: Api, namespace: str) -> Iterator[Future[Restored]]:
    """A backup and its drill, which takes longer than any other claim does, while these are looked at."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(_restore, cluster, api, namespace)


def _restore(cluster: Cluster, api: Api, namespace: str) -> Restored:
    program = drills.program(cluster)
    metadata = {"name": "marker", "namespace": namespace}
    markers = {
        resource: api.create({"apiVersion": "v1", "kind": kind, "metadata": metadata})["metadata"]["uid"]
        for resource, kind in (("configmaps", "ConfigMap"), ("secrets", "Secret"))
    }
    name, revision = program.save()
    # At once: what the cluster has had at a revision can be read only for minutes.
    live = drills.live_objects(api, revision)
    return Restored(name, revision, namespace, markers, live, program.drill(name))


@pytest.mark.claim("etcd-all-state")
@pytest.mark.late
def test_an_api_server_on_a_restored_backup_has_the_same_objects(
    restored: Future[Restored], evidence: Evidence
) -> None:
    found = restored.result()
    result = found.drill
    evidence["backup"] = found.name
    evidence["revision"] = found.revision
    evidence["seconds"] = {"all": result.seconds, **result.steps}
    evidence["resources"] = {resource: len(items) for resource, items in sorted(found.live.items()) if items}
    assert result.revision == found.revision, (
        f"the drill is of revision {result.revision}, the backup of {found.revision}"
    )
    for resource, uid in found.markers.items():
        there = result.objects.get(resource, {}).get(f"{found.namespace}/marker")
        assert there == uid, f"{resource} {found.namespace}/marker is {there or 'not there'} in the backup, not {uid}"
    different = drills.differences(found.live, result.objects)
    shown = "; ".join(different[:_SHOWN])
    assert not different, f"{len(different)} objects of the cluster are not what a restored backup has: {shown}"
    count = sum(map(len, found.live.values()))
    evidence.headline = (
        f"{count} objects listed by an API server on the restored backup, UIDs equal, {result.seconds} s"
    )


@pytest.mark.claim("etcd-all-state")
@pytest.mark.late
def test_a_drill_does_not_call_proven_what_is_another_backup(
    cluster: Cluster, restored: Future[Restored], evidence: Evidence
) -> None:
    # After the drill of that backup itself: there is one at a time.
    proven, said = drills.program(cluster).drill_forgery(restored.result().name)
    evidence["the drill says"] = said
    assert not proven, f"a drill calls a backup proven that is not what its manifest says: {said}"
    assert "manifest says" in said, f"the drill refuses a forged backup for another reason: {said}"
    evidence.headline = "a backup with another revision's manifest is refused"
