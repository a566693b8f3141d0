#!/usr/bin/python
"""Plan an upgrade, or the way back, from what runs.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: upgrade_plan
short_description: Plan an upgrade, or the way back, from what runs
description:
  - Compares the versions of running processes with those that are wanted, and displays the steps from one to the other
    and everything in the way. Fails if something is. Sets the fact C(kubeproof_upgrade) for the playbook.
  - Writes the plan to C(reports/upgrade-plan.json) in the state directory. Unless in check mode, notes in
    C(upgrade.json) what the upgrade is about, so that no other run changes versions until it has ended.
  - Needs the facts of M(host_report), and the results of M(upgrade_look), registered as C(__upgrade_look).
options:
  state:
    description:
      - V(planned) plans. V(ended) removes the note of the upgrade.
      - V(backed-up) notes O(mark) and the host of a backup, V(rehearsed) that O(version) reads all of it.
      - V(refused) makes the next run begin with another backup; if O(untouched), the note of the upgrade is removed.
    type: str
    choices: [planned, backed-up, rehearsed, refused, ended]
    default: planned
  direction:
    description: V(forward), or V(back) to the versions that the cluster had before.
    type: str
    choices: [forward, back]
    default: forward
  to:
    description: Version of Kubernetes. If empty, that of C(component_versions), or else the pinned one.
    type: str
    default: ''
  only:
    description: Parts of the cluster to upgrade. If empty, all.
    type: list
    elements: str
    choices: [etcd, kubernetes, runtime, network, dns]
    default: []
  hosts:
    description: Hosts that may have a turn, separated by commas, with C(*); with C(!) before it, all but these.
    type: str
    default: ''
  until:
    description: Last step, by the name that the plan has for it. If empty, the end.
    type: str
    default: ''
  soak:
    description: Seconds for which API servers of a new minor version work as the old one at least.
    type: float
    default: 0
  at_once:
    description: Number or percentage of workers at a time, after the first one.
    type: raw
    default: 1
  local_data:
    description: Whether pods with emptyDir volumes may be evicted.
    type: bool
    default: false
  bare_pods:
    description: Whether pods without a controller may be evicted.
    type: bool
    default: false
  rehearses:
    description: Whether the target reads a restored backup before anything is changed.
    type: bool
    default: true
  mark:
    description: What a backup was made for; or what was rehearsed, as the act of the rehearsal has it.
    type: str
    default: ''
  version:
    description: Version of Kubernetes that was rehearsed.
    type: str
    default: ''
  readable:
    description: Versions of Kubernetes with which the backup need not be rehearsed, since that was done lately.
    type: list
    elements: str
    default: []
  untouched:
    description: Whether the upgrade has changed nothing.
    type: bool
    default: false
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), since one task does the work for all hosts.
seealso:
  - module: upgrade_look
"""

EXAMPLES = r"""
- name: Plan the upgrade
  upgrade_plan:
    to: 1.37.2
    soak: 600
  run_once: true
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to the host's.
  type: dict
  returned: success
  contains:
    kubeproof_upgrade:
      description: What is to be done, empty in check mode.
      type: dict
      contains:
        acts: {description: "The acts of the upgrade, one for each play.", type: list, elements: dict}
        whole: {description: Whether nothing is left to do afterwards., type: bool}
        untouched: {description: Whether everything still runs as before the upgrade., type: bool}
        verified: {description: Whether the cluster is verified at the end., type: bool}
        versions: {description: Versions by component., type: dict}
"""
