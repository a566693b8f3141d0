"""``python -m kubeproof``."""

from __future__ import annotations

import signal
import sys


def _start() -> int:
    # Ctrl-C while modules are loaded ends the program without a word; after that it is for main to say something.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from kubeproof.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    return main()


sys.exit(_start())
