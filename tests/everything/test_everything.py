"""A cluster with all that can be switched on: installed, installed again, verified, reset. About half an hour."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.disaster.local_cluster import LocalCluster, describe
from tests.everything import registry
from tests.everything.published_chart import Helm, published
from tests.everything.registry import Registry
from tests.local.snapshots import Snapshot, left_by_reset
from tests.upstream import critest, e2e

from kubeproof.components.lock import Lock
from kubeproof.core import controller_packages, waiting
from kubeproof.core.process import run
from kubeproof.local_hosts import lifecycle
from kubeproof.local_hosts.plan import plan
from kubeproof.verify.act.application_operator import gate
from kubeproof.verify.engine import run as verify
from kubeproof.verify.engine.run import Options
from kubeproof.verify.observe.cluster import TEST_IMAGE

pytestmark = [pytest.mark.local, pytest.mark.cluster]

_SUBNET = "10.213.28.0/24"
_MACHINE = "10.213.28.1"
# Names of a registry that is nowhere, and of its mirror, which is here: hosts know it by /etc/hosts.
_UPSTREAM, _MIRROR = "registry.test", "mirror.test"
_IMAGE = f"{_UPSTREAM}/{registry.REPOSITORY}:{registry.TAG}"
_VOLUME = "/srv/volumes/data"
_LABELS = {"app": "keeper"}
# An add-on that is taken out of the directory later.
_NOTE = "note"
_REFUSED_SECONDS = 60.0
# The namespace and the release.
_CHARTS = "greeter"
_CHART_SECONDS = 120.0
# What is disturbed, of what is switched on here: the others are for other clusters to say.
DISRUPTIVE = ("lb-failover", "volume-restart", "pod-network-heals", "policy-restart")


def describe_everything(**more: Any) -> dict[str, Any]:
    """The inventory. ``more``: settings that are not known before the test runs."""
    settings: dict[str, Any] = {
        "containerd_runtimes": [{"name": "other", "type": "runc", "options": {"NoNewKeyring": True}}],
        # The newest that can be built.
        "component_versions": {"local-path": "0.0.30"},
        "local_path_enabled": True,
        "local_volumes_directories": [{"name": "data", "hosts": ["workers"], "path": _VOLUME, "size": "1Gi"}],
        "metallb_addresses": ["10.213.28.64/28"],
        "metrics_server_replicas": 2,
        "scheduler_more": {"batch": {"port": 10269}},
        "traefik_enabled": True,
        **more,
    }
    return describe("kubeproof-everything", _SUBNET, {"cp1": 11}, {"w1": 21, "w2": 22}, **settings)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, str]]:
    """A private registry with the image of an add-on, and its CA."""
    controller_packages.complete_path()
    directory = tmp_path_factory.mktemp("registry")
    tool = critest.busybox(print)
    applets = run([str(tool), "--list-full"]).split()
    archive = critest.images(tool, applets, e2e.architecture(), directory)[critest.SHELL]
    issued = gate.issue(_MIRROR)
    certificate = directory / "certificate.pem"
    certificate.write_text(issued.certificate + issued.key)
    with registry.serving(archive, certificate, _MACHINE) as made:
        yield made, issued.ca


@pytest.fixture(scope="module")
def cluster(served: tuple[Registry, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """New hosts, of which everything is asked."""
    made, ca = served
    directory = tmp_path_factory.mktemp("everything")
    addons = directory / "addons"
    addons.mkdir()
    (addons / "keeper.yaml").write_text(yaml.safe_dump_all(_addon()))
    note = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": _NOTE}, "data": {"note": "to be taken away"}}
    (addons / f"{_NOTE}.yaml").write_text(yaml.safe_dump(note))
    mirror = {"mirrors": [f"https://{_MIRROR}:{made.port}"], "fallback": False, "ca": ca}
    path = directory / "hosts.yml"
    path.write_text(
        yaml.safe_dump(
            describe_everything(addons_directory=str(addons), containerd_registry_mirrors={_UPSTREAM: mirror})
        )
    )
    hosts = LocalCluster(path)
    try:
        hosts.make_hosts()
        for name in hosts.inventory.hosts:
            hosts.on(name, f"echo '{_MACHINE} {_MIRROR}' >> /etc/hosts")
        yield hosts
    finally:
        lifecycle.destroy(plan(hosts.inventory), print)


def test_it_is_installed_proven_and_reset(cluster: LocalCluster, served: tuple[Registry, str]) -> None:
    before = _look(cluster)
    # The run waits for the add-on, and so for its image, its volume, and all that kubeproof brings.
    cluster.play("cluster")
    assert cluster.play("cluster").count("changed") == 0
    _pulled_by_who_may(cluster, served[0])
    _is_proven(cluster, Options(level="standard"))
    measured = {line.split()[0] for line in cluster.kubectl("top", "nodes", "--no-headers").splitlines()}
    assert measured == {"cp1", "w1", "w2"}
    _is_proven(cluster, Options(level="disruptive", only=DISRUPTIVE))

    _installed_from_a_registry(cluster)

    (cluster.path.parent / "addons" / f"{_NOTE}.yaml").unlink()
    assert f"configmap/{_NOTE}" in cluster.kubectl("get", "configmaps", "--output=name")
    cluster.part("--tags=addons")
    assert f"configmap/{_NOTE}" not in cluster.kubectl("get", "configmaps", "--output=name")

    keeper = cluster.kubectl("get", "pods", "--namespace=mine", "--output=jsonpath={.items[0].spec.nodeName}")
    cluster.play("reset", reset_confirmed=True)
    assert cluster.on(keeper, f"cat {_VOLUME}/file").startswith(b"kept"), "a reset keeps data"
    # Directories of volumes stay, as what is in them does.
    kept = r": (/srv/volumes|/var/lib/local-path-provisioner)\b"
    left = [each for each in left_by_reset(before, _look(cluster)) if not re.search(kept, each)]
    print("\n".join(left))
    assert left == []


def _addon() -> list[dict[str, Any]]:
    """An application of the user's own, with a volume, whose image is in a private registry."""
    secrets = {"auths": {_UPSTREAM: {"auth": registry.authorization()}}}
    container = {
        "name": "keeper",
        "image": _IMAGE,
        "imagePullPolicy": "Always",
        "command": ["sh", "-c", "echo kept >> /data/file; exec sleep 86400"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "containers": [container],
        "imagePullSecrets": [{"name": "registry"}],
        "securityContext": {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532},
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "registry", "namespace": "mine"},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(json.dumps(secrets).encode()).decode()},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "mine"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "local",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "keeper", "namespace": "mine"},
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": _LABELS},
                "template": {"metadata": {"labels": _LABELS}, "spec": pod},
            },
        },
    ]


