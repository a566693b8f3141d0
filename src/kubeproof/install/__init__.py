"""What the action plugins ask of hosts: requests, rolling restarts, leadership; and how a run of a playbook is told."""
