"""A turn of an upgrade as its host knows it: what was there before, so that the host can put it back by itself.

Installed on hosts as ``kubeproof-turn``. A run begins a turn before it changes the host, and confirms it once its gate
has said yes. A timer of the host puts back a turn that was not confirmed. Standard library only; Python 3.8
and newer.
"""
