"""The program ``kubeproof-backup``, which runs on etcd's hosts: standard library only, Python 3.8 and newer.

The role ``backup`` puts it there as one file. The controller imports the same modules to check backups itself.
"""
