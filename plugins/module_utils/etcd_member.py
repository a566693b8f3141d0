"""What there is of etcd on a host: where its data is, whether a member was ever ready there, and who its members are.

Standard library only, Python 3.8 and newer.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
from typing import Any, Callable, Dict, List, Optional
from urllib.parse import urlsplit

STATE_DIRECTORY = "/var/lib/kubeproof"
# On the host's own disk, never on the one with the data: the directory in which a member's data was when it was ready.
# The unit writes it, and begins no new cluster where it is and the data is not.
LIVED = STATE_DIRECTORY + "/etcd-member"
# What component_service leaves once etcd was healthy: older than the file above.
STARTED = STATE_DIRECTORY + "/units/etcd.service.json"
CONFIGURATION = "/etc/etcd/etcd.yaml"
PKI = "/etc/etcd/pki"
# In a member's data: the restore that put it there.
RESTORED = "kubeproof-restore"
ANSWER_SECONDS = 3
# An alarm among a status's errors.
ALARM = re.compile(r"memberID:\s*(\d+)\s+alarm:\s*(\w+)")

Answer = Dict[str, Any]
Ask = Callable[[str, str], Optional[Answer]]


def there(directory: str) -> bool:
    """Whether etcd would continue with data in a directory: it bootstraps where it finds no write-ahead log."""
    try:
        return any(name.endswith(".wal") for name in os.listdir(os.path.join(directory, "member", "wal")))
    except OSError:
        return False


def restore_of(directory: str) -> str:
    """The restore that the data in a directory is of; empty if of none."""
    return read(os.path.join(directory, "member", RESTORED)).strip()


def report(wanted: str, installed: bool, root: str = "", ask: Optional[Ask] = None) -> Answer:
    """All of it, in the shape of ``kubeproof.settings.host_report.Etcd``.

    ``wanted`` is the data directory by the settings, ``installed`` whether etcd's configuration is ours.
    """
    text = read(root + CONFIGURATION) if installed else ""
    directory = normal(setting(text, "data-dir"))
    lived = normal(read(root + LIVED).strip())
    if not lived and installed and (os.path.exists(root + STARTED) or os.path.exists(root + LIVED)):
        lived = directory
    looked_at = {path for path in (normal(wanted), directory, lived) if path}
    return {
        "directory": directory,
        "lived": lived,
        "data": {path: {"there": there(root + path), "restore": restore_of(root + path)} for path in sorted(looked_at)},
        "peers": peers(setting(text, "initial-cluster")),
        "says": says(setting(text, "listen-client-urls").split(",")[0], ask or over_tls),
    }


def normal(path: str) -> str:
    """A path without what makes no difference; empty stays empty."""
    return os.path.normpath(path) if path else ""


def setting(text: str, name: str) -> str:
    """One setting of etcd's configuration, a file of ``NAME: VALUE`` at its top level."""
    match = re.search(r"^%s:\s*(\S+)\s*$" % re.escape(name), text, re.MULTILINE)
    return match.group(1).strip("'\"") if match else ""


def peers(initial_cluster: str) -> Dict[str, str]:
    """Members' names and peer URLs in an ``initial-cluster``."""
    pairs = (entry.partition("=") for entry in initial_cluster.split(",") if "=" in entry)
    return {name: url for name, _, url in pairs}


def says(url: str, ask: Ask) -> Optional[Answer]:
    """What the running member knows of its cluster, with a majority or without; None if it does not answer."""
    answer = ask(url, "/v3/cluster/member/list") if url else None
    if answer is None:
        return None
    members: List[Answer] = [
        {
            "id": "%x" % int(each["ID"]),
            "name": each.get("name", ""),
            "peer_urls": each.get("peerURLs", []),
            # A member has these from the moment in which it is ready for the first time.
            "started": bool(each.get("clientURLs")),
        }
        for each in answer.get("members", [])
    ]
    return {
        "cluster": "%x" % int(answer["header"]["cluster_id"]),
        "members": members,
        **status(ask(url, "/v3/maintenance/status") or {}),
    }


def status(answer: Answer) -> Answer:
    """Alarms that are up; bytes of the member's database: the whole file, and what of it is in use; and how far it is.

    The member's own status has the alarms too, as text. Asking for them as such would need a majority.
    """
    found = [ALARM.search(error) for error in answer.get("errors", [])]
    return {
        "alarms": [{"member": "%x" % int(match.group(1)), "alarm": match.group(2)} for match in found if match],
        "size": int(answer.get("dbSize", 0)),
        "in_use": int(answer.get("dbSizeInUse", 0)),
        "revision": int(answer.get("header", {}).get("revision", 0)),
        "applied": int(answer.get("raftAppliedIndex", 0)),
    }


def over_tls(url: str, path: str, method: str = "POST") -> Optional[Answer]:
    """Ask this host's member; None if that comes to nothing."""
    target = urlsplit(url)
    try:
        context = ssl.create_default_context(cafile=PKI + "/ca.crt")
        context.load_cert_chain(PKI + "/operator.crt", PKI + "/operator.key")
        connection = http.client.HTTPSConnection(
            target.hostname or "", target.port, timeout=ANSWER_SECONDS, context=context
        )
        connection.request(method, path, "{}")
        answer = connection.getresponse()
        content: Answer = json.load(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return content if answer.status == 200 else None


def read(path: str) -> str:
    """Text of a file; empty if there is none or it may not be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
