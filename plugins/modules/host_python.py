#!/usr/bin/python
"""Take a Python to a host that has none, or remove it.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_python
short_description: Take a Python to a host that has none, or remove it
description:
  - Sends a portable Python to a host over the task's connection and unpacks it in C(/opt/kubeproof/python), where
    Ansible finds it from then on. The host needs a shell, C(tar), C(gzip) and C(sha256sum).
  - The archive is fetched or made on the controller once, and cached. It is compared with its SHA-256 on the host,
    unpacked next to its place, tried, and renamed.
  - With O(state=present) it does not fail. The fact C(kubeproof_host) contains the reason instead, as after
    M(host_report), so that the preflight can list the problems of all hosts together.
options:
  state:
    description:
      - V(present) takes a Python to the host, V(absent) removes the one that was taken there. V(asked) returns what
        there is.
    type: str
    choices: [present, absent, asked]
    default: present
  source:
    description:
      - As in M(fetch_components). With V(go) the Python is put together from Debian's packages, otherwise it is
        python-build-standalone's.
    type: str
    choices: [auto, release, mirror, go]
    default: auto
  mirror: {description: Base URL of the mirror., type: str, default: ""}
  versions: {description: Versions of components, from which V(auto) concludes the source., type: dict, default: {}}
  state_directory: {description: State directory of the cluster; required by O(state=present)., type: path}
  why: {description: What is wrong with the host's own Python., type: str, default: ""}
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full, details: With O(state=present) the fact says that the host has no Python yet.}
  diff_mode: {support: none}
seealso:
  - module: host_report
"""

EXAMPLES = r"""
- name: Take a Python to the host
  host_python:
    state_directory: /root/inventory/.kubeproof
"""

RETURN = r"""
brought:
  description: Whether the host has a Python now.
  type: bool
  returned: with O(state=present)
changes:
  description: What was changed.
  type: list
  elements: dict
  returned: if something was changed
  sample: [{path: /opt/kubeproof/python, what: missing}]
python:
  description: Whether the host has a Python.
  type: bool
  returned: with O(state=asked)
ours:
  description: Whether the one in C(/opt/kubeproof/python) was taken there.
  type: bool
  returned: with O(state=asked)
installed:
  description: Whether anything was installed on the host.
  type: bool
  returned: with O(state=asked)
ansible_facts:
  description: Why there is no Python.
  type: dict
  returned: if there is none, with O(state=present)
  contains:
    kubeproof_host: {description: "C(unreachable), C(problem) and C(remediation).", type: dict}
"""