def _pulled_by_who_may(cluster: LocalCluster, made: Registry) -> None:
    """The add-on's image has come from the mirror; who has no password does not get it, from nowhere."""
    manifest = f"/v2/{registry.REPOSITORY}/manifests/{registry.TAG}"
    assert (manifest, 200) in made.answered, made.answered
    cluster.kubectl("run", "stranger", f"--image={_IMAGE}", "--image-pull-policy=Always", "--restart=Never")
    told = ["get", "events", "--field-selector=involvedObject.name=stranger,reason=Failed"]
    assert waiting.until(
        lambda: re.search("401|authorization failed", cluster.kubectl(*told)), _REFUSED_SECONDS, pause=1.0
    ), cluster.kubectl(*told)
    state = cluster.kubectl("get", "pod", "stranger", "--output=jsonpath={.status.phase}")
    assert state == "Pending", f"a pod without a password is {state}"
    cluster.kubectl("delete", "pod", "stranger", "--grace-period=0", "--force")


def _installed_from_a_registry(cluster: LocalCluster) -> None:
    """A chart in a registry that takes a CA and a password, by `./kubeproof helm`, which is built if it was not yet."""
    directory = cluster.path.parent / "helm"
    directory.mkdir()
    helm = Helm(cluster.path, directory)
    helm.build()
    image = f"image=localhost/kubeproof/{TEST_IMAGE}:{Lock(cluster.inventory.state).versions('current')[TEST_IMAGE]}"
    namespace = ("--namespace", _CHARTS)
    with published(helm) as chart:
        wait = ("--create-namespace", "--set", image, "--wait", "--timeout", f"{_CHART_SECONDS:.0f}s")
        helm.succeed("install", _CHARTS, chart.reference, *chart.options, *namespace, *wait)
        paths = {path for path, status in chart.registry.answered if status == 200}
    assert "/v2/charts/greeter/manifests/1.0.0" in paths
    ready = "--output=jsonpath={.items[*].status.readyReplicas}"
    assert cluster.kubectl("get", "deployments", f"--namespace={_CHARTS}", ready) == "1"
    helm.succeed("uninstall", _CHARTS, *namespace, "--wait")
    cluster.kubectl("delete", "namespace", _CHARTS)


def _is_proven(cluster: LocalCluster, options: Options) -> None:
    """Nothing that a verification looks at is otherwise, and something is so."""
    report = cluster.inventory.state / f"everything-{options.level}.json"
    verify.verify(cluster.inventory.sources, Options(options.only, options.level, report=str(report)))
    claims = [claim for component in json.loads(report.read_text())["components"] for claim in component["claims"]]
    wrong = {claim["id"]: claim["reason"] for claim in claims if claim["verdict"] in ("refuted", "blocked")}
    assert wrong == {}
    proven = {claim["id"] for claim in claims if claim["verdict"] == "proven"}
    switched_on = {"hpa-scales", "ingress-routes", "lb-address", "metrics-resource", "runtime-handlers"}
    assert proven >= (set(options.only) or switched_on), "what is switched on is looked at"


def _look(cluster: LocalCluster) -> dict[str, Snapshot]:
    return {name: Snapshot.take(host) for name, host in cluster.inventory.hosts.items()}
