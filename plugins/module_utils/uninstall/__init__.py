"""Taking off a host what kubeproof put there: the parts of ``reset_host``.

Standard library only; Python 3.8 and newer.
"""
