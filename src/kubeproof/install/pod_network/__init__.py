"""The program ``kubeproof-pod-network``, which runs on every node: standard library only, Python 3.8 and newer.

It keeps a node's routes to its peers' pod networks, and the rules beside them, as its configuration says, whatever
removes them: a link that goes down, a firewall that is reloaded, a network manager that restarts. The role
``pod_network`` puts it there as one file.
"""
