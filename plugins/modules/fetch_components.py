#!/usr/bin/python
"""Fetch or build, on the controller, the components that the inventory's hosts need.

Documentation alone: all of it is the action plugin of this name.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: fetch_components
short_description: Fetch or build, on the controller, the components that the inventory's hosts need
description:
  - Downloads each component that the inventory's groups need, in the pinned version and for the hosts' architectures,
    from the release hosts or a mirror, or builds it from its pinned Go modules. Also makes or looks up the images that
    nodes need.
  - Downloads are verified against the inventory's lock, else against C(components/components.yml), else against the
    checksums that the release publishes. Builds are verified by Go's checksum database.
  - Keeps everything by its SHA-256 in a cache (C(~/.cache/kubeproof)), and records it in the inventory's lock, from
    which M(distribute_components) gives all hosts the same. The lock is written only when everything was had.
  - Fails if a source cannot be reached, and if a download is not what it must be. What was completed stays cached.
options:
  source:
    description:
      - Where components come from. V(release) is the official downloads, V(mirror) a mirror of them, V(go) a build.
      - V(auto) is the source that the inventory was installed from, else the mirror if there is one, else the official
        downloads if their hosts answer, else a build.
    type: str
    choices: [auto, release, mirror, go]
    default: auto
  mirror:
    description: Base URL of a mirror, which has the official files under the names of their hosts.
    type: str
    default: ''
  registry:
    description: Registry, with a path if need be, that images are taken from in place of their own registries.
    type: str
    default: ''
  architectures:
    description: Architectures as Go names them. If empty, those that M(host_report) has found on the hosts.
    type: list
    elements: str
    choices: [amd64, arm64]
    default: []
extends_documentation_fragment: [attributes, attributes.controller, components, state_directory]
attributes:
  check_mode: {support: full, details: Fetches nothing; only tells whether something is missing.}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), it works for all hosts of the inventory.
  - Proxies are taken from the controller's environment.
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
  description: The source that was used.
  type: str
  returned: success, except in check mode
  sample: release
reason:
  description: Why that source.
  type: str
  returned: success, except in check mode
  sample: its hosts answer
components:
  description: What was fetched, built, or found in the cache.
  type: list
  elements: dict
  returned: success, except in check mode
  contains:
    name: {description: Name of the component or image., type: str}
    version: {description: Its version., type: str}
    arch: {description: Its architecture., type: str}
    origin: {description: "Where it is from, a URL or Go module.", type: str}
    verified: {description: "What vouches for it, for example V(components.yml).", type: str}
    fresh: {description: Whether it was not in the cache yet., type: bool}
"""
