"""How a module reaches the Kubernetes API: the options of ``module_utils/kube_client``."""

from __future__ import annotations


class ModuleDocFragment:
    """For modules that use ``kube_client.ARGUMENTS``."""

    DOCUMENTATION = r"""
options:
  server:
    description: URL of the API server, for example V(https://127.0.0.1:6443). Without a port, 443 is used.
    type: str
    required: true
  ca:
    description: File on the host with the CA certificate, in PEM, that the server's certificate must be signed by.
    type: path
    required: true
  certificate:
    description: File on the host with the client certificate, in PEM. Its subject decides what the module may do.
    type: path
    required: true
  key:
    description: File on the host with the private key of O(certificate), in PEM.
    type: path
    required: true
  patience:
    description: How many times longer than usual the API server and what it needs are waited for, on slow hosts.
    type: float
    default: 1.0
notes:
  - Requests are retried for 30 seconds, times O(patience), while the API server is unreachable, overloaded (429, 500,
    502, 503, 504), or has not created its built-in roles yet (403). Then, and at once on any other error, the task
    fails.
"""
