"""``python -m kubeproof.backup.agent``: the program without being installed."""

from __future__ import annotations

import sys

from kubeproof.backup.agent.main import main

sys.exit(main())
