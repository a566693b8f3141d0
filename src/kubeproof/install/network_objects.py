"""The objects of a pod network that is applied into the cluster, from the manifest or chart in the cache."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kubeproof.components import published
from kubeproof.components.cache import Cache
from kubeproof.components.lock import Lock
from kubeproof.components.pins import Pins
from kubeproof.core import kubernetes_yaml
from kubeproof.core.errors import KubeproofError
from kubeproof.install import network_manifests
from kubeproof.install.network_manifests import NAMESPACE, Network, Object

_HELM_SECONDS = 120


@dataclass(frozen=True)
class Wanted:
    """Which network, and how. ``way``: calico's encapsulation, cilium's routing. ``extra``: environment, or values."""

    plugin: str
    network: Network
    way: str
    extra: Mapping[str, Any] = field(default_factory=dict)


def objects(wanted: Wanted, pins: Pins, state: Path, *, cache_directory: Path | None = None) -> list[Object] | None:
    """All objects; ``None`` if what they are made of is not in the cache. Raises KubeproofError."""
    manifest = pins.published[wanted.plugin]
    with Cache(cache_directory) as cache:
        lock = Lock(state)
        found, helm = published.cached(manifest, lock, cache), published.helm(pins, lock, cache)
        if found is None or (manifest.is_chart and helm is None):
            return None
        if helm is None or not manifest.is_chart:
            documents = _parsed(found.path.read_text(encoding="utf-8"), manifest.location)
            return network_manifests.calico(documents, wanted.network, wanted.way, wanted.extra)
        values = network_manifests.cilium(wanted.network, wanted.way, wanted.extra)
        return chart(helm.path, found.path, values, pins.components["kubernetes"].version)


def chart(helm: Path, archive: Path, values: Mapping[str, Any], kubernetes: str) -> list[Object]:
    """What Helm makes of a chart, without asking a cluster. Raises KubeproofError."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "values.yaml")
        file.write_text(yaml.safe_dump(dict(values)), encoding="utf-8")
        # In the cache it has no name that Helm would take for a chart's.
        named = Path(directory, "chart.tgz")
        named.symlink_to(archive)
        command = [str(helm), "template", "cilium", str(named), "--namespace", NAMESPACE, "--values", str(file)]
        command += ["--include-crds", "--skip-tests", "--kube-version", f"v{kubernetes}"]
        # Settings of the user's own Helm say nothing here.
        own = dict.fromkeys(("HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME", "HOME"), directory)
        try:
            done = subprocess.run(
                command, env={"PATH": "/usr/bin:/bin", **own}, capture_output=True, timeout=_HELM_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KubeproofError(f"helm template: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise KubeproofError(f"helm template ended with {done.returncode}: {said}", hint="correct cilium_extra_values")
    return network_manifests.rendered(_parsed(done.stdout.decode(), "the chart's output"))


def _parsed(text: str, origin: str) -> list[Any]:
    try:
        return kubernetes_yaml.load_all(text)
    except yaml.YAMLError as error:
        raise KubeproofError(f"{origin} is not YAML: {error}") from error
