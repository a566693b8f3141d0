"""The state directory of a cluster on the controller."""

from __future__ import annotations


class ModuleDocFragment:
    """For modules that read or write it."""

    DOCUMENTATION = r"""
options:
  state_directory:
    description:
      - Directory on the controller for the state of the cluster, such as CAs, the lock of components, and records of
        restores. The setting C(cluster_state_directory).
    type: path
    required: true
"""
