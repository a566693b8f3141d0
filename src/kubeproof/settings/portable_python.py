"""The Python that hosts without one are given: where it is there.

The place is fixed. Ansible looks for an interpreter by a list of paths, in which it renders nothing
(playbooks/group_vars/all.yml), and so every command finds it by itself.
"""

from __future__ import annotations

# /opt is writable wherever /usr is not.
OURS = "/opt/kubeproof"
DIRECTORY = f"{OURS}/python"
INTERPRETER = f"{DIRECTORY}/bin/python3"
# What runs what runs as a service, on hosts that have it.
USUAL = "/usr/bin/python3"
