"""How tasks can use a module: what all of this project's have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """``attributes`` is of every module, and one of the others besides where there is an action plugin."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: In check mode, says what it would change, and changes nothing.
  diff_mode:
    description: In diff mode, shows the content before and after.
  async:
    description: Can be used with the keyword C(async).
    support: none
  platform:
    description: Systems of the hosts that it works on.
    support: full
    platforms: linux
author: [The kubeproof authors]
"""

    # Begins on the controller, and runs the module of the same name on the host.
    ACTION = r"""
attributes:
  action:
    description: Has an action plugin of the same name, which does its part on the controller and calls the module.
    support: full
"""

    # All of it is an action plugin; the module's file is its documentation.
    CONTROLLER = r"""
attributes:
  action:
    description: Is an action plugin alone. The module of this name is its documentation, and is never sent to a host.
    support: full
"""
