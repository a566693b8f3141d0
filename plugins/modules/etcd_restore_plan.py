#!/usr/bin/python
"""Choose, check and record what is restored to etcd.

Documentation alone: all of it is the action plugin of this name.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_restore_plan
short_description: Choose, check and record on the controller what is restored to etcd
description:
  - Decides what a restore does. M(etcd_restore) does it on the hosts, and M(etcd_restore_copy) copies what it needs.
  - A restore is recorded in C(restore/ID.json) of the state directory as soon as it was agreed to, so that a run that
    was killed is continued by the next one instead of asking again.
  - Needs, for each host of O(peer_urls), what M(etcd_restore) returned for V(operation=look), registered as
    C(__etcd_look). Sets the fact C(kubeproof_restore).
  - Fails, before anything was stopped, with all that speaks against the restore; a backup that is damaged, of another
    cluster, or of a newer etcd, for example, or too little space on a host.
options:
  stage:
    description:
      - V(choose) finds the backup that O(request) means, or the restore that an earlier run has not finished.
      - V(check) reads the backup, which is on the controller by then, and refuses what cannot be restored. Takes the
        cluster's keys from it if the state directory has lost them.
      - V(tell) displays what will be lost, by what M(etcd_restore) returned for V(operation=changes), registered as
        C(__restore_changes).
      - V(begin) records what was agreed to. V(finish) records that it is complete.
    type: str
    choices: [choose, check, tell, begin, finish]
    required: true
  request:
    description:
      - What to restore. V(latest), V(HOST:NAME), a directory on the controller, V(TARGET/NAME), or V(member:HOST) for
        the data of a member that is all that is left. For the stages V(choose), V(check) and V(begin).
    type: str
  resume:
    description: Whether a restore that was begun is continued. For V(stage=choose), which needs it.
    type: bool
  peer_urls:
    description: Peer URLs of all members by host. For all stages but V(finish).
    type: dict
  cluster:
    description: Name of the cluster. For the stages V(check), V(tell) and V(begin).
    type: str
  data_directory:
    description: Data directory of etcd on the hosts. For the stages V(check) and V(begin).
    type: path
  identity:
    description:
      - File on the controller with the private key of age that opens the cluster's keys in the backup. For
        V(stage=check).
    type: path
  versions:
    description: Versions by component, where they are to be others than those pinned. For V(stage=check).
    type: dict
    default: {}
  state_directory:
    required: false
extends_documentation_fragment: [attributes, attributes.controller, state_directory]
attributes:
  check_mode: {support: none, details: Records and displays in check mode as well.}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), it works for all hosts of etcd.
seealso:
  - module: etcd_restore
  - module: etcd_replace_member_plan
"""

EXAMPLES = r"""
- name: Choose the backup
  etcd_restore_plan:
    stage: choose
    request: latest
    resume: true
    state_directory: "{{ cluster_state_directory }}"
    peer_urls: {cp1: "https://192.0.2.1:2380"}
  run_once: true

- name: Record that the restore is complete
  etcd_restore_plan:
    stage: finish
    state_directory: "{{ cluster_state_directory }}"
  run_once: true
"""

RETURN = r"""
question:
  description: The question to ask before the restore begins.
  type: str
  returned: with V(stage=tell)
msg:
  description: What was restored, how long it took, and where the old data is.
  type: str
  returned: with V(stage=finish)
ansible_facts:
  description: Facts to add to those of all hosts of the play.
  type: dict
  returned: with the stages V(choose) and V(check)
  contains:
    kubeproof_restore:
      description: The restore.
      type: dict
      contains:
        id: {description: Its ID, the time at which it began., type: str, sample: 20261121T210000Z}
        resumed: {description: Whether an earlier run began it., type: bool}
        placed: {description: Whether all hosts have the restored data already., type: bool}
        kind:
          description: What O(request) is, or V(resumed).
          type: str
          sample: host
        host: {description: Host that has the backup; empty if the controller has it., type: str}
        target: {description: Name of the target that has the backup., type: str}
        name: {description: Name of the backup., type: str}
        path: {description: Directory on the controller with the backup., type: path}
        ask: {description: A host whose etcd answers; empty if none does., type: str}
        manifest: {description: The backup's manifest. From V(stage=check) on., type: dict}
        kept: {description: Where each host keeps its old data. From V(stage=check) on., type: path}
        token: {description: The new cluster's token. From V(stage=check) on., type: str}
        bump: {description: By how much revisions are raised. From V(stage=check) on., type: int}
        initial_cluster: {description: Members with their peer URLs as etcd takes them., type: str}
        peer_urls: {description: Peer URLs by host., type: dict}
"""
