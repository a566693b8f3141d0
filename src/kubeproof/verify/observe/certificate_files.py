"""The certificates in files of a host; nothing of keys.

Standard library only, Python 3.8 and newer, and nothing of this package: Ansible's modules on the host have it too, as
``plugins/module_utils/certificate_files.py``, which is a link to this file.
"""

from __future__ import annotations

import base64
import os
import re
from typing import Dict, List, Sequence, Tuple

FILE_LIMIT = 1 << 20
# A kubelet keeps those that it has replaced under the time of their issue, next to a link to the one that it uses.
REPLACED = re.compile(r"kubelet-(client|server)-\d")
BLOCK = re.compile("-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
IN_KUBECONFIG = re.compile(r"client-certificate-data: *(\S+)")


def below(directories: Sequence[str], suffixes: Tuple[str, ...]) -> Dict[str, List[str]]:
    """By path, the certificates, DER in base64, of the files with these suffixes in directories and below.

    Files without any, and those that are gone meanwhile, are left out.
    """
    found = {}
    for directory in directories:
        for folder, _, names in os.walk(directory):
            for name in sorted(names):
                if name.endswith(suffixes) and not REPLACED.match(name):
                    path = os.path.join(folder, name)
                    inside = within(path)
                    if inside:
                        found[path] = inside
    return found


def within(path: str) -> List[str]:
    """The certificates of one file, also those in a kubeconfig; none if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read(FILE_LIMIT)
    except OSError:
        return []
    for data in IN_KUBECONFIG.findall(text):
        text += "\n" + base64.b64decode(data).decode("utf-8", "replace")
    return ["".join(block.split()) for block in BLOCK.findall(text)]
