"""How playbooks are run."""

from __future__ import annotations

import os

from kubeproof.install import playbook


def test_ansible_gets_blocking_streams() -> None:
    os.set_blocking(2, False)
    try:
        playbook.make_streams_blocking()
        assert os.get_blocking(2)
    finally:
        os.set_blocking(2, True)
