"""Fixtures of the verification: the cluster as kubeproof.verify.plugin finds it, and the pods that tests share."""

from __future__ import annotations

pytest_plugins = ["kubeproof.verify.plugin"]
