"""Read the objects of a pod network that is applied into the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kubeproof.components import pins
from kubeproof.core.errors import KubeproofError
from kubeproof.install.action import Action, plain
from kubeproof.install.network_manifests import Network
from kubeproof.install.network_objects import Wanted, objects


class ActionModule(Action):
    """A thin adapter to ``kubeproof.install.network_objects``."""

    _requires_connection = False
    OF_HOSTS = False
    _VALID_ARGS = frozenset(
        (
            "plugin", "versions", "state_directory", "pod_networks", "mtu", "api_port", "replaces_proxy", "nftables",
            "nodes", "way", "extra",
        )
    )  # fmt: skip

    def act(self) -> dict[str, Any]:
        """Raises KubeproofError if the manifest is not in the cache, but in check mode, where nothing is fetched."""
        given = plain(dict(self._arguments))
        network = Network(
            pods=tuple(map(str, given["pod_networks"])),
            mtu=int(given["mtu"]),
            api_port=int(given["api_port"]),
            replaces_proxy=bool(given["replaces_proxy"]),
            nodes=int(given["nodes"]),
            nftables=bool(given["nftables"]),
        )
        wanted = Wanted(str(given["plugin"]), network, str(given["way"]), dict(given.get("extra") or {}))
        chosen = pins.load().with_versions(dict(given.get("versions") or {}))
        found = objects(wanted, chosen, Path(given["state_directory"]))
        if found is None and not self._task.check_mode:
            raise KubeproofError(
                f"the manifest of {wanted.plugin} is not in this machine's cache",
                hint="run playbooks/cluster.yml without --skip-tags, which fetches it",
            )
        return {"changed": False, "objects": found or [], "complete": found is not None}
