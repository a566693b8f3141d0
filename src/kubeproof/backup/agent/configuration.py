"""The program's configuration, as the role ``backup`` writes it."""

from __future__ import annotations

import hashlib
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Sequence

from kubeproof.backup.agent.errors import BackupError

PATH = Path("/etc/kubeproof/backup.json")
HINT = "run playbooks/cluster.yml, it writes the configuration"


@dataclass(frozen=True)
class Etcd:
    """How etcd is reached: the member on this host, all members, and the files that open them."""

    endpoint: str
    endpoints: Sequence[str]
    ca: Path
    certificate: Path
    key: Path

    @property
    def ca_digest(self) -> str:
        """SHA-256 of the CA's certificate (DER), hex: whose etcd this is, whatever its members are called."""
        der = ssl.PEM_cert_to_DER_cert(self.ca.read_text(encoding="ascii"))
        return hashlib.sha256(der).hexdigest()


@dataclass(frozen=True)
class Programs:
    """Where etcd's programs are."""

    etcd: str = "etcd"
    etcdctl: str = "etcdctl"
    etcdutl: str = "etcdutl"


@dataclass(frozen=True)
class Keep:
    """Which backups stay: the newest ``last``, and the newest of each of so many hours, days and weeks.

    ``bytes``: they may take so much altogether (0: as much as they like). ``free``: so much stays free on the disk.
    """

    last: int
    hourly: int
    daily: int
    weekly: int
    bytes: int
    free: int


@dataclass(frozen=True)
class Configuration:
    """All settings of one host. Times are in seconds.

    ``hosts``: all that make backups of this cluster, by their names in backups; empty: not known.
    ``interval``: the longest time between two runs of the schedule. ``overdue``: how old the last good backup may get.
    ``timeout``: how long one backup may take.
    ``keys``: ``keys.tar.age`` (or ``keys.tar``) as it goes into each backup; None if it goes into none.
    ``on_failure``: a command and its arguments. ``targets`` and ``drill`` are for the modules of these names.
    """

    cluster: str
    host: str
    user: str
    directory: Path
    state: Path
    keys: Path | None
    etcd: Etcd
    programs: Programs
    interval: int
    overdue: int
    timeout: int
    keep: Keep
    hosts: Sequence[str] = ()
    on_failure: Sequence[str] = ()
    targets: Sequence[Mapping[str, Any]] = ()
    drill: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Configuration:
        """From the JSON document. Raises KeyError, TypeError or ValueError if it is not one."""
        etcd = document["etcd"]
        keep = {name: int(value) for name, value in document["keep"].items()}
        return cls(
            cluster=str(document["cluster"]),
            host=str(document["host"]),
            user=str(document["user"]),
            directory=Path(document["directory"]),
            state=Path(document["state"]),
            keys=Path(document["keys"]) if document["keys"] else None,
            etcd=Etcd(
                endpoint=str(etcd["endpoint"]),
                endpoints=tuple(etcd["endpoints"]),
                ca=Path(etcd["ca"]),
                certificate=Path(etcd["certificate"]),
                key=Path(etcd["key"]),
            ),
            programs=Programs(**document.get("programs", {})),
            interval=int(document["interval"]),
            overdue=int(document["overdue"]),
            timeout=int(document["timeout"]),
            keep=Keep(**keep),
            hosts=tuple(document.get("hosts", ())),
            on_failure=tuple(document.get("on_failure", ())),
            targets=tuple(document.get("targets", ())),
            drill=dict(document.get("drill", {})),
        )

    @classmethod
    def load(cls, path: Path = PATH) -> Configuration:
        """Read the file. Raises BackupError."""
        try:
            return cls.parse(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise BackupError("%s cannot be read (%s): %s" % (path, error.strerror, HINT)) from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BackupError("%s is not a valid configuration (%r): %s" % (path, error, HINT)) from None
