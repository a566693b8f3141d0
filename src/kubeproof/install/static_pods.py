"""A component as a static pod, with what its unit would give it and no more: pure functions, no Ansible.

https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from kubeproof.core.errors import KubeproofError
from kubeproof.settings import flags

FORMS = ("services", "static-pods")
NAMESPACE = "kube-system"
# What the class system-node-critical stands for. Who makes a static pod has to give the number too: its kubelet may
# have no API server to ask.
_CRITICAL = {"priorityClassName": "system-node-critical", "priority": 2000001000}
# systemd's DefaultTimeoutStopSec: how long one that stops may take.
_GRACE_SECONDS = 90
# How often a new process is asked whether it has begun, and a running one whether it hangs.
_STARTUP_PERIOD, _LIVENESS_PERIOD, _LIVENESS_FAILURES = 2, 10, 8
_PROBE_SECONDS = 15


@dataclass(frozen=True)
class Program:
    """What a static pod runs.

    ``component``: its image's name in ``components.yml``. ``user``: whose the process is, by name; the host knows the
    number. ``arguments``: its flags. ``reads`` and ``writes``: directories of the host that it is shown. ``live``: the
    path at which it says that it does not hang. ``cpu``: the share that it may count on.
    """

    component: str
    user: str
    arguments: Sequence[str]
    reads: Sequence[str]
    live: str
    cpu: str
    writes: Sequence[str] = ()

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Program:
        """Understand a task's argument ``pod``."""
        known = {field.name for field in fields(cls)}
        if set(given) - known or (known - {"writes"}) - set(given):
            raise KubeproofError(f"pod takes {sorted(known)}, and all but writes are needed; given are {sorted(given)}")
        return cls(**given)


def manifest(
    unit: str, program: Program, health_url: str, timeout: int, components: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of what would be a unit otherwise. ``components`` is the host's fact ``kubeproof_components``.

    ``runAsUser`` and ``runAsGroup`` are names still: see the module component_service.
    """
    name = unit.removesuffix(".service")
    image = components["images"].get(program.component, "")
    digests = [each["digest"] for each in components["image_archives"] if each["reference"] == image]
    if not digests:
        raise KubeproofError(
            f"no image of {program.component} is on this host, so that it can't be a static pod",
            hint="run playbooks/cluster.yml from its start: its play for the controller makes the image",
        )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {
                "app.kubernetes.io/name": program.component,
                "app.kubernetes.io/instance": name,
                "app.kubernetes.io/managed-by": "kubeproof",
                "tier": "control-plane",
            },
            # An image that was made again has the same name: this makes it another pod.
            "annotations": {"kubeproof.io/image": digests[0]},
        },
        "spec": {
            "hostNetwork": True,
            **_CRITICAL,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": _GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": program.user,
                "runAsGroup": program.user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(name, program, image, health_url, timeout)],
            "volumes": [
                {"name": _volume(path), "hostPath": {"path": path, "type": "Directory"}}
                for path in (*program.reads, *program.writes)
            ],
        },
    }


def _container(name: str, program: Program, image: str, health_url: str, timeout: int) -> dict[str, Any]:
    url = urlsplit(health_url)
    probe = {
        # The kubelet does not verify the server: the network is this host's loopback.
        "httpGet": {"host": url.hostname, "port": url.port, "scheme": url.scheme.upper(), "path": program.live},
        "timeoutSeconds": _PROBE_SECONDS,
    }
    return {
        "name": name,
        "image": image,
        # No registry has it.
        "imagePullPolicy": "Never",
        "command": [f"/{program.component}", *flags.pod_words(program.arguments)],
        "resources": {"requests": {"cpu": program.cpu}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "startupProbe": {
            **probe,
            "periodSeconds": _STARTUP_PERIOD,
            "failureThreshold": math.ceil(timeout / _STARTUP_PERIOD),
        },
        "livenessProbe": {
            **probe,
            "periodSeconds": _LIVENESS_PERIOD,
            "failureThreshold": _LIVENESS_FAILURES,
        },
        "volumeMounts": [
            *({"name": _volume(path), "mountPath": path, "readOnly": True} for path in program.reads),
            *({"name": _volume(path), "mountPath": path} for path in program.writes),
        ],
    }


def _volume(path: str) -> str:
    return path.strip("/").replace("/", "-").replace(".", "-").lower()
