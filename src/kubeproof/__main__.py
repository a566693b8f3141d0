"""``python -m kubeproof``."""

from __future__ import annotations

import sys

from kubeproof.cli import main

sys.exit(main())
