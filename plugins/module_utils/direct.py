"""HTTP to the cluster's own addresses: never through a proxy, whatever the host's environment says.

Standard library only; Python 3.8 and newer.
"""

from __future__ import annotations

import ssl
import urllib.request
from typing import List, Optional


def opener(context: Optional[ssl.SSLContext] = None) -> urllib.request.OpenerDirector:
    """What opens URLs. ``/etc/environment`` of many hosts names a proxy, which knows nothing of the cluster."""
    handlers: List[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)
