#!/usr/bin/python
"""Import image archives into containerd where they are missing. Standard library only; Python 3.8 and newer."""

from __future__ import annotations

import concurrent.futures
from typing import Any, Dict, List

from ansible.module_utils import settled
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.commands import run

DOCUMENTATION = r"""
module: runtime_images
short_description: Import container images from archives on the host into containerd
description:
  - Imports archives of images that are missing in containerd, or have another digest there, into the namespace
    C(k8s.io), and pins them (the label C(io.cri-containerd.pinned)). They are in no registry, so that no pod could
    start with them again after the kubelet has removed them from a disk that fills up.
  - Fails if an archive does not contain the image with that digest, and if containerd does not respond.
options:
  images:
    description: Images to import.
    type: list
    elements: dict
    required: true
    suboptions:
      reference: {description: Reference of the image., type: str, required: true}
      archive: {description: OCI archive on the host with the image., type: path, required: true}
      digest: {description: "Digest of its manifest, as V(sha256:…).", type: str, required: true}
  releases_former:
    description: >-
      Whether other images of the same repositories are unpinned, which are of former versions. Not during an upgrade:
      pods of both versions may be started.
    type: bool
    default: true
  ctr: {description: Path of containerd's client., type: path, default: /usr/local/bin/ctr}
  socket: {description: Path of containerd's socket., type: path, default: /run/containerd/containerd.sock}
extends_documentation_fragment: [attributes, attributes.action]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
seealso:
  - module: distribute_components
"""

EXAMPLES = r"""
- name: Import the sandbox image
  runtime_images:
    images:
      - reference: localhost/kubeproof/pause:3.10.2
        archive: /var/lib/kubeproof/images/pause.tar
        digest: sha256:221fc0754d5812c0689a5ab81bebdac8a88c88ec0ec924a94f1feccdd217e95e
"""

RETURN = r"""
changes:
  description: Changed images; in check mode those that would be changed.
  type: list
  elements: dict
  returned: success
  contains:
    path: {description: Reference of the image., type: str}
    what: {description: "V(imported), V(pinned) or V(unpinned).", type: str}
  sample: [{path: "localhost/kubeproof/pause:3.10.2", what: imported}]
"""

# What the kubelet reads as "pinned" (containerd, internal/cri/labels).
PINNED = "io.cri-containerd.pinned=pinned"
# containerd forgets a label without a value.
UNPINNED = "io.cri-containerd.pinned="
# An import waits for the disk; more at once than this only makes each slower.
AT_ONCE = 3


class Runtime:
    """containerd's images of Kubernetes' namespace."""

    def __init__(self, ctr: str, socket: str) -> None:
        self._command = [ctr, "--address", socket, "--namespace", "k8s.io", "images"]

    def images(self) -> Dict[str, Image]:
        """Images by reference."""
        rows = settled.image_rows(self._run("list"))
        return {reference: Image(digest, labels) for reference, (digest, labels) in rows.items()}

    def load(self, archive: str) -> None:
        """Import and unpack an archive, pinned."""
        # `--local`: containerd's transfer service takes twice as long for the same.
        self._run("import", "--local", "--label", PINNED, archive)

    def label(self, reference: str, label: str) -> None:
        """Keep the kubelet from removing an image when the disk runs full, or let it."""
        self._run("label", reference, label)

    def _run(self, *arguments: str) -> str:
        output: str = run([*self._command, *arguments])
        return output


class Image:
    """An image that containerd has."""

    def __init__(self, digest: str, labels: str) -> None:
        self.digest = digest
        self.pinned = PINNED in labels.split(",")


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "images": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "reference": {"type": "str", "required": True},
                    "archive": {"type": "path", "required": True},
                    "digest": {"type": "str", "required": True},
                },
            },
            "releases_former": {"type": "bool", "default": True},
            "ctr": {"type": "path", "default": "/usr/local/bin/ctr"},
            "socket": {"type": "path", "default": "/run/containerd/containerd.sock"},
            "_settle": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    wanted: List[Dict[str, Any]] = module.params["images"]
    runtime = Runtime(module.params["ctr"], module.params["socket"])
    try:
        if module.check_mode:
            before = settled.asked_before(module.params["_settle"])
            changes = planned(runtime, wanted, module.params["releases_former"], before)
        else:
            changes = converge(runtime, wanted, module.params["releases_former"], check_mode=False)
            settled.save(module.params["_settle"], {})
    except (OSError, RuntimeError, IndexError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changes), changes=changes)


def converge(
    runtime: Runtime, wanted: List[Dict[str, Any]], releases_former: bool, *, check_mode: bool
) -> List[Dict[str, str]]:
    """Import what is missing, several at once, and pin; returns what was done, or in check mode what would be."""
    present = runtime.images()
    missing = [image for image in wanted if not matches(present, image)]
    ours = [image["reference"] for image in wanted]
    unpinned = [
        image["reference"] for image in wanted if image not in missing and not present[image["reference"]].pinned
    ]
    former = [name for name in present if name not in ours and present[name].pinned and is_former(name, ours)]
    released = former if releases_former else []
    if not check_mode:
        load(runtime, missing)
        for reference in unpinned:
            runtime.label(reference, PINNED)
        for reference in released:
            runtime.label(reference, UNPINNED)
    changes = [{"path": image["reference"], "what": "imported"} for image in missing]
    changes += [{"path": reference, "what": "pinned"} for reference in unpinned]
    return changes + [{"path": reference, "what": "unpinned"} for reference in released]


def planned(runtime: Runtime, wanted: List[Dict[str, Any]], releases_former: bool, before: str) -> List[Dict[str, str]]:
    """What would be done. ``before``: whether these images were asked for, see ``settled.asked_before``.

    A runtime that a run is about to install or to start cannot be asked: it has what it was given, if it was.
    """
    try:
        return converge(runtime, wanted, releases_former, check_mode=True)
    except (OSError, RuntimeError):
        return [] if before == "same" else [{"path": image["reference"], "what": "imported"} for image in wanted]


def is_former(reference: str, ours: List[str]) -> bool:
    """Whether an image is of the repository of one of ours."""
    return any(reference.rpartition(":")[0] == each.rpartition(":")[0] for each in ours)


def load(runtime: Runtime, images: List[Dict[str, Any]]) -> None:
    """Import archives, and make sure that each held the image that it was to hold."""
    if not images:
        return
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda image: runtime.load(image["archive"]), images))
    present = runtime.images()
    for image in images:
        if not matches(present, image):
            raise RuntimeError("%(archive)s does not hold %(reference)s with digest %(digest)s" % image)


def matches(present: Dict[str, Image], wanted: Dict[str, Any]) -> bool:
    """Whether the runtime has an image as it must be."""
    return wanted["reference"] in present and present[wanted["reference"]].digest == wanted["digest"]


if __name__ == "__main__":
    main()
