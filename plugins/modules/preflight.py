#!/usr/bin/python
"""Check settings and hosts before anything is changed.

Documentation alone: all of it is the action plugin of this name.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check settings and hosts before anything is changed
description:
  - Lists everything that would go wrong, of all hosts at once, each with what to do about it, and fails if one of
    these findings is an error. Runs on the controller; connects to no host.
  - Writes the findings of the stages V(settings) and V(hosts) to C(reports/preflight-STAGE.json) in the state
    directory, with the reasons of settings that follow from what hosts are.
  - The setting C(preflight_ignore) leaves findings out.
options:
  stage:
    description:
      - V(inventory) fails if Ansible has read the cluster's state directory as an inventory, so that names of hosts
        are keys, or if the run was given a tag that is not among O(tags). Nothing may have printed names of hosts
        before.
      - V(settings) checks all settings of all hosts of the cluster, those that C(--limit) leaves out included.
      - V(hosts) checks the hosts by their reports. M(host_report) must have run on all hosts of the play.
    type: str
    choices: [inventory, settings, hosts]
    required: true
  purpose:
    description: What the run is about to do, for V(stage=hosts).
    type: str
    choices: [converge, restore, replace-member]
    default: converge
  tags:
    description: The playbook's tags, for V(stage=inventory). Without any, every tag is refused.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full, details: Changes nothing but its report.}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), it works for all hosts.
seealso:
  - module: host_report
"""

EXAMPLES = r"""
- name: Check the settings
  preflight:
    stage: settings
  run_once: true

- name: Examine the hosts
  host_report:

- name: Check the hosts
  preflight:
    stage: hosts
    purpose: restore
  run_once: true
"""

RETURN = r"""
msg:
  description: How many errors and warnings there are.
  type: str
  returned: always, unless V(stage=inventory)
  sample: "preflight: 2 errors, 1 warning"
findings:
  description: The findings, all of which are warnings. If there is an error, they are only displayed.
  type: list
  elements: dict
  returned: success, unless V(stage=inventory)
  contains:
    id: {description: The kind of finding., type: str, sample: unknown-setting}
    subject: {description: "What it is about: a setting, a port, a path.", type: str, sample: kubelet_max_pds}
    host: {description: "The host, or V(settings).", type: str}
    wrong: {description: What is wrong., type: str}
    mend: {description: What to do about it., type: str}
    severity: {description: V(error) or V(warning)., type: str}
"""
