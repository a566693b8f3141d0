"""The program ``kubeproof-etcd-defragment``, which runs on etcd's hosts: standard library only, Python 3.8 and newer.

etcd reuses the space of what is deleted, and never gives it back: a database that was large once stays so until it is
defragmented, and one that reaches its quota accepts no more writes. A member responds to nobody while it is
defragmented. So this waits until that pays, until all members are healthy, and for its turn. The role ``etcd`` puts it
there as one file.
"""
