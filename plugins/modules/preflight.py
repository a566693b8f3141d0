#!/usr/bin/python
"""Check settings and hosts before anything is changed.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check settings and hosts before anything is changed
description:
  - Displays all findings of all hosts, each with its remediation, and fails if one of them is an error. Runs on the
    controller only.
  - Writes the findings of the stages V(settings), V(hosts) and V(ports) to C(reports/preflight-STAGE.json) in the state
    directory, with the reasons for settings that are derived from facts.
  - The setting C(preflight_ignore) ignores findings.
options:
  stage:
    description:
      - V(inventory) fails if Ansible has read files of the state directory as inventories, so that names of hosts may
        be keys, or if the run has a tag that is not in O(tags). It has to be the first task of a run.
      - V(settings) checks the settings of all hosts of the cluster, including those that C(--limit) leaves out.
      - V(hosts) checks the facts of hosts. M(host_report) must have run on all hosts of the play.
      - V(ports) checks the results of M(port_probe) with O(port_probe#module:state=connected), which hosts have
        registered as C(__preflight_connected).
    type: str
    choices: [inventory, settings, hosts, ports]
    required: true
  purpose:
    description: Purpose of the run, for the stages V(settings) and V(hosts).
    type: str
    choices: [converge, restore, replace-member, upgrade]
    default: converge
  tags:
    description: Tags of the playbook, for O(stage=inventory). If empty, all tags are refused.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: full, details: Writes the report in check mode too.}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), since one task does the work for all hosts.
seealso:
  - module: host_report
  - module: left_behind
  - module: port_probe
"""

EXAMPLES = r"""
- name: Check the settings
  preflight:
    stage: settings
  run_once: true

- name: Gather the facts of the hosts
  host_report:

- name: Check the hosts
  preflight:
    stage: hosts
    purpose: restore
  run_once: true
"""

RETURN = r"""
addresses:
  description: Under which address each host of the cluster is reached by the others, including those left out.
  type: dict
  returned: success, with the stage V(hosts)
  sample: {cp1: 192.0.2.11, w1: 192.0.2.21}
msg:
  description: Number of errors and warnings.
  type: str
  returned: with the stages V(settings) and V(hosts)
  sample: "preflight: 2 errors, 1 warning"
left_behind:
  description:
    - Hosts that cannot be reached and have no part in the run. None where etcd's quorum or all API servers are at
      stake, or new nodes would get no routes from them; they are errors then.
  type: list
  elements: str
  returned: success, with the stage V(hosts)
outside:
  description:
    - Control-plane hosts that have to be asked whether they answer, because the run has nodes that need the API and no
      control-plane host. Empty in any other run.
  type: list
  elements: str
  returned: success, with the stage V(settings)
speaker:
  description:
    - The control-plane host through which the run uses the API where a play has none. Empty if there is none to be
      used, and the run needs none.
  type: str
  returned: success, with the stage V(hosts)
  sample: cp1
findings:
  description: The findings, if all of them are warnings. With errors they are only displayed.
  type: list
  elements: dict
  returned: success, with the stages V(settings) and V(hosts)
  contains:
    id: {description: Kind of finding., type: str, sample: unknown-setting}
    subject: {description: "The setting, port, path or other object.", type: str, sample: kubelet_max_pds}
    host: {description: "The host, or V(settings).", type: str}
    problem: {description: The problem., type: str}
    remediation: {description: Its remediation., type: str}
    severity: {description: V(error) or V(warning)., type: str}
probes:
  description: >-
    What hosts have to probe of each other's ports before components are installed, by host; empty if none of them is
    new, and in check mode.
  type: dict
  returned: success, with the stage V(hosts)
  sample:
    w1:
      address: 192.0.2.21
      listen: [10250]
      listen_udp: [8472]
      targets: [{address: 192.0.2.11, port: 6443, protocol: tcp}]
"""
