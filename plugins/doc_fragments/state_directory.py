"""Where the controller keeps what it must know of a cluster."""

from __future__ import annotations


class ModuleDocFragment:
    """For what reads or writes there on the controller."""

    DOCUMENTATION = r"""
options:
  state_directory:
    description:
      - Directory on the controller with what it keeps of the cluster, such as CAs, the lock of components and records
        of restores. The setting C(cluster_state_directory).
    type: path
    required: true
"""
