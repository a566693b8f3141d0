#!/usr/bin/python
"""Fetch or build, on the controller, the components that the inventory's hosts need.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: fetch_components
short_description: Fetch or build, on the controller, the components that the inventory's hosts need
description:
  - Downloads the components that the inventory's groups need, in their pinned versions and for the architectures of the
    hosts, from the release hosts or a mirror, or builds them from pinned Go modules. Also builds or resolves the images
    that nodes need, and the manifest of a pod network that is installed as one.
  - Downloads are verified against the inventory's lock, or else C(components/components.yml), or else the checksums
    that the release publishes. Builds are verified with C(go.sum).
  - Stores files by SHA-256 in a cache (C(~/.cache/kubeproof)), and records them in the inventory's lock, from which
    M(distribute_components) installs them. The lock is only written if everything was fetched.
  - Fails if a source is unreachable, and if the checksum of a download does not match. Completed downloads stay in the
    cache.
options:
  source:
    description:
      - Source of components. V(release) for the official downloads, V(mirror) for a mirror of them, V(go) for builds.
      - V(auto) is the source with which the inventory was installed. For a new one it is O(mirror) if set, or else the
        official downloads; or builds, if these hosts are unreachable.
    type: str
    choices: [auto, release, mirror, go]
    default: auto
  mirror:
    description: Base URL of a mirror, which has the official files at C(HOST/PATH) of their URLs.
    type: str
    default: ''
  registry:
    description: Registry, with an optional path, for images instead of their own registries.
    type: str
    default: ''
  architectures:
    description: Architectures. If empty, those of the hosts by M(host_report).
    type: list
    elements: str
    choices: [amd64, arm64]
    default: []
  manifest_sha256:
    description: SHA-256 of the pod network's manifest or chart. If empty, the lock's, or that of the first download.
    type: str
    default: ''
  sha256:
    description:
      - SHA-256 of downloads that the user has verified, by component and architecture. The setting
        C(component_sha256).
    type: dict
    default: {}
extends_documentation_fragment: [attributes, attributes.controller, components, state_directory]
attributes:
  check_mode: {support: full, details: Fetches nothing, and only reports whether something is missing.}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), since one task does the work for all hosts of the inventory.
  - Proxies are configured by the environment of the controller.
seealso:
  - module: distribute_components
"""

EXAMPLES = r"""
- name: Fetch or build what the hosts need
  fetch_components:
    source: mirror
    mirror: https://mirror.example.org/kubernetes
    state_directory: "{{ cluster_state_directory }}"
  run_once: true
"""

RETURN = r"""
source:
  description: Source that was used.
  type: str
  returned: success, except in check mode
  sample: release
reason:
  description: Why it was chosen.
  type: str
  returned: success, except in check mode
  sample: its hosts answer
components:
  description: Components and images, fetched, built or cached.
  type: list
  elements: dict
  returned: success, except in check mode
  contains:
    name: {description: Name., type: str}
    version: {description: Version., type: str}
    arch: {description: Architecture., type: str}
    origin: {description: URL or Go module., type: str}
    verified: {description: "Origin of the checksum, for example V(components.yml).", type: str}
    fresh: {description: Whether it was not in the cache., type: bool}
"""
