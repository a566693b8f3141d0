"""What Ansible would load anew in the process of each task and host, loaded once in the one that these are forked from.

Those processes end with their task, and what they have loaded ends with them: plugins, their documentation, and how
templates are read, and the settings of all roles. Most of a task that asks no host was that.
"""

from __future__ import annotations

import functools
import gc

from ansible import constants
from ansible.parsing.dataloader import DataLoader
from ansible.plugins import loader
from ansible.template import Templar, trust_as_template

from kubeproof.settings import resolve, specs

# Of every kind only what our tasks use, whichever inventory there is.
_PLUGINS = {
    "become_loader": ("sudo",),
    "connection_loader": (constants.DEFAULT_TRANSPORT, "local"),
    "lookup_loader": ("setting", "template"),
    "shell_loader": ("sh",),
}


@functools.cache
def preload() -> None:
    """Load it, once per process. What is not there is for the task that needs it to say."""
    for name, plugins in _PLUGINS.items():
        for plugin in plugins:
            getattr(loader, name).get(plugin, class_only=True)
    # With the first filter and the first test Ansible loads all that there are.
    Templar(loader=DataLoader()).template(trust_as_template("{{ '' | default('') is string }}"))
    resolve.defaults()
    specs.load()
    # What is here now stays: no process has to go through it in search of garbage, and to copy it for that.
    gc.freeze()
