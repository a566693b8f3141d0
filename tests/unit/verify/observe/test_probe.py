"""What hosts try out for a verification, as far as this machine can."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kubeproof.core.process import run
from kubeproof.verify import observe

PROBE = Path(observe.__file__).parent / "probe.py"


def test_an_ipv6_address_needs_no_port() -> None:
    """Whatever answers there, or nothing: the end of the address is not taken for a port."""
    requests = [{"do": "http", "url": f"{scheme}://[::ffff:127.0.0.1]/", "timeout": 1} for scheme in ("http", "https")]
    answers = json.loads(run([sys.executable, str(PROBE), json.dumps(requests)]))
    assert all({"status", "error"} & answer.keys() for answer in answers)
