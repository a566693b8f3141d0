"""URLs in settings. No Ansible."""

from __future__ import annotations

import re
from urllib.parse import urlsplit


def in_url(address: str) -> str:
    """An IP address as URLs have it, before a port: in brackets, if it has colons. Names stay as they are."""
    return f"[{address}]" if ":" in address else address


def without_userinfo(text: str) -> str:
    """A text with URLs, to be shown or kept: without users and passwords in them."""
    return re.sub(r"(://)[^/\s]*@", r"\1", text)


def is_http(value: str) -> bool:
    """Whether a text is an HTTP or HTTPS URL with a host, and a port that is one if it has any."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    plain = value.isprintable() and not any(character.isspace() for character in value)
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
