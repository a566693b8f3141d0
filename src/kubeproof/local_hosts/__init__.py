"""Local hosts: containers and virtual machines of this machine, which Ansible reaches like any other."""
