#!/usr/bin/python
"""Choose and check a backup of etcd to restore, and record the restore.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_restore_plan
short_description: Choose and check a backup of etcd to restore, and record the restore, on the controller
description:
  - The stages of a restore on the controller. M(etcd_restore) carries out its steps on hosts, M(etcd_restore_copy)
    copies backups and snapshots.
  - When a restore is confirmed, it is recorded in C(restore/ID.json) in the state directory, so that if the run is
    killed, the next one resumes the restore without asking. Not after 24 hours, or if a member with other data has
    quorum; then it starts another, and asks.
  - Needs the result of M(etcd_restore) with C(operation=look), registered as C(__etcd_look), of all hosts in
    O(peer_urls). Sets the fact C(kubeproof_restore).
  - Fails before anything is stopped if the backup cannot be restored, for example because it is damaged, of another
    cluster, or of a newer etcd, or because a host lacks free space.
options:
  stage:
    description:
      - V(choose) finds the backup for O(request), or the unfinished restore of an earlier run.
      - V(check) verifies the backup on the controller, its keys included if the state directory lacks any, and whether
        it can be restored.
      - V(tell) displays what will be lost, from the result of M(etcd_restore) with C(operation=changes), registered as
        C(__restore_changes).
      - V(keys), once the restore is confirmed, puts missing keys of the cluster back into the state directory.
      - V(begin) records the confirmed restore. V(finish) records that it is complete.
    type: str
    choices: [choose, check, tell, keys, begin, finish]
    required: true
  request:
    description:
      - Backup to restore. V(latest), V(HOST:NAME), V(TARGET/NAME), a directory on the controller, or V(member:HOST) for
        the data of a surviving member. For the stages V(choose), V(check) and V(begin).
    type: str
  resume:
    description: Whether to resume an unfinished restore. Required for O(stage=choose).
    type: bool
  peer_urls:
    description: Peer URLs of all members by host. For all stages except V(finish).
    type: dict
  cluster:
    description: Name of the cluster. For the stages V(check), V(tell) and V(begin).
    type: str
  data_directory:
    description: Data directory of etcd on the hosts. For the stages V(check) and V(begin).
    type: path
  identity:
    description:
      - File on the controller with the private key of age for the cluster's keys in the backup. For the stages V(check)
        and V(keys).
    type: path
  recipients:
    description:
      - Recipients of the keys in the cluster's backups. For O(stage=keys), which, if there are none, puts the private
        key from O(identity) into the state directory too if that has none.
    type: list
    elements: str
    default: []
  versions:
    description: Versions by component that override the pinned ones. For O(stage=check).
    type: dict
    default: {}
  state_directory:
    required: false
extends_documentation_fragment: [attributes, attributes.controller, state_directory]
attributes:
  check_mode: {support: none, details: Records and displays in check mode too.}
  diff_mode: {support: none}
notes:
  - Use it with C(run_once), since one task does the work for all hosts of etcd.
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
  description: Question for the confirmation.
  type: str
  returned: with O(stage=tell)
taken:
  description: Names of the files that were put back into the state directory.
  type: list
  elements: str
  returned: with O(stage=keys)
msg:
  description: Restored backup, duration, and location of the old data.
  type: str
  returned: with O(stage=finish)
ansible_facts:
  description: Facts to add to those of all hosts of the play.
  type: dict
  returned: with the stages V(choose) and V(check)
  contains:
    kubeproof_restore:
      description: The restore.
      type: dict
      contains:
        id: {description: ID of the restore., type: str, sample: 20261121T210000Z}
        resumed: {description: Whether an earlier run started it., type: bool}
        placed: {description: Whether the restored data is in place on all hosts., type: bool}
        kind:
          description: Kind of O(request), or V(resumed).
          type: str
          sample: host
        host: {description: Host with the backup; empty if it is on the controller., type: str}
        target: {description: Name of the target with the backup., type: str}
        name: {description: Name of the backup., type: str}
        path: {description: Directory of the backup on the controller., type: path}
        skipped:
          description: With V(latest), newer backups that were not chosen, each with the reason.
          type: list
          elements: str
        ask: {description: A host whose etcd member responds; empty if there is none., type: str}
        manifest: {description: Manifest of the backup. Since O(stage=check)., type: dict}
        kept: {description: Directory of the old data on each host. Since O(stage=check)., type: path}
        token: {description: Token of the new cluster. Since O(stage=check)., type: str}
        bump: {description: Number by which revisions are increased. Since O(stage=check)., type: int}
        initial_cluster: {description: Value of C(initial-cluster). Since O(stage=check)., type: str}
        peer_urls: {description: Peer URLs by host. Since O(stage=check)., type: dict}
"""
