"""The CAs and keys with which a host was installed, as digests of their files. No secret leaves the host.

Standard library only, Python 3.8 and newer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Collection, Dict, List

# By the name that the controller keeps each under.
FILES = {
    "kubernetes": ("/etc/kubernetes/pki/ca.crt",),
    "etcd": ("/etc/etcd/pki/ca.crt", "/etc/kubernetes/apiserver/etcd-ca.crt"),
    "front-proxy": ("/etc/kubernetes/apiserver/front-proxy-ca.crt",),
    "service-account": ("/etc/kubernetes/apiserver/service-account.pub",),
    "encryption": ("/etc/kubernetes/apiserver/encryption.yaml",),
}
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----(.+?)-----END [A-Z ]+-----", re.DOTALL)
_ENCRYPTION_KEY = re.compile(r"^\s*(?:- )?secret:\s*(\S+)\s*$", re.MULTILINE)


def report(made: Collection[str], root: str = "") -> Dict[str, List[str]]:
    """SHA-256 (hex) of what a host carries, by name. ``made``: the files that are ours; others' say nothing."""
    found = {
        name: sorted({digest for path in paths if path in made for digest in digests(root + path)})
        for name, paths in FILES.items()
    }
    return {name: known for name, known in found.items() if known}


def digests(path: str) -> List[str]:
    """Of each certificate or public key in a file of PEM, or of each key in an EncryptionConfiguration."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return []
    # 32 random bytes: nobody finds them by their digest.
    encoded = _PEM.findall(text) or _ENCRYPTION_KEY.findall(text)
    return [hashlib.sha256(content).hexdigest() for content in map(decode, encoded) if content]


def decode(text: str) -> bytes:
    """What base64 says; nothing if it is none."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        return b""
