"""Local hosts: containers with systemd and sshd that Ansible reaches as it would virtual machines."""
