#!/usr/bin/python
"""Copy a backup or snapshot between an etcd host and the controller.

Documentation only: the action plugin of this name does everything.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_restore_copy
short_description: Copy a backup or snapshot between an etcd host and the controller
description:
  - Copies the files of a backup from an etcd host to the controller, or a snapshot from the controller to an etcd host.
  - Copies slices of 32 MiB over the task's connection, so that files need not be readable by the login user, nor fit
    into memory.
  - Fails if a file cannot be read or written. Files on the controller are renamed when they are complete.
options:
  pull:
    description: Copy all files of a directory on the host to the controller. Either O(pull) or O(push) is required.
    type: dict
    suboptions:
      source: {description: Directory on the host., type: path, required: true}
      dest:
        description: Directory on the controller, made if there is none. Files have mode 0600.
        type: path
        required: true
  push:
    description: Copy a file from the controller to the host.
    type: dict
    suboptions:
      source: {description: File on the controller., type: path, required: true}
      dest:
        description: File on the host, in a directory of O(push.user). If empty, nothing is copied.
        type: path
        required: true
      user: {description: User on the host that writes and owns the file., type: str, required: true}
extends_documentation_fragment: [attributes, attributes.controller]
attributes:
  check_mode: {support: none, details: Copies in check mode too.}
  diff_mode: {support: none}
seealso:
  - module: etcd_restore
"""

EXAMPLES = r"""
- name: Copy the backup to the controller
  etcd_restore_copy:
    pull:
      source: /var/backups/etcd/20261121T200000Z-cp1
      dest: /root/inventory/.kubeproof/restore/20261121T210000Z/20261121T200000Z-cp1

- name: Copy the snapshot to the member
  etcd_restore_copy:
    push:
      source: /root/inventory/.kubeproof/restore/20261121T210000Z/20261121T200000Z-cp1/snapshot.db
      dest: /var/lib/etcd/restoring-20261121T210000Z/snapshot.db
      user: etcd
"""

RETURN = r"""
changed:
  description: Always V(false), since a copy is only a step of a restore.
  type: bool
  returned: success
"""
