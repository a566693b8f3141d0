"""Bringing etcd back: a whole cluster from a backup, or one member of a cluster that works.

The part on the controller: which backup, what speaks against it, what will be lost, and what was begun already. Hosts
are changed by the module ``etcd_restore``; ``roles/restore`` says in which order.
"""
