"""Attributes that the modules of this project have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """``attributes`` for every module, and one of the others for those with an action plugin."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Reports in check mode what it would change, and changes nothing.
  diff_mode:
    description: Shows in diff mode the content before and after.
  async:
    description: Supports the keyword C(async).
    support: none
  platform:
    description: Systems of hosts that are supported.
    support: full
    platforms: linux
author: [The kubeproof authors]
"""

    # The action runs on the controller, and the module of the same name on the host.
    ACTION = r"""
attributes:
  action:
    description: Has an action plugin of the same name, which runs on the controller and calls the module.
    support: full
"""

    # Everything is in the action plugin; the module's file is its documentation.
    CONTROLLER = r"""
attributes:
  action:
    description: Is an action plugin only. The module of this name is its documentation, and is never sent to a host.
    support: full
"""
